"""Global and detailed placement, by Coloquinte in a process of its own."""

import sys
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dtqatten.synth.place.floorplan import place_macros, place_ports
from dtqatten.synth.place.layout import Layout
from dtqatten.synth.tools import SynthError, run

__all__ = ["EFFORT", "arrange", "place"]

PROGRAM = Path(__file__).with_name("coloquinte_run.py")

#: Coloquinte's effort, 1 to 9.
EFFORT = 3

#: Share of the rows that cells, widened to spread, fill: the rest is for their packing.
FILLED = 0.96


def place(
    layout: Layout,
    folder: Path,
    steps: Collection[str],
    *,
    skip: Collection[int] = (),
    weights: NDArray[np.float64] | None = None,
    floating: bool = False,
    effort: int = EFFORT,
) -> None:
    """Move the cells in rows to legal places, in place.

    Coordinates are whole sites, and as many units in a row as make them nearly square: Coloquinte
    slows down on fine grids, and so every place is on the grid. Cells are widened to fill the
    rows evenly, or they would gather at the density 1. Macros, inflated by their halos, are fixed,
    and so are ports: cells of one unit that are no obstacle.

    Parameters
    ----------
    layout : Layout
    folder : Path
        To work in.
    steps : collection of str
        Of ``global``, ``legal``, ``detailed``; ``global`` begins anew, the others where cells are.
    skip : collection of int
        Nets that do not pull: clocks.
    weights : array [nets], optional
        How much each net pulls; by default 1.
    floating : bool
        There are no ports, and macros are cells of one unit that move.
    effort : int

    Raises
    ------
    SynthError
        If the cells do not fit.
    """
    plan, netlist = layout.plan, layout.netlist
    unit = np.array([plan.site, plan.row / max(1, round(plan.row / plan.site))])
    core = layout.is_core
    sizes = np.rint(layout.sizes / unit).astype(np.int64)
    at = np.rint(layout.at / unit).astype(np.int64)
    if floating:
        sizes[~core] = 1
        sizes[~core, 1] = round(plan.row / unit[1])
    else:
        # Halos: outward to the grid, the pins' offsets follow.
        low = np.floor((layout.at[~core] - plan.halo) / unit + 1e-6)
        high = np.ceil((layout.at[~core] + layout.sizes[~core] + plan.halo) / unit - 1e-6)
        at[~core], sizes[~core] = low, high - low
    widened = sizes.copy()
    size = np.rint(np.array([plan.width, plan.height]) / unit).astype(np.int64)
    blocked = 0 if floating else int(sizes[~core].prod(axis=1).sum())
    height = round(plan.row / unit[1])
    room = (size.prod() - blocked) / height
    needed = int(sizes[core, 0].sum())
    if needed > room:
        raise SynthError(
            f"cells take {needed / room:.0%} of the rows: give a lower --density than the one that "
            "left no room for buffers"
        )
    stretch = max(1.0, FILLED * room / max(needed, 1))
    ends = np.floor(np.cumsum(sizes[core, 0] * stretch))
    widened[core, 0] = np.maximum(np.diff(ends, prepend=0), sizes[core, 0])
    source = layout.at + np.where(layout.flip, 0, 0)
    offset = layout.pin_points() - source[np.array(netlist.pin_cell, dtype=np.int64)]
    cells, dx, dy, net_end, weight = [], [], [], [], []
    of_net = netlist.pins_of_nets()
    ports = len(netlist.ports)
    number = len(netlist.kinds)
    dxy = np.rint(offset / unit).astype(np.int64)
    if not floating:
        macro = ~core[np.array(netlist.pin_cell, dtype=np.int64)]
        moved = layout.at - at * unit
        cell = np.array(netlist.pin_cell, dtype=np.int64)[macro]
        dxy[macro] = np.rint((offset[macro] + moved[cell]) / unit)
    at_ports: dict[int, list[int]] = {}
    for port, (_, _, net) in enumerate(netlist.ports):
        at_ports.setdefault(net, []).append(number + port)
    skipped = set(skip)
    pin_cell, offsets = netlist.pin_cell, dxy.tolist()
    for net, pins in enumerate(of_net):
        here = [] if floating else at_ports.get(net, [])
        if net in skipped or len(pins) + len(here) < 2:
            continue
        cells += [pin_cell[pin] for pin in pins] + here
        dx += [offsets[pin][0] for pin in pins] + [0] * len(here)
        dy += [offsets[pin][1] for pin in pins] + [0] * len(here)
        net_end.append(len(cells))
        weight.append(1.0 if weights is None else float(weights[net]))
    border = np.clip(np.rint(layout.ports / unit).astype(np.int64), 0, size - [1, height])
    fixed = np.concatenate([~core & (not floating), np.ones(ports, bool)])
    np.savez(
        folder / "circuit.npz",
        width=np.concatenate([widened[:, 0], np.ones(ports, np.int64)]),
        height=np.concatenate([widened[:, 1], np.full(ports, height)]),
        x=np.concatenate([at[:, 0], border[:, 0]]),
        y=np.concatenate([at[:, 1], border[:, 1]]),
        fixed=fixed,
        obstruction=np.concatenate([np.ones(number, bool), np.zeros(ports, bool)]),
        core=np.array([*size, height]),
        pin_cell=np.array(cells),
        pin_x=np.array(dx),
        pin_y=np.array(dy),
        net_end=np.array(net_end),
        weight=np.array(weight),
    )
    command = [sys.executable, str(PROGRAM), "circuit.npz", "placed.npz", str(effort), *steps]
    run(command, folder, "coloquinte.log")
    placed = np.load(folder / "placed.npz")
    moves = np.ones(number, bool) if floating else core
    layout.at[moves] = (np.stack([placed["x"], placed["y"]], axis=1)[:number] * unit)[moves]
    if not floating:
        layout.flip[core] = placed["flip"][:number][core]


def arrange(layout: Layout, folder: Path, skip: Collection[int]) -> None:
    """Put macros and ports where a first, coarse placement without either wants them."""
    place(layout, folder, ["global"], skip=skip, floating=True, effort=1)
    wish = layout.at + layout.sizes / 2
    core = layout.is_core
    macros = {
        int(cell): (float(layout.sizes[cell, 0]), float(layout.sizes[cell, 1]))
        for cell in np.flatnonzero(~core)
    }
    for cell, corner in place_macros(layout.plan, macros, wish).items():
        layout.at[cell] = corner
    pins = layout.netlist.pins_of_nets()
    middle = np.array([layout.plan.width / 2, layout.plan.height / 2])
    of = layout.netlist.pin_cell
    wishes = [
        wish[[of[pin] for pin in pins[net]]].mean(axis=0) if net >= 0 and pins[net] else middle
        for _, _, net in layout.netlist.ports
    ]
    layout.ports = place_ports(layout.plan, np.array(wishes).reshape(-1, 2))
