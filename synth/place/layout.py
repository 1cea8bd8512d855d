"""Where every cell and port of a netlist is, and with that every pin."""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtqatten.synth.place.floorplan import Floorplan
from dtqatten.synth.place.lef import Outline
from dtqatten.synth.place.netlist import Netlist

__all__ = ["Layout"]

Points = NDArray[np.float64]


@dataclass
class Layout:
    """A placed netlist, um.

    Attributes
    ----------
    netlist : Netlist
    outlines : dict of str to Outline
        By cell type.
    plan : Floorplan
    at : array [cells, 2]
        Lower left corners.
    flip : array of bool [cells, 2]
        Mirrored in x, in y.
    ports : array [ports, 2]
    """

    netlist: Netlist
    outlines: dict[str, Outline]
    plan: Floorplan
    at: Points
    flip: NDArray[np.bool_]
    ports: Points

    def copy(self) -> "Layout":
        """Return a layout that can be changed apart from this one."""
        return Layout(
            self.netlist.copy(),
            self.outlines,
            self.plan,
            self.at.copy(),
            self.flip.copy(),
            self.ports.copy(),
        )

    @property
    def sizes(self) -> Points:
        """Width and height of each cell."""
        size = {kind: (o.width, o.height) for kind, o in self.outlines.items()}
        return np.array([size[kind] for kind in self.netlist.kinds]).reshape(-1, 2)

    @property
    def is_core(self) -> NDArray[np.bool_]:
        """Which cells stand in rows."""
        core = {kind: outline.core for kind, outline in self.outlines.items()}
        return np.array([core[kind] for kind in self.netlist.kinds], dtype=bool)

    @property
    def cell_area(self) -> float:
        """Area of the cells in rows."""
        return float(self.sizes[self.is_core].prod(axis=1).sum())

    @property
    def macro_area(self) -> float:
        """Area of the macros, without what is between those of one memory."""
        outlines = (self.outlines[kind] for kind in self.netlist.kinds)
        return sum(part_area(outline) for outline in outlines if not outline.core)

    def pin_offsets(self) -> Points:
        """Return the place of each pin in its upright cell ``[pins, 2]``."""
        outlines, kinds = self.outlines, self.netlist.kinds
        names = zip(self.netlist.pin_cell, self.netlist.pin_name, strict=True)
        offsets = [outlines[kinds[cell]].pins[pin] for cell, pin in names]
        return np.array(offsets, dtype=float).reshape(-1, 2)

    def pin_points(self) -> Points:
        """Return the place of each pin ``[pins, 2]``."""
        cell = np.array(self.netlist.pin_cell, dtype=np.int64)
        own = self.pin_offsets()
        return self.at[cell] + np.where(self.flip[cell], self.sizes[cell] - own, own)

    def move(self, cells: list[int], at: list[tuple[float, float]]) -> None:
        """Add places for cells that the netlist got after this layout was made."""
        if cells:
            self.at = np.concatenate([self.at, np.array(at)])
            self.flip = np.concatenate([self.flip, np.zeros((len(cells), 2), dtype=bool)])


def part_area(outline: Outline) -> float:
    """Return the area of a macro, or of those that a memory is made of."""
    if len(outline.parts) < 2:
        return outline.width * outline.height
    last_x, last_y = max(x for x, _ in outline.parts), max(y for _, y in outline.parts)
    return len(outline.parts) * (outline.width - last_x) * (outline.height - last_y)


class NetPoints:
    """The different points of nets, the driver's first, and which pins and ports are there.

    Parameters
    ----------
    layout : Layout
    without : collection of int
        Nets that are not connected.

    Attributes
    ----------
    points : list of array [points, 2]
        Of each net; empty where nothing is to be connected.
    pins : list of list of (int, int)
        Of each net, every pin with the number of its point; a port is ``-1 - port``.
    """

    def __init__(self, layout: Layout, without: Collection[int] = ()) -> None:
        netlist = layout.netlist
        where = layout.pin_points().tolist()
        ports = layout.ports.tolist()
        of_net: list[list[int]] = netlist.pins_of_nets()
        for number, (_, is_input, net) in enumerate(netlist.ports):
            if net >= 0:
                if is_input:
                    of_net[net].insert(0, -1 - number)
                else:
                    of_net[net].append(-1 - number)
        self.points: list[Points] = []
        self.pins: list[list[tuple[int, int]]] = []
        kinds, more = netlist.kinds, {k: o.more for k, o in layout.outlines.items() if o.more}
        for net, connected in enumerate(of_net):
            number_of: dict[tuple[float, float], int] = {}
            pins = []
            for pin in () if net in without else connected:
                x, y = where[pin] if pin >= 0 else ports[-1 - pin]
                pins.append((pin, number_of.setdefault((x, y), len(number_of))))
                if pin >= 0 and (kind := kinds[netlist.pin_cell[pin]]) in more:
                    cell = netlist.pin_cell[pin]
                    x0, y0 = layout.at[cell]
                    for dx, dy in more[kind].get(netlist.pin_name[pin], ()):
                        number_of.setdefault((x0 + dx, y0 + dy), len(number_of))
            self.points.append(np.array(list(number_of), dtype=float).reshape(-1, 2))
            self.pins.append(pins)
