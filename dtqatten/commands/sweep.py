"""``dtqatten sweep``: cycles and utilization of many machines on many workloads."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from dtqatten.commands.console import print_json, progress, say, show
from dtqatten.commands.options import (
    FollowsOption,
    FollowsQueryOption,
    JsonOption,
    MachinesOption,
    fail,
    machines_of,
    needs,
    reject_unused,
    whole,
    workload,
)
from dtqatten.commands.paths import output_folder
from dtqatten.configuration.core import PRESETS
from dtqatten.files.errors import UsageError
from dtqatten.files.pictures import save
from dtqatten.files.whole import write_text

if TYPE_CHECKING:
    from rich.table import Table

    from dtqatten.model.sweep import Point, Result

__all__ = ["computed", "numbers", "sweep"]

T = TypeVar("T")


def numbers(option: str, text: str) -> list[int]:
    """Return the whole numbers of a list with commas.

    Raises
    ------
    UsageError
        If one is none, or less than 1.
    """
    try:
        values = [whole(part) for part in text.split(",")]
        if min(values) < 1:
            raise ValueError
    except ValueError:
        raise UsageError(
            f"{option} is {text!r}: give whole numbers from 1 on, such as 8,16"
        ) from None
    return values


def computed(
    work: "Sequence[Point]",
    each: "Callable[[Point], T]",
    what: str,
    workers: int | None,
    dask: str | None,
) -> "list[T]":
    """Return what ``each`` finds at all points, under a progress bar.

    Parameters
    ----------
    work : sequence of Point
    each : callable
    what : str
        Of the bar.
    workers, dask
        As of :func:`~dtqatten.model.sweep.executor`.

    Raises
    ------
    typer.Exit
        If there is no Dask scheduler.
    """
    from dtqatten.model.sweep import executor, run

    try:
        with progress() as bar, executor(workers, dask) as pool:
            task = bar.add_task(what, total=len(work))
            return run(work, pool, lambda _: bar.advance(task), each)
    except OSError as error:
        if dask is None:
            raise
        raise fail(f"no Dask scheduler at {dask}: {error}") from None


def sweep(
    preset: Annotated[
        list[str] | None,
        typer.Option(help=f"Of {', '.join(PRESETS)}, repeatable; by default edge and base."),
    ] = None,
    tokens: Annotated[
        str, typer.Option(help="Tokens before pruning, up to 1024, separated by commas.")
    ] = "16,32,64,128,256,384,512,768,1024",
    rows: Annotated[str | None, typer.Option(help="Rows to try.")] = None,
    cols: Annotated[str | None, typer.Option(help="Columns to try.")] = None,
    depth: Annotated[str | None, typer.Option(help="Depths to try.")] = None,
    value_depth: Annotated[
        str | None, typer.Option(help="Depths of the value array to try; else it follows --depth.")
    ] = None,
    bus_bits: Annotated[
        str, typer.Option(help="Widths of the bus to try, 64 to 512 bits.")
    ] = "128",
    d_head: Annotated[int, typer.Option("--d-head", help="Channels of a head.")] = 64,
    shares: Annotated[
        list[str] | None,
        typer.Option(help="Percentages of 0, 4 and 8-bit tokens, repeatable; 28,41.4,30.6."),
    ] = None,
    files: MachinesOption = None,
    follows: FollowsOption = False,
    follows_query: FollowsQueryOption = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; by default one a core.")
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(help="Run on the machines of this Dask scheduler, such as tcp://host:8786."),
    ] = None,
    output: Annotated[
        Path,
        output_folder("Folder for sweep.csv and sweep.png.", holds=("sweep.csv", "sweep.png")),
    ] = Path("build/sweep"),
    as_json: JsonOption = False,
) -> None:
    """Predict cycles of every combination by the cycle model; write a table and a picture."""
    if dask is not None:
        reject_unused({"--workers": workers}, "--dask has workers of its own")
    weights = {"follows": follows, "follows_query": follows_query}
    mixes = [workload(1000, d_head, mix, **weights).shares for mix in (shares or (None,))]
    changes = {
        name: numbers(f"--{name.replace('_', '-')}", text)
        for name, text in (
            ("rows", rows),
            ("cols", cols),
            ("depth", depth),
            ("value_depth", value_depth),
        )
        if text is not None
    }
    machines = machines_of(preset, files, ["edge", "base"])
    with needs("sweep"):
        if dask is not None:
            import distributed  # noqa: F401

        from dtqatten.model.plots import sweep_figure
        from dtqatten.model.sweep import Result, evaluate, points, to_csv
    work = points(
        {each.name: each.config for each in machines},
        changes,
        numbers("--tokens", tokens),
        mixes,
        d_head=d_head,
        **weights,
        buses=numbers("--bus-bits", bus_bits),
    )
    results = computed(work, evaluate, "cycle model", workers, dask)
    show(results_table(results))
    if as_json:
        print_json([dataclasses.asdict(result) for result in results])
    write_text(output / "sweep.csv", to_csv(results, Result))
    save(sweep_figure(results), output / "sweep.png")
    say(f"{output / 'sweep.csv'}\n{output / 'sweep.png'}")


def results_table(results: "Sequence[Result]") -> "Table":
    """Return a table of machines on workloads, the fastest of each workload first."""
    from rich.table import Table

    table = Table(
        *("machine", "multipliers", "PEs mm2", "bus", "tokens", "0/4/8 %"),
        *("cycles a head", "bus busy", "GOP/s", "useful"),
    )
    for result in sorted(results, key=lambda result: (result.tokens, -result.gops)):
        mix = (result.share_0, result.share_4, result.share_8)
        table.add_row(
            result.machine,
            str(result.multipliers),
            f"{result.pe_mm2:.2f}",
            str(result.bus_bits),
            str(result.tokens),
            "/".join(f"{100 * share:.1f}" for share in mix),
            str(result.head_cycles),
            f"{100 * result.bus_busy:.0f} %",
            f"{result.gops:.0f}",
            f"{100 * result.limit_share:.1f} %",
        )
    return table
