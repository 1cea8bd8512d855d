"""``dtqatten sweep``: cycles and utilization of many machines on many workloads."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dtqatten.commands.options import (
    FollowsOption,
    FollowsQueryOption,
    fail,
    needs,
    reject_unused,
    whole,
    workload,
)
from dtqatten.commands.verilog import write_atomically
from dtqatten.configuration.core import PRESETS

if TYPE_CHECKING:
    from rich.table import Table

    from dtqatten.model.sweep import Result

__all__ = ["sweep"]


def numbers(option: str, text: str) -> list[int]:
    """Return the whole numbers of a list with commas.

    Raises
    ------
    ValueError
        If one is none, or less than 1.
    """
    try:
        values = [whole(part) for part in text.split(",")]
        if min(values) < 1:
            raise ValueError
    except ValueError:
        raise ValueError(
            f"{option} is {text!r}: give whole numbers from 1 on, such as 8,16"
        ) from None
    return values


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
        Path, typer.Option("--output", "-o", help="Folder for sweep.csv and sweep.png.")
    ] = Path("build/sweep"),
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
    with needs("sweep"):
        import distributed  # noqa: F401
        from rich.console import Console
        from rich.progress import Progress

        from dtqatten.model.plots import sweep_figure
        from dtqatten.model.sweep import executor, points, run, to_csv
        from dtqatten.sim.studies.plots import save
    work = points(
        preset or ["edge", "base"],
        changes,
        numbers("--tokens", tokens),
        mixes,
        d_head=d_head,
        **weights,
        buses=numbers("--bus-bits", bus_bits),
    )
    try:
        with Progress(transient=True) as bar, executor(workers, dask) as pool:
            task = bar.add_task("cycle model", total=len(work))
            results = run(work, pool, lambda result: bar.advance(task))
    except OSError as error:
        raise fail(f"no Dask scheduler at {dask}: {error}") from None
    Console().print(results_table(results))
    write_atomically(output / "sweep.csv", to_csv(results))
    save(sweep_figure(results), output / "sweep.png")
    typer.echo(f"{output / 'sweep.csv'}\n{output / 'sweep.png'}")


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
