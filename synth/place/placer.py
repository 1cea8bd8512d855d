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

#: A length below this is rounding, in units.
GRID = 1e-6

#: Width of a movable macro's pieces, in heights of a row.
PIECE = 16

#: Share of the rows that cells, widened to spread, fill in global placement.
SPREAD = 0.96

#: The same for legal places, which are taken from left to right: in fuller rows the last cells find
#: room far from where they belong. The first with which all find a place is taken; 0: none is
#: widened.
FILLED = (0.86, 0.78, 0.0)


def place(
    layout: Layout,
    folder: Path,
    steps: Collection[str],
    *,
    skip: Collection[int] = (),
    fixed: Collection[int] = (),
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
    fixed : collection of int
        Cells in rows, on sites, that stay where they are.
    floating : bool
        There are no ports, and macros move: each is in pieces that take its room, tied to a
        cell that stands for it.
    effort : int
        1 to 9.

    Raises
    ------
    SynthError
        If the cells do not fit.
    """
    plan, core = layout.plan, layout.is_core
    moving = core.copy()
    moving[list(fixed)] = False
    number, ports = len(core), len(layout.ports)
    height = max(1, round(plan.row / plan.site))
    unit = np.array([plan.site, plan.row / height])
    size = np.rint(np.array([plan.width, plan.height]) / unit).astype(np.int64)
    at = np.rint(layout.at / unit).astype(np.int64)
    sizes = np.rint(layout.sizes / unit).astype(np.int64)
    of_piece = np.zeros(0, np.int64)
    if floating:
        wide = np.ceil((layout.sizes + 2 * plan.halo) / unit - GRID)[~core].prod(axis=1)
        count = np.ceil(wide / (PIECE * height * height)).astype(np.int64)
        of_piece = np.repeat(np.flatnonzero(~core), count)
        blocked = len(of_piece) * PIECE * height * height
        sizes[~core] = 1, height
    else:
        low = np.floor((layout.at[~core] - plan.halo) / unit + GRID)
        high = np.ceil((layout.at[~core] + layout.sizes[~core] + plan.halo) / unit - GRID)
        at[~core], sizes[~core] = low, high - low
        sizes[core & ~moving, 1] = height
        blocked = int(sizes[~moving].prod(axis=1).sum())
    room = (int(size.prod()) - blocked) / height
    shares = (SPREAD, *FILLED)
    pieces = len(of_piece)
    others = np.concatenate([np.ones(ports, np.int64), np.full(pieces, PIECE * height)])
    widths = np.tile(np.concatenate([sizes[:, 0], others]), (len(shares), 1))
    for width, filled in zip(widths, shares, strict=True):
        width[:number][moving] = widened(sizes[moving, 0], room, filled)
    # A cell stands in the middle of what it is widened to.
    aside = np.zeros_like(at)
    aside[moving, 0] = (widths[1, :number] - sizes[:, 0])[moving] // 2
    border = np.clip(np.rint(layout.ports / unit).astype(np.int64), 0, size - [1, height])
    cells, offsets, ends = connections(layout, at, unit, set(skip), ports=not floating)
    # A net from each piece to what stands for its macro.
    tied = np.stack([of_piece, number + ports + np.arange(pieces)], axis=1).ravel()
    middles = np.tile([[0, 0], [PIECE * height // 2, 0]], (pieces, 1))
    offsets = np.concatenate([offsets, middles])
    last = ends[-1] if len(ends) else 0
    np.savez(
        folder / "circuit.npz",
        width=widths,
        height=np.concatenate([sizes[:, 1], np.full(ports + pieces, height)]),
        x=np.concatenate([(at - aside)[:, 0], border[:, 0], at[of_piece, 0]]),
        y=np.concatenate([at[:, 1], border[:, 1], at[of_piece, 1]]),
        fixed=np.concatenate(
            [~moving & (not floating), np.ones(ports, bool), np.zeros(pieces, bool)]
        ),
        obstruction=np.concatenate(
            [np.ones(number, bool), np.zeros(ports, bool), np.ones(pieces, bool)]
        ),
        core=np.array([*size, height]),
        pin_cell=np.concatenate([cells, tied]),
        pin_x=offsets[:, 0],
        pin_y=offsets[:, 1],
        net_end=np.concatenate([ends, last + 2 * (1 + np.arange(pieces))]),
    )
    command = [sys.executable, str(PROGRAM), "circuit.npz", "placed.npz", str(effort), *steps]
    run(command, folder, "coloquinte.log")
    with np.load(folder / "placed.npz") as placed:
        aside[moving, 0] = (placed["width"][:number] - sizes[:, 0])[moving] // 2
        corners = np.stack([placed["x"], placed["y"]], axis=1)
        corners[:number] += aside
        corners = corners * unit
        layout.at[moving] = corners[:number][moving]
        if floating:
            found = corners[number + ports :] + [PIECE * height / 2, height / 2] * unit
            middle = np.stack([np.bincount(of_piece, xy, number) for xy in found.T], axis=1)
            layout.at[~core] = middle[~core] / count[:, None] - layout.sizes[~core] / 2
        else:
            layout.flip[moving] = placed["flip"][:number][moving]


def widened(widths: NDArray[np.int64], room: float, filled: float) -> NDArray[np.int64]:
    """Return widths that fill a share of the rows, none below what it was.

    Raises
    ------
    SynthError
        If there is no room.
    """
    needed = int(widths.sum())
    if needed > room:
        raise SynthError(f"cells take {needed / room:.0%} of the rows: give a lower --density")
    ends = np.floor(np.cumsum(widths * max(1.0, filled * room / max(needed, 1))))
    return np.maximum(np.diff(ends, prepend=0).astype(np.int64), widths)


def connections(
    layout: Layout,
    at: NDArray[np.int64],
    unit: NDArray[np.float64],
    skip: Collection[int],
    *,
    ports: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return nets for the placer: each pin's cell and place in the upright cell, and nets' ends."""
    netlist = layout.netlist
    of_pin = np.array(netlist.pin_cell, dtype=np.int64)
    offset = layout.pin_offsets()
    # A macro begins at the corner of its halo.
    macro = ~layout.is_core[of_pin]
    offset[macro] += (layout.at - at * unit)[of_pin[macro]]
    offsets = np.rint(offset / unit).astype(np.int64).tolist()
    at_ports: dict[int, list[int]] = {}
    if ports:
        for port, (_, _, net) in enumerate(netlist.ports):
            at_ports.setdefault(net, []).append(len(netlist.kinds) + port)
    cells: list[int] = []
    places: list[list[int]] = []
    ends = []
    for net, pins in enumerate(netlist.pins_of_nets()):
        here = at_ports.get(net, [])
        if net in skip or len(pins) + len(here) < 2:
            continue
        cells += [netlist.pin_cell[pin] for pin in pins] + here
        places += [offsets[pin] for pin in pins] + [[0, 0]] * len(here)
        ends.append(len(cells))
    return (
        np.array(cells, dtype=np.int64),
        np.array(places, dtype=np.int64).reshape(-1, 2),
        np.array(ends, dtype=np.int64),
    )


def arrange(layout: Layout, folder: Path, skip: Collection[int]) -> None:
    """Put macros and ports near where a first, coarse placement wants them."""
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
