"""Modelled area of each option of a core, as a table: ``tools/option_areas.py --help``."""

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from dtqatten.configuration.choices import TopKEngine
from dtqatten.configuration.core import PRESETS, Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.blocks import Block
from dtqatten.synth.blocks import block_design
from dtqatten.synth.estimate.area_model import fitted, parts_of
from dtqatten.synth.estimate.contents import contents_of

#: What each option is set to, and what it is compared with beyond the preset: what it needs.
OPTIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"unsigned_weights": True}, {}),
    ({"block_exponents": True}, {}),
    ({"planes": 3}, {}),
    ({"v_gains": True}, {}),
    ({"signed_gains": True}, {}),
    ({"topk_engine": TopKEngine.QUICK_SELECT}, {}),
    ({"cumulative": True}, {}),
    ({"count_normalize": True}, {}),
    ({"capacity": 8192}, {}),
    ({"windows": True}, {}),
    ({"sinks": True}, {}),
    ({"bias_heads": 1}, {}),
    ({"grouped": True}, {}),
    ({"held_importance": True}, {}),
    ({"head_pruning": True}, {}),
    ({"skip_tiles": True}, {}),
    ({"local_values": True}, {"skip_tiles": True}),
    ({"chosen_values": True}, {"skip_tiles": True, "local_values": True}),
    ({"progressive": True}, {}),
    ({"merge_rows": 32}, {"capacity": 8192}),
]


def area(config: Config) -> tuple[float, float]:
    """Return um2 of a core's cells and of its macros, modelled."""
    model = fitted()
    design = block_design("core", Block.CORE, SystemConfig(core=config))
    with tempfile.TemporaryDirectory(prefix="dtqatten-") as folder:
        whole = parts_of(contents_of(design, Path(folder)), design.top, model, {})[""]
    return model.logic_um2(whole), model.sram_um2(whole)


def said(changes: dict[str, Any]) -> str:
    """Return changes as the options of a configuration file."""
    return ", ".join(
        f"`{name}`" if value is True else f"`{name} = {value}`" for name, value in changes.items()
    )


def main(
    preset: Annotated[str, typer.Option(help="The core that has none of them.")] = "base",
    option: Annotated[
        list[str] | None, typer.Option(help="An option's name; repeatable. All if not given.")
    ] = None,
) -> None:
    """Print what each option adds to a core, by the area model of ``dtqatten explore``."""
    names = [name for changes, _ in OPTIONS for name in changes]
    if unknown := sorted(set(option or []) - set(names)):
        raise typer.BadParameter(f"{', '.join(unknown)}: choose from {', '.join(names)}")
    if preset not in PRESETS:
        raise typer.BadParameter(f"no preset {preset!r}: choose one of {', '.join(PRESETS)}")
    known: dict[str, tuple[float, float]] = {}

    def of(changes: dict[str, Any]) -> tuple[float, float]:
        key = said(changes)
        if key not in known:
            known[key] = area(PRESETS[preset].replace(**changes))
        return known[key]

    cells, macros = of({})
    typer.echo(f"`{preset}`: {cells:,.0f} um2 of cells, {macros:,.0f} of macros\n")
    typer.echo("| option | over | cells, um2 | SRAM, um2 | % of the core |\n|---|---|---|---|---|")
    for changes, needs in OPTIONS:
        if option and not set(option) & changes.keys():
            continue
        before, after = of(needs), of(needs | changes)
        logic, sram = (b - a for a, b in zip(before, after, strict=True))
        share = 100 * (logic + sram) / (cells + macros)
        over = said(needs) or "-"
        typer.echo(f"| {said(changes)} | {over} | {logic:+,.0f} | {sram:+,.0f} | {share:+.2f} |")


if __name__ == "__main__":
    typer.run(main)
