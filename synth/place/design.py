"""From a mapped netlist to its placed figures."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dtqatten.files.collector import uncollected
from dtqatten.synth.attempts import SRAM_LIBERTY
from dtqatten.synth.cells import CellLibrary
from dtqatten.synth.design import Design
from dtqatten.synth.fanout import fourfold
from dtqatten.synth.place.clock_tree import ClockTree, grow_clock_tree
from dtqatten.synth.place.drives import Drives
from dtqatten.synth.place.floorplan import outline_of
from dtqatten.synth.place.layout import Layout
from dtqatten.synth.place.lef import Geometry, lef_files, read_lef
from dtqatten.synth.place.memories import memory_outlines
from dtqatten.synth.place.netlist import Netlist, read_netlist
from dtqatten.synth.place.options import PlaceOptions
from dtqatten.synth.place.placer import arrange, place
from dtqatten.synth.place.repair import Repair
from dtqatten.synth.place.timing import PlacedTiming, analyse_placed
from dtqatten.synth.place.wires import Wires, extract
from dtqatten.synth.tools import SynthError

__all__ = ["NAMES", "Placed", "place_design"]

#: File of the ports' names by number, and of the clock tree's cells.
NAMES = "placed.json"

#: Paths that a result tells.
PATHS = 10


@dataclass
class Placed:
    """A placed design.

    Attributes
    ----------
    layout, wires, tree, timing
        As they are best.
    result : dict
        Its figures, see :func:`place_design`.
    """

    layout: Layout
    wires: Wires
    tree: ClockTree
    timing: PlacedTiming
    result: dict[str, Any]


@uncollected()
def place_design(
    design: Design,
    synthesized: dict[str, Any],
    mapped: Path,
    lef: Sequence[Path],
    options: PlaceOptions,
    folder: Path,
    *,
    mhz: float,
    step: Callable[[str], None] = lambda what: None,
) -> Placed:
    """Place a mapped netlist, and repair it until it meets its clock or the rounds are used up.

    Macros and ports first, then cells, with the nets' half perimeters as cost. Heavy nets get
    buffers, the clock its tree; then each round resizes cells on the paths that miss the clock,
    shields their nets, moves all cells to the nearest legal places, and is kept if it is better.

    Parameters
    ----------
    design : Design
    synthesized : dict
        Result of :func:`~dtqatten.synth.asic.synthesize`.
    mapped : Path
        Its folder.
    lef : sequence of Path
        LEF files, or folders of them.
    options : PlaceOptions
    folder : Path
        To work in; keeps netlist, SPEF, scripts and logs.
    mhz : float
        Clock rate aimed at.
    step : callable
        Told what is being done.

    Returns
    -------
    Placed
        Whose ``result`` has

        - ``placed_fmax_mhz``, ``hold_slack_ns`` from register to register, and ``placed_slack_ns``:
          ``unplaced``, ``wires`` (placed, the clock ideal), ``clock`` (heavy nets split, clock
          tree) and ``placed`` (repaired);
        - ``placed_mm2`` of the die, ``width_um``, ``height_um``; ``placed_density``, cells and
          macros over the die, and ``cell_density``, cells over what macros with halos leave;
          numbers of ``cells`` and ``macros``;
        - ``wire_mm`` and ``wire_mean_um`` without the clock;
        - ``clock_tree``: ``buffers``, ``um2``, ``levels``, ``sinks``, ``wire_mm``, ``skew_ns``,
          ``latency_ns``, ``mw``;
        - ``power_mw`` at an assumed activity, as ``uniform_mw`` without placement;
        - ``repair``, ``buffers`` and ``sizes`` changed, ``rounds``, what each changed and whether
          it was kept, and ``placed_paths``, the worst.

    Raises
    ------
    SynthError
        If a tool refuses something, or cells do not fit.
    """
    step("geometry")
    for file in sorted(mapped.glob("*.lib")):
        shutil.copy(file, folder / file.name)
    shutil.copy(mapped / "netlist.v", folder / "netlist.v")
    standard = sorted(folder.glob("cells_*.lib"))
    library = CellLibrary.open(standard, folder)
    names = [path.name for path in standard]
    if (folder / SRAM_LIBERTY).exists():
        names.append(SRAM_LIBERTY)
    drives = Drives([folder / name for name in names])
    cells = read_lef(lef_files(lef), folder)
    first = library.buffers[0]
    netlist = read_netlist(folder, "netlist.v", design.top, (first.cell, first.input, first.output))
    memories = memory_outlines(synthesized["memories"], cells, options.halo)
    used = {kind for kind in netlist.kinds if kind not in memories} | {first.cell}
    sizes = {size for kind in used for size in drives.sizes(kind) if size in cells}
    buffers = drives.quick([buffer for buffer in library.buffers if buffer.cell in cells])
    scale = drives.scale(library.buffers[0])
    outlines = {kind: cells[kind] for kind in sizes if kind in cells} | memories
    outlines |= {buffer.cell: cells[buffer.cell] for buffer in buffers}
    geometry = Geometry.of(cells | memories, {*used, *outlines} - set(memories))
    layout = _floorplan(netlist, outlines, geometry, options)
    clocks = [net for name, _, net in netlist.ports if name == design.clock]
    if not clocks:
        raise SynthError(f"{design.top} has no port {design.clock}: name its clock with --clock")
    (clock,) = clocks
    buffer = fourfold(buffers, {kind: drive.loads for kind, drive in drives.cells.items()})
    period = 1000 / mhz
    driver = library.buffer

    def timed(layout: Layout, tree: ClockTree | None) -> tuple[Wires, PlacedTiming]:
        step("wires")
        nets, ideal = (tree.nets, []) if tree else ([], [clock])
        wires = extract(layout, options.signal, options.clock, nets, ideal=ideal)
        step("timing")
        of = analyse_placed(layout, wires, tree, design, names, driver, period, folder)
        return wires, of

    def legalize(layout: Layout, tree: ClockTree) -> None:
        step("legal places")
        place(
            layout,
            folder,
            ["legal", "detailed"],
            skip=tree.nets,
            fixed=tree.buffers,
            effort=options.effort,
        )

    def repairing(layout: Layout, wires: Wires, frozen: Sequence[int]) -> Repair:
        return Repair(layout, wires, drives, buffer, frozen, scale, driver=driver)

    step("floorplan")
    arrange(layout, folder, [clock])
    step("placement")
    everything = ["global", "legal", "detailed"]
    place(layout, folder, everything, skip=[clock], effort=options.effort)
    wires, timing = timed(layout, None)
    slack = {"unplaced": synthesized.get("slack_ns"), "wires": timing.slack_ns}

    step("buffers and clock tree")
    split = repairing(layout, wires, [clock]).split_heavy_nets()
    tree = grow_clock_tree(layout, clock, drives, buffers, options.clock, scale)
    legalize(layout, tree)
    wires, timing = timed(layout, tree)
    slack["clock"] = timing.slack_ns
    best = layout, wires, timing, {"buffers": split, "sizes": 0}
    rounds: list[dict[str, Any]] = []
    share = 1.0
    for number in range(options.rounds):
        done, of = best[0], best[2]
        if of.slack_ns >= 0:
            break
        step(f"repair {number + 1}, {of.slack_ns:.3f} ns")
        layout = done.copy()
        repair = repairing(layout, best[1], tree.nets)
        added = repair.split_heavy_nets()
        resized, shields = repair.speed_up(of.paths, share)
        added += shields
        if not resized and not added:
            break
        legalize(layout, tree)
        wires, timing = timed(layout, tree)
        better = timing.slack_ns > of.slack_ns
        rounds.append(
            {"slack_ns": timing.slack_ns, "buffers": added, "sizes": resized, "kept": better}
        )
        if better:
            sums = {
                "buffers": best[3]["buffers"] + added,
                "sizes": best[3]["sizes"] + resized,
            }
            best = layout, wires, timing, sums
        # Fewer changes at a time after a round that did not help: they were in each other's way.
        share = min(1.0, 2 * share) if better else share / 4
    layout, wires, timing, sums = best
    slack["placed"] = timing.slack_ns
    result = {
        "placed_fmax_mhz": 1000 / (period - timing.slack_ns),
        **areas(layout, options.halo),
        **lengths(wires, tree),
        "clock_tree": clock_figures(layout, wires, tree, timing),
        "placed_slack_ns": slack,
        "hold_slack_ns": timing.hold_slack_ns,
        "power_mw": timing.power_mw,
        "repair": sums,
        "rounds": rounds,
        "placed_paths": [
            {"start": path.start, "end": path.end, "slack_ns": path.slack_ns}
            for path in timing.paths[:PATHS]
        ],
    }
    if rounds and not rounds[-1]["kept"]:
        # What the folder keeps is the best.
        analyse_placed(layout, wires, tree, design, names, driver, period, folder)
    names_of = {"ports": [name for name, _, _ in layout.netlist.ports], "clock": tree.buffers}
    (folder / NAMES).write_text(json.dumps(names_of))
    return Placed(layout, wires, tree, timing, result)


def _floorplan(
    netlist: Netlist, outlines: dict[str, Any], geometry: Geometry, options: PlaceOptions
) -> Layout:
    core = [outlines[kind] for kind in netlist.kinds if outlines[kind].core]
    macros = [outlines[kind] for kind in netlist.kinds if not outlines[kind].core]
    plan = outline_of(
        sum(cell.width * cell.height for cell in core),
        [(macro.width, macro.height) for macro in macros],
        density=options.density,
        aspect=options.aspect,
        halo=options.halo,
        row=geometry.row,
        site=geometry.site,
    )
    cells, ports = len(netlist.kinds), len(netlist.ports)
    nowhere, upright = np.zeros((cells, 2)), np.zeros((cells, 2), dtype=bool)
    return Layout(netlist, outlines, plan, nowhere, upright, np.zeros((ports, 2)))


def areas(layout: Layout, halo: float) -> dict[str, float]:
    """Return the die's area and what of it is used."""
    die = layout.plan.width * layout.plan.height
    macros = layout.sizes[~layout.is_core]
    blocked = float((macros + 2 * halo).prod(axis=1).sum())
    return {
        "placed_mm2": die / 1e6,
        "placed_density": (layout.cell_area + layout.macro_area) / die,
        "cell_density": layout.cell_area / (die - blocked),
        "width_um": layout.plan.width,
        "height_um": layout.plan.height,
        "cells": int(layout.is_core.sum()),
        "macros": int(sum(max(1, len(layout.outlines[k].parts)) for k in _macros(layout))),
    }


def _macros(layout: Layout) -> list[str]:
    return [kind for kind in layout.netlist.kinds if not layout.outlines[kind].core]


def lengths(wires: Wires, tree: ClockTree) -> dict[str, float]:
    """Return total and mean length of the nets but the clock's."""
    clock = set(tree.nets)
    pins = wires.points.pins
    of = [
        float(length)
        for net, length in enumerate(wires.lengths)
        if net not in clock and len(pins[net]) > 1
    ]
    return {"wire_mm": sum(of) / 1000, "wire_mean_um": sum(of) / max(len(of), 1)}


def clock_figures(
    layout: Layout, wires: Wires, tree: ClockTree, timing: PlacedTiming
) -> dict[str, Any]:
    """Return what a clock tree costs."""
    return {
        "buffers": len(tree.buffers),
        "um2": float(layout.sizes[tree.buffers].prod(axis=1).sum()) if tree.buffers else 0.0,
        "levels": tree.levels,
        "sinks": len(tree.sinks),
        "wire_mm": float(wires.lengths[tree.nets].sum()) / 1000,
        "skew_ns": timing.skew_ns,
        "latency_ns": timing.latency_ns,
        "mw": timing.clock_mw,
    }
