"""A balanced tree of buffers from the clock's port to flip-flops and macros."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtqatten.synth.cells import BufferCell
from dtqatten.synth.place.drives import Drives
from dtqatten.synth.place.layout import Layout
from dtqatten.synth.place.sites import Sites
from dtqatten.synth.place.wires import Wire
from dtqatten.synth.scale import NANGATE45, Scale

__all__ = ["ClockTree", "grow_clock_tree"]

#: Most fF behind a buffer at the leaves, pins and wires.
LEAF_FF = 50.0

#: ps that a buffer's resistance takes with its load: buffers are chosen for it.
STAGE_PS = 30.0

#: ps that such a buffer takes in all.
STAGE_DELAY_PS = 55.0

#: Branches of an inner node: two bisections.
BRANCHES = 4


@dataclass(frozen=True)
class ClockTree:
    """What was inserted.

    Attributes
    ----------
    buffers : list of int
        Its cells, the root first.
    nets : list of int
        Its nets, the port's first.
    levels : int
        Buffers between port and every sink.
    sinks : list of int
        Clock pins.
    """

    buffers: list[int]
    nets: list[int]
    levels: int
    sinks: list[int]


@dataclass(frozen=True)
class Branch:
    """Something that a buffer drives: pins at a place, with a load in fF."""

    pins: list[int]
    at: NDArray[np.float64]
    load: float


def grow_clock_tree(
    layout: Layout,
    net: int,
    drives: Drives,
    buffers: tuple[BufferCell, ...],
    wire: Wire,
    scale: Scale = NANGATE45,
) -> ClockTree:
    """Insert a clock tree into a placed netlist; the buffers stand on sites, and overlap cells.

    Sinks are bisected across the wider side of their bounding box, into parts of equal load, until
    each part has at most :data:`LEAF_FF` behind its buffer: the number of bisections is the same
    for all, so every flip-flop is behind as many buffers. Above the leaves, each buffer drives
    :data:`BRANCHES` others. A buffer stands in the middle of what it drives, as near as macros and
    other buffers let it, and is of the size at which its resistance takes :data:`STAGE_PS` with its
    load: so stages are alike. Memories of several macros join further up, by as many stages as the
    wire between their macros takes.

    Parameters
    ----------
    layout : Layout
        Changed in place.
    net : int
        The clock port's.
    drives : Drives
    buffers : tuple of BufferCell
        To choose from.
    wire : Wire
    scale : Scale
        Of the limits above.
    """
    netlist = layout.netlist
    leaf_ff, stage_delay = scale.load * LEAF_FF, scale.time * STAGE_DELAY_PS
    sinks = [pin for pin, of in enumerate(netlist.pin_net) if of == net]
    points = layout.pin_points()
    tree = _Grower(layout, drives, buffers, wire, scale.time * STAGE_PS)
    #: What joins the tree at each level above the leaves.
    joining: dict[int, list[Branch]] = {}
    for pin in sinks:
        cell = netlist.pin_cell[pin]
        name = netlist.pin_name[pin]
        at = points[pin]
        further = layout.outlines[netlist.kinds[cell]].more.get(name, ())
        load, level = drives.cells[netlist.kinds[cell]].loads[name], 0
        if further:  # a memory of several macros: in their middle
            spread = np.array([at, *(layout.at[cell] + offset for offset in further)])
            at, length = spread.mean(axis=0), float(np.ptp(spread, axis=0).sum())
            load += wire.ff * length
            level = round(wire.ohm * length / 2 * load / 2 / 1000 / stage_delay)
        joining.setdefault(level, []).append(Branch([pin], at, load))
    if not sinks:
        return ClockTree([], [net], 0, [])
    # With few flip-flops there are no levels to join: memories are leaves then.
    leaves = joining.pop(0, None) or [one for late in joining.values() for one in late]
    if len(leaves) == len(sinks):
        joining = {}
    bisections = 0
    while any(
        len(group) > 1 and tree.load(group) > leaf_ff for group in bisected(leaves, bisections)
    ):
        bisections += 1
    levels = 0
    branches = [tree.buffer(group) for group in bisected(leaves, bisections)]
    levels += 1
    while len(branches) > 1 or joining:
        bisections = max(0, bisections - BRANCHES // 2)
        # A memory has a buffer of its own, and so is a level lower than that.
        due = [level for level in joining if level <= levels or len(branches) == 1]
        late = [tree.buffer([one]) for level in sorted(due) for one in joining.pop(level)]
        branches = [tree.buffer(group) for group in bisected([*branches, *late], bisections)]
        levels += 1
    (root,) = branches
    netlist.pin_net[root.pins[0]] = net
    layout.move(tree.cells, tree.at)
    layout.flip[tree.cells, 1] = [tree.sites.flipped(y) for _, y in tree.at]
    return ClockTree(tree.cells[::-1], [net, *tree.nets[::-1]], levels, sinks)


def bisected(branches: list[Branch], times: int) -> list[list[Branch]]:
    """Return branches in up to ``2**times`` groups of like load."""
    if not times or len(branches) < 2:
        return [branches]
    at = np.array([branch.at for branch in branches])
    load = np.array([branch.load for branch in branches])
    axis = int(np.ptp(at[:, 1]) > np.ptp(at[:, 0]))
    order = np.lexsort((np.arange(len(at)), at[:, axis]))
    sums = np.cumsum(load[order])
    half = int(np.searchsorted(sums, sums[-1] / 2))
    half = min(max(half, 1), len(order) - 1)
    return [
        group
        for part in (order[:half], order[half:])
        for group in bisected([branches[i] for i in part], times - 1)
    ]


class _Grower:
    """Adds buffers to a netlist, from the leaves up."""

    def __init__(
        self,
        layout: Layout,
        drives: Drives,
        buffers: tuple[BufferCell, ...],
        wire: Wire,
        stage_ps: float,
    ) -> None:
        self._layout, self._drives, self._wire = layout, drives, wire
        self._stage_ps = stage_ps
        self._buffers = [buffer for buffer in buffers if buffer.cell in layout.outlines]
        macros, halo = ~layout.is_core, layout.plan.halo
        corners, sizes = layout.at[macros] - halo, layout.sizes[macros] + 2 * halo
        self.sites = Sites(layout.plan, np.concatenate([corners, sizes], axis=1).tolist())
        self.cells: list[int] = []
        self.nets: list[int] = []
        self.at: list[tuple[float, float]] = []

    def load(self, group: list[Branch], middle: NDArray[np.float64] | None = None) -> float:
        """Return what a buffer in the middle of a group, or elsewhere, drives, wires by star."""
        at = np.array([branch.at for branch in group])
        # Leaves share wires; a star counts these once for each.
        star = np.abs(at - (np.median(at, axis=0) if middle is None else middle)).sum()
        if middle is not None:
            at = np.concatenate([at, [middle]])
        shared = np.ptp(at, axis=0).sum() * (1 + np.sqrt(len(group)) / 2)
        return sum(branch.load for branch in group) + self._wire.ff * float(min(star, shared))

    def _choice(self, load: float) -> BufferCell:
        """Return the buffer whose resistance takes a stage's time with a load."""
        return min(
            self._buffers,
            key=lambda b: (abs(self._drives.cells[b.cell].resistance * load - self._stage_ps), b),
        )

    def buffer(self, group: list[Branch]) -> Branch:
        """Put a buffer before a group; return it as a branch."""
        netlist, layout = self._layout.netlist, self._layout
        middle = np.median([branch.at for branch in group], axis=0)
        # A place for a buffer that suits the middle; macros may keep it away from there.
        outline = layout.outlines[self._choice(self.load(group)).cell]
        size = np.array([outline.width, outline.height])
        x, y = self.sites.take(tuple(middle - size / 2), outline.width)
        at = np.array([x, y]) + size / 2
        chosen = self._choice(self.load(group, at))
        wider = layout.outlines[chosen.cell].width - outline.width
        if wider > 0:
            self.sites.free((x, y), outline.width)
            x, y = self.sites.take((x - wider / 2, y), outline.width + wider)
            at = np.array([x, y]) + (size + np.array([wider, 0.0])) / 2
        net = netlist.add_net()
        for branch in group:
            for pin in branch.pins:
                netlist.pin_net[pin] = net
        cell = netlist.add_cell(
            chosen.cell,
            f"clock_tree/{len(self.cells)}",
            [(chosen.input, False, -1), (chosen.output, True, net)],
        )
        self.cells.append(cell)
        self.nets.append(net)
        self.at.append((x, y))
        return Branch(
            [netlist.first[cell]], at, self._drives.cells[chosen.cell].loads[chosen.input]
        )
