"""``dtqatten results``: all figures of speed, area and energy, in one page and one file."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from dtqatten.commands.options import needs
from dtqatten.commands.verilog import write_atomically

__all__ = ["results"]


def results(
    synth: Annotated[
        Path,
        typer.Option(
            help="Folder of the results of `dtqatten synth`.", file_okay=False, exists=True
        ),
    ] = Path("build/synth"),
    output: Annotated[
        Path, typer.Option("--output", "-o", help="JSON to write.", dir_okay=False)
    ] = Path("build/results.json"),
    page: Annotated[Path, typer.Option(help="Page to write.", dir_okay=False)] = Path(
        "docs/results.md"
    ),
) -> None:
    """Gather the figures that have been measured; write them as JSON and as a page."""
    with needs("sim"):
        from rich.console import Console
        from rich.progress import Progress
        from rich.table import Table

        from dtqatten.configuration.core import PRESETS
        from dtqatten.golden.traces.trace import example
        from dtqatten.model.results import figures, markdown
        from dtqatten.synth.energy import pe_energy, trace_steps
        from dtqatten.synth.tools import has_opensta

    def power(folder: Path) -> float:
        trace = example()
        config = PRESETS["base"].replace(d_head=trace.q.shape[-1])
        return pe_energy(folder / "work/asic-base-pe", config, trace_steps(config, trace)).total_pj

    with Progress(transient=True) as bar:
        bar.add_task("cycle model", total=None)
        found = figures(synth, power if has_opensta() else None)
    table = Table("figure", "value", "goal")
    for one in found:
        table.add_row(one.name, "-" if one.value is None else f"{one.value:.4g}", one.goal)
    Console().print(table)
    used = {
        f"{tool} {number}"
        for path in sorted(synth.glob("*.json"))
        for tool, number in json.loads(path.read_text()).get("tools", {}).items()
    }
    tools = ", ".join(sorted(used | {f"dtqatten {version('dtqatten')}"}))
    write_atomically(output, json.dumps({one.name: one.value for one in found}, indent=2) + "\n")
    write_atomically(page, markdown(found, f"Tools: {tools}."))
    typer.echo(f"{output}\n{page}")
