"""``dtqatten explore``: time, area and energy of many machines on a model's attention."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dtqatten.commands.console import print_json, say, show
from dtqatten.commands.options import (
    JsonOption,
    MachinesOption,
    fail,
    machines_of,
    needs,
    reject_unused,
    workload,
)
from dtqatten.commands.paths import output_folder
from dtqatten.commands.placement import DensityOption, HaloOption
from dtqatten.commands.sweep import computed, numbers
from dtqatten.configuration.core import PRESETS
from dtqatten.files.errors import UsageError
from dtqatten.files.pictures import save
from dtqatten.files.whole import write_text
from dtqatten.model.energy import unmeasured

if TYPE_CHECKING:
    from rich.table import Table

    from dtqatten.synth.explore import Machine

__all__ = ["explore"]

#: What is tried of ``base`` where nothing is said.
USUAL = {"rows": "4,8,16", "cols": "16,32,64"}


def explore(
    model: Annotated[
        str, typer.Argument(help="Model: a name such as bert-base, or a folder with a config.json.")
    ] = "bert-base",
    preset: Annotated[
        list[str] | None,
        typer.Option(help=f"Of {', '.join(PRESETS)}, repeatable; by default base."),
    ] = None,
    tokens: Annotated[int, typer.Option(min=1, help="Of a sequence, before pruning.")] = 384,
    rows: Annotated[str | None, typer.Option(help="Rows to try, separated by commas.")] = None,
    cols: Annotated[str | None, typer.Option(help="Columns to try.")] = None,
    depth: Annotated[str | None, typer.Option(help="Depths to try.")] = None,
    value_depth: Annotated[
        str | None, typer.Option(help="Depths of the value array to try.")
    ] = None,
    bus_bits: Annotated[
        str, typer.Option(help="Widths of the bus to try, 64 to 512 bits.")
    ] = "256",
    shares: Annotated[
        str | None,
        typer.Option(help="Percentages of 0, 4 and 8-bit tokens; 28,41.4,30.6."),
    ] = None,
    files: MachinesOption = None,
    mm2: Annotated[
        float | None, typer.Option(min=0, help="Largest die of the core to choose, mm2.")
    ] = None,
    mw: Annotated[
        float | None, typer.Option(min=0, help="Most power of the core to choose, mW.")
    ] = None,
    density: DensityOption = None,
    halo: HaloOption = None,
    area_model: Annotated[
        Path | None,
        typer.Option(
            "--area-model",
            exists=True,
            dir_okay=False,
            help="Fitted to your cells and macros by tools/fit_area.py; by default 45 nm.",
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes; by default one a core.")
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(help="Run on the machines of this Dask scheduler, such as tcp://host:8786."),
    ] = None,
    output: Annotated[
        Path,
        output_folder(
            "Folder for explore.csv and explore.png.", holds=("explore.csv", "explore.png")
        ),
    ] = Path("build/explore"),
    as_json: JsonOption = False,
) -> None:
    """Find the machine for a model, a die and a power: write a table and a picture.

    Energy and power of machines with unsigned_weights, block_exponents or bias_heads are not known:
    they have a dash there, are compared with no others, and cannot be chosen by --mw.
    """
    if dask is not None:
        reject_unused({"--workers": workers}, "--dask has workers of its own")
    given = {"rows": rows, "cols": cols, "depth": depth, "value_depth": value_depth}
    if not any((preset, files, *given.values())):
        given |= USUAL
    changes = {
        name: numbers(f"--{name.replace('_', '-')}", text)
        for name, text in given.items()
        if text is not None
    }
    machines = machines_of(preset, files, ["base"])
    unknown = {each.name: odd for each in machines if (odd := unmeasured(each.config))}
    if mw is not None and unknown:
        name, options_of_it = next(iter(unknown.items()))
        raise UsageError(
            f"--mw {mw:g}, but power of {name} is not known, which has "
            f"{' and '.join(options_of_it)}: leave one of the two out"
        )
    with needs("synth", "sweep"):
        import matplotlib  # noqa: F401
        import pyosys  # noqa: F401

        if dask is not None:
            import distributed  # noqa: F401
    from dtqatten.model.shapes import shape_of
    from dtqatten.model.sweep import points, to_csv
    from dtqatten.synth.estimate.area_model import fitted, read_model
    from dtqatten.synth.explore import Explorer, Machine, best
    from dtqatten.synth.explore_picture import explore_figure
    from dtqatten.synth.place.options import PlaceOptions

    shape = shape_of(model)
    usual = PlaceOptions()
    options = dataclasses.replace(
        usual,
        density=usual.density if density is None else density,
        halo=usual.halo if halo is None else halo,
    )
    areas = fitted() if area_model is None else read_model(area_model)
    explorer = Explorer(areas, shape, options.density, options.halo)
    load = workload(tokens, shape.d_head, shares, follows=False, follows_query=False)
    work = points(
        {each.name: each.config for each in machines},
        changes,
        [tokens],
        [load.shares],
        d_head=shape.d_head,
        buses=numbers("--bus-bits", bus_bits),
    )
    found = computed(work, explorer, "machines", workers, dask)
    choice = best(found, mm2, mw)
    limits = [f"{each:g} {unit}" for each, unit in ((mm2, "mm2"), (mw, "mW")) if each is not None]
    within = f" within {' and '.join(limits)}" if limits else ""
    told = [] if choice is None else [f"fastest{within}: {choice.machine}, {choice.bus_bits} bits"]
    show(table_of(found, choice), *told)
    if as_json:
        print_json([dataclasses.asdict(each) for each in found])
    write_text(output / "explore.csv", to_csv(found, Machine))
    save(explore_figure(found, choice, mm2), output / "explore.png")
    errors = ", ".join(f"{100 * error:+.1f} %" for error in areas.error.values())
    against = f"; area against mapped cores that it is not fitted to: {errors}" if errors else ""
    say(f"modelled for 1 GHz{against}")
    say(f"{output / 'explore.csv'}\n{output / 'explore.png'}")
    if choice is None:
        raise fail(f"no machine{within}: try smaller ones, or give more")


def table_of(machines: "Sequence[Machine]", choice: "Machine | None") -> "Table":
    """Return a table of machines, the smallest first; those that another one beats are dim."""
    from rich.table import Table

    from dtqatten.synth.explore import front

    table = Table(
        *("machine", "multipliers", "bus", "die mm2", "SRAM mm2"),
        *("cycles a head", "us a sequence", "GOP/s", "uJ a sequence", "with DRAM", "mW"),
    )
    kept = {id(one) for one in front(machines)}
    for one in sorted(machines, key=lambda one: one.die_mm2):
        beaten = one.costs is not None and id(one) not in kept
        style = "bold" if one is choice else "dim" if beaten else ""
        table.add_row(
            one.machine,
            str(one.multipliers),
            str(one.bus_bits),
            f"{one.die_mm2:.2f}",
            f"{one.sram_mm2:.2f}",
            str(one.head_cycles),
            f"{one.sequence_us:.0f}",
            f"{one.gops:.0f}",
            *(
                "-" if value is None else f"{value:.0f}"
                for value in (one.sequence_uj, one.with_dram_uj, one.mw)
            ),
            style=style,
        )
    return table
