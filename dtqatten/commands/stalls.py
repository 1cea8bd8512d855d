"""``dtqatten stalls``: how long PEs of mixed tiles wait, by the RTL's counters."""

import json
import math
from pathlib import Path
from typing import Annotated

import typer

from dtqatten.commands.options import configure, needs, refuse, whole
from dtqatten.configuration.core import Schedule
from dtqatten.golden.numerics.order import Order

__all__ = ["stalls"]


def _cut(value: float) -> str:
    """Cut, not round, to one decimal, as the paper's figures are; forgive binary fractions."""
    return f"{math.floor(value * 10 + 1e-9) / 10:.1f}"


def stalls(
    tokens: Annotated[
        str, typer.Option(help="Precision of each token, 4 or 8, separated by commas.")
    ] = "4,8,4,4,4,4,8,4,4",
    rows: Annotated[int, typer.Option(help="Rows of PEs.")] = 3,
    cols: Annotated[int, typer.Option(help="Columns of PEs.")] = 3,
    depth: Annotated[int, typer.Option(help="4-bit products per PE and cycle.")] = 1,
    d_head: Annotated[int, typer.Option("--d-head", help="Channels of a head.")] = 8,
    schedule: Annotated[
        Schedule, typer.Option(help="Order of the nibble planes.")
    ] = Schedule.INTERLEAVED,
    order: Annotated[Order, typer.Option(help="How tokens are put into the array.")] = (
        Order.ORIGINAL
    ),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    plot: Annotated[
        Path | None, typer.Option(help="Draw PEs over time into this file.", dir_okay=False)
    ] = None,
) -> None:
    """Run one head through the RTL and print each tile's stall ratio.

    The ratio is the stall cycles of a tile's PEs over PEs times the busy cycles of its slowest PE.
    Percentages are cut to one decimal; --json has them in full.
    """
    try:
        bits = [whole(token) for token in tokens.split(",")]
    except ValueError:
        bits = []
    if not bits or not set(bits) <= {4, 8}:
        raise refuse(f"--tokens is {tokens!r}: give 4 or 8 for each token, such as 4,8,4")
    config = configure(
        "tiny",
        rows=rows,
        cols=cols,
        depth=depth,
        d_head=d_head,
        n_max=len(bits),
        schedule=schedule,
    )
    with needs("sim"):
        from dtqatten.sim.studies.plots import activity_figure, save
        from dtqatten.sim.studies.stalls import study
    result = study(config, bits, order)
    if plot is not None:
        try:
            save(activity_figure({order.value: result}), plot)
        except (OSError, ValueError) as error:
            raise refuse(f"cannot draw {plot}: {error}") from None
    if as_json:
        typer.echo(json.dumps(result.as_dict(), indent=2))
        return
    across = math.ceil(len(bits) / cols)
    typer.echo(f"{order} order, {rows} x {cols} PEs, stall ratio of each tile in percent:")
    for start in range(0, len(result.tiles), across):
        typer.echo("  " + " ".join(f"{_cut(r):>5}" for r in result.tiles[start : start + across]))
    stalled = sum(ratio > 0 for ratio in result.tiles)
    typer.echo(f"mean of all {len(result.tiles)} tiles      {_cut(result.mean_all)} %")
    typer.echo(f"mean of the {stalled} that stall  {_cut(result.mean_stalled)} %")
    typer.echo(f"cycles per k step       {result.cycles_per_step:g}")
    typer.echo(f"utilization in tiles    {_cut(100 * result.utilization)} %")
    typer.echo(f"cycles of the head      {result.cycles}")
