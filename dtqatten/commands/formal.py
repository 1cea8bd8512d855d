"""``dtqatten formal``: prove the rules of the bus, the address windows and the trees of adders."""

import time
from collections.abc import Callable
from typing import Any

from dtqatten.commands.console import print_json, progress, show
from dtqatten.commands.options import JsonOption, fail, needs

__all__ = ["formal"]


def formal(as_json: JsonOption = False) -> None:
    """Prove every property of the bus masters, and every dot product; one line each."""
    with needs("formal"):
        from dtqatten.sim.proofs.dot_product import DOT_PRODUCTS, is_dot_product
        from dtqatten.sim.proofs.formal import prove
        from dtqatten.sim.proofs.properties import PROPERTIES
    claims: list[tuple[str, str, str, Callable[[Any], bool], Any]] = [
        (
            wanted.name,
            wanted.statement,
            f"by {wanted.cycles}-induction, for runs of any length"
            if wanted.inductive
            else f"for all runs of {wanted.cycles} cycles from reset",
            prove,
            wanted,
        )
        for wanted in PROPERTIES
    ]
    claims += [
        (
            f"dot_product_{config.depth}_{config.product_stages}",
            f"the exported tree of depth {config.depth} in {config.product_stages} cycles, "
            "sum + carry - offset, is sum(q*k)",
            "by algebra on its gates, for all operands",
            is_dot_product,
            config,
        )
        for config in DOT_PRODUCTS
    ]
    found = []
    with progress() as bar:
        for name, statement, how, proof, subject in bar.track(claims, description="proving"):
            start = time.perf_counter()
            good = proof(subject)
            seconds = time.perf_counter() - start
            verdict = "proved" if good else "NOT PROVED"
            show(f"{verdict} {name}: {statement} ({how}; {seconds:.1f} s)")
            found.append(
                {
                    "name": name,
                    "statement": statement,
                    "how": how,
                    "proved": good,
                    "seconds": seconds,
                }
            )
    if as_json:
        print_json(found)
    failed = [str(one["name"]) for one in found if not one["proved"]]
    if failed:
        raise fail(f"not proved: {', '.join(failed)}")
