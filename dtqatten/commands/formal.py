"""``dtqatten formal``: prove the rules of the bus, the address windows and the trees of adders."""

import time
from collections.abc import Callable
from typing import Any

import typer

from dtqatten.commands.options import fail, needs

__all__ = ["formal"]


def formal() -> None:
    """Prove every property of the bus masters, and every dot product; one line each."""
    with needs("formal"):
        from rich.progress import track

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
    failed = []
    for name, statement, how, proof, subject in track(
        claims, description="proving", transient=True
    ):
        start = time.perf_counter()
        good = proof(subject)
        verdict = "proved" if good else "NOT PROVED"
        seconds = time.perf_counter() - start
        typer.echo(f"{verdict} {name}: {statement} ({how}; {seconds:.1f} s)")
        if not good:
            failed.append(name)
    if failed:
        raise fail(f"not proved: {', '.join(failed)}")
