"""``dtqatten results``: all figures of speed, area and energy, in one page and one file."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dtqatten.commands.console import print_json, progress, say, show
from dtqatten.commands.options import JsonOption, needs
from dtqatten.commands.paths import output_file
from dtqatten.files.errors import UsageError
from dtqatten.files.whole import write_text

if TYPE_CHECKING:
    from dtqatten.model.results import Figure

__all__ = ["results"]


def results(
    synth: Annotated[
        Path, typer.Option(help="Folder of the results of `dtqatten synth`.", file_okay=False)
    ] = Path("build/synth"),
    output: Annotated[Path, output_file("JSON to write.")] = Path("build/results.json"),
    page: Annotated[Path, output_file("Page to write.", "--page")] = Path("docs/results.md"),
    data: Annotated[
        Path, output_file("Data file of the package to write, for estimates.", "--measured")
    ] = Path("model/measured.json"),
    as_json: JsonOption = False,
) -> None:
    """Gather the figures that have been measured; write them as JSON and as a page.

    What a file has a value for is never replaced by nothing.
    """
    used = tools_of(synth)
    with needs("sim"):
        from rich.table import Table

        from dtqatten.configuration.core import PRESETS
        from dtqatten.golden.traces.trace import example
        from dtqatten.model.measured import read, text_of
        from dtqatten.model.results import figures, markdown, shipped
        from dtqatten.synth.energy import pe_energy, placed_pe_energy, trace_steps
        from dtqatten.synth.estimate.area_model import fitted
        from dtqatten.synth.tools import has_opensta

    def power(folder: Path) -> float:
        trace = example()
        config = PRESETS["base"].replace(d_head=trace.q.shape[-1])
        return pe_energy(folder / "work/asic-base-pe", config, trace_steps(config, trace)).total_pj

    def placed_power(folder: Path) -> float | None:
        if not (folder / "placed-base-pe.json").exists():
            return None
        trace = example()
        config = PRESETS["base"].replace(d_head=trace.q.shape[-1])
        of = folder / "work/placed-base-pe"
        return placed_pe_energy(of, config, trace_steps(config, trace)).total_pj

    with progress() as bar:
        bar.add_task("cycle model", total=None)
        pe, placed = (power, placed_power) if has_opensta() else (None, None)
        found = figures(synth, pe, placed, list(fitted().error.values()))
    for path in (output, page):
        refuse_to_lose(path, found, synth)
    content = {one.name: one.value for one in found}
    write_text(output, json.dumps(content, indent=2) + "\n")
    write_text(page, markdown(found, f"Tools: {', '.join(used)}."))
    # A preset that has not been synthesized now keeps what was measured of it.
    write_text(data, text_of(read(data) | shipped(synth, content.get("pe_pj"), ", ".join(used))))
    table = Table("figure", "value", "goal")
    for one in found:
        table.add_row(one.name, "-" if one.value is None else f"{one.value:.4g}", one.goal)
    show(table)
    if as_json:
        print_json(content)
    say(f"{output}\n{page}\n{data}")


def tools_of(synth: Path) -> list[str]:
    """Return the tools, with their versions, of all results of synthesis in a folder.

    Raises
    ------
    UsageError
        If there is no result, or one that is damaged.
    """
    used = {f"dtqatten {version('dtqatten')}"}
    paths = sorted(synth.glob("*.json"))
    if not paths:
        raise UsageError(
            f"no results in {synth}: run `dtqatten synth` first, or name its folder with --synth"
        )
    for path in paths:
        try:
            tools: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")).get("tools", {})
            used |= {f"{tool} {number}" for tool, number in tools.items()}
        except (ValueError, AttributeError) as error:
            raise UsageError(
                f"{path} is no result of `dtqatten synth` ({error}): remove it"
            ) from None
    return sorted(used)


def refuse_to_lose(path: Path, found: "list[Figure]", synth: Path) -> None:
    """Refuse to write none over a value.

    Parameters
    ----------
    path : Path
        JSON or page that is to be replaced.
    found : list of Figure
        What would replace it.
    synth : Path
        Where figures were looked for.

    Raises
    ------
    UsageError
        If the file has values of figures that are not found now.
    """
    from dtqatten.model.results import figures_in

    try:
        held = figures_in(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, UnicodeDecodeError):
        return
    values = {one.name: one.value for one in found}
    if lost := [name for name in held if values.get(name) is None]:
        raise UsageError(
            f"{path} has values of {', '.join(lost)}, which {synth} or the tools at hand do not "
            "give: synthesize them again, or choose other files with --output and --page"
        )
