"""``dtqatten bench``: elaboration time, simulation speed and utilization of the array."""

import json
from pathlib import Path
from typing import Annotated

import typer

from dtqatten.commands.options import needs
from dtqatten.commands.verilog import write_atomically

__all__ = ["bench"]


def bench(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the JSON.", file_okay=False)
    ] = Path("build/bench"),
) -> None:
    """Measure the array and write array.json."""
    with needs("dev"):
        from rich.console import Console
        from rich.progress import Progress
        from rich.table import Table

        from dtqatten.sim.bench import measure
    with Progress(transient=True) as bar:
        task = bar.add_task("measuring", total=None)
        result = measure(lambda what: bar.update(task, description=what))
    console = Console()
    for name, unit in (
        ("elaborate_s", "seconds to elaborate and write Verilog, ROWSxCOLSxDEPTH"),
        ("sim_cycles_per_s", "simulated cycles per second, tiny preset"),
        ("utilization", "useful nibble products over PE slots, by order of the tokens"),
        ("cycles", "cycles of the head, first operand in the array to last score out"),
    ):
        table = Table(name, unit)
        for key, value in result[name].items():
            shown = f"{value:.4f}" if isinstance(value, float) else str(value)
            table.add_row(key, shown)
        console.print(table)
    typer.echo("more rows, and versions, in array.json")
    path = output / "array.json"
    write_atomically(path, json.dumps(result, indent=2) + "\n")
    typer.echo(f"{path}")
