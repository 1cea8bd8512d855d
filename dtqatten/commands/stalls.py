"""``dtqatten stalls``: how long PEs of mixed tiles wait, by the RTL's counters."""

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from dtqatten.commands.console import print_json, show
from dtqatten.commands.options import (
    ColsOption,
    ConfigOption,
    DHeadOption,
    JsonOption,
    ScheduleOption,
    StartOption,
    configure,
    needs,
    refuse,
    whole,
)
from dtqatten.commands.paths import output_file
from dtqatten.configuration.core import Schedule
from dtqatten.files.pictures import save
from dtqatten.golden.numerics.order import Order

__all__ = ["stalls"]


#: The array of the paper's figure.
PAPER: dict[str, Any] = {
    "rows": 3,
    "cols": 3,
    "depth": 1,
    "d_head": 8,
    "schedule": Schedule.INTERLEAVED,
}


def _cut(value: float) -> str:
    """Cut, not round, to one decimal, as the paper's figures are; forgive binary fractions."""
    return f"{math.floor(value * 10 + 1e-9) / 10:.1f}"


def stalls(
    tokens: Annotated[
        str, typer.Option(help="Precision of each token, 4 or 8, separated by commas.")
    ] = "4,8,4,4,4,4,8,4,4",
    preset: StartOption = None,
    file: ConfigOption = None,
    rows: Annotated[int | None, typer.Option(help="Rows of PEs.")] = None,
    cols: ColsOption = None,
    depth: Annotated[int | None, typer.Option(help="4-bit products per PE and cycle.")] = None,
    d_head: DHeadOption = None,
    schedule: ScheduleOption = None,
    order: Annotated[Order, typer.Option(help="How tokens are put into the array.")] = (
        Order.ORIGINAL
    ),
    as_json: JsonOption = False,
    plot: Annotated[
        Path | None, output_file("Draw PEs over time into this file.", "--plot", picture=True)
    ] = None,
) -> None:
    """Run one head through the RTL and print each tile's stall ratio.

    Without --preset and --config the array is the paper's: 3 x 3 PEs of one product, 8 channels,
    interleaved planes.
    The ratio is the stall cycles of a tile's PEs over PEs times the busy cycles of its slowest PE.
    Percentages are cut to one decimal; --json has them in full.
    """
    try:
        bits = [whole(token) for token in tokens.split(",")]
    except ValueError:
        bits = []
    if not bits or not set(bits) <= {4, 8}:
        raise refuse(f"--tokens is {tokens!r}: give 4 or 8 for each token, such as 4,8,4")
    given = {"rows": rows, "cols": cols, "depth": depth, "d_head": d_head, "schedule": schedule}
    if preset is None and file is None:
        given = {name: PAPER[name] if value is None else value for name, value in given.items()}
    config = configure(preset, file, "tiny", n_max=len(bits), **given)
    rows, cols = config.rows, config.cols
    with needs("sim"):
        from dtqatten.sim.studies.stalls import study

        # Matplotlib takes seconds to begin, the first time many: not for numbers alone.
        if plot is not None:
            from dtqatten.sim.studies.plots import activity_figure
    result = study(config, bits, order)
    if plot is not None:
        save(activity_figure({order.value: result}), plot)
    if as_json:
        print_json(result.as_dict())
    across = math.ceil(len(bits) / cols)
    lines = [
        "  " + " ".join(f"{_cut(r):>5}" for r in result.tiles[start : start + across])
        for start in range(0, len(result.tiles), across)
    ]
    stalled = sum(ratio > 0 for ratio in result.tiles)
    show(
        f"{order} order, {rows} x {cols} PEs, stall ratio of each tile in percent:",
        *lines,
        f"mean of all {len(result.tiles)} tiles      {_cut(result.mean_all)} %",
        *([f"mean of the {stalled} that stall  {_cut(result.mean_stalled)} %"] * (stalled > 0)),
        f"cycles per k step       {result.cycles_per_step:g}",
        f"utilization in tiles    {_cut(100 * result.utilization)} %",
        f"cycles of the head      {result.cycles}",
    )
