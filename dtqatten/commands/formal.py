"""``dtqatten formal``: prove the rules of the bus and the address windows."""

import time

import typer

from dtqatten.commands.options import fail, needs

__all__ = ["formal"]


def formal() -> None:
    """Prove every property of the bus masters; one line each."""
    with needs("formal"):
        from rich.progress import track

        from dtqatten.sim.formal import prove
        from dtqatten.sim.properties import PROPERTIES
    failed = []
    for wanted in track(PROPERTIES, description="proving", transient=True):
        start = time.perf_counter()
        good = prove(wanted)
        how = (
            f"by {wanted.cycles}-induction, for runs of any length"
            if wanted.inductive
            else f"for all runs of {wanted.cycles} cycles from reset"
        )
        verdict = "proved" if good else "NOT PROVED"
        seconds = time.perf_counter() - start
        typer.echo(f"{verdict} {wanted.name}: {wanted.statement} ({how}; {seconds:.1f} s)")
        if not good:
            failed.append(wanted.name)
    if failed:
        raise fail(f"not proved: {', '.join(failed)}")
