"""Resistance and capacitance of wires, and the SPEF file that tells a timing analysis of them."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dtqatten.synth.place.layout import Layout, NetPoints
from dtqatten.synth.place.steiner import Tree, steiner_trees

__all__ = ["Wire", "Wires", "extract", "loads_of", "write_spef"]

#: Ohm between two pins at one place.
TOUCH = 0.001


@dataclass(frozen=True)
class Wire:
    """A layer's wire: ohm and fF a um."""

    ohm: float
    ff: float


@dataclass(frozen=True)
class Wires:
    """The wires of a layout.

    Attributes
    ----------
    points : NetPoints
        What each net connects.
    trees : list of Tree
        Of each net.
    kind : list of Wire
        What each is made of.
    """

    points: NetPoints
    trees: list[Tree]
    kind: list[Wire]

    @property
    def lengths(self) -> NDArray[np.float64]:
        """Length of each net, um."""
        return np.array([tree.lengths.sum() for tree in self.trees])

    @property
    def loads(self) -> NDArray[np.float64]:
        """Capacitance of each net's wire, fF."""
        return self.lengths * np.array([wire.ff for wire in self.kind])


def extract(
    layout: Layout,
    signal: Wire,
    clock: Wire,
    clock_nets: Collection[int],
    *,
    ideal: Collection[int] = (),
) -> Wires:
    """Return the wires of a layout: of kind ``clock`` for clock nets, none for ideal nets."""
    points = NetPoints(layout, without=ideal)
    clocks = set(clock_nets)
    some = [np.zeros((1, 2)) if not len(net) else net for net in points.points]
    kinds = [clock if net in clocks else signal for net in range(len(some))]
    return Wires(points, steiner_trees(some), kinds)


def write_spef(layout: Layout, wires: Wires, path: Path, top: str) -> None:
    """Write wires as SPEF, with the names that :meth:`Netlist.write` gives.

    Each edge of a tree is a resistor with half of its capacitance at either end.
    """
    names = layout.netlist.net_names()
    nodes = PinNames(layout)
    with path.open("w") as file:
        file.write(
            f"""*SPEF "IEEE 1481-1998"
*DESIGN "{top}"
*DATE "-"
*VENDOR "-"
*PROGRAM "dtqatten"
*VERSION "-"
*DESIGN_FLOW "-"
*DIVIDER /
*DELIMITER :
*BUS_DELIMITER []
*T_UNIT 1 PS
*C_UNIT 1 FF
*R_UNIT 1 OHM
*L_UNIT 1 HENRY
"""
        )
        for net, pins in enumerate(wires.points.pins):
            if len(pins) > 1:
                of = net_text(names[net], pins, nodes, wires.trees[net], wires.kind[net])
                file.write(of)


class PinNames:
    """Names and directions of pins and ports in SPEF."""

    def __init__(self, layout: Layout) -> None:
        self._netlist = layout.netlist

    def name(self, pin: int) -> str:
        """Return what a pin, or port ``-1 - pin``, is called."""
        if pin < 0:
            return f"p{-1 - pin}"
        return f"c{self._netlist.pin_cell[pin]}:{self._netlist.pin_name[pin]}"

    def connection(self, pin: int) -> str:
        """Return its line in a net's connections."""
        if pin < 0:
            return f"*P {self.name(pin)} {'I' if self._netlist.ports[-1 - pin][1] else 'O'}\n"
        return f"*I {self.name(pin)} {'O' if self._netlist.pin_drives[pin] else 'I'}\n"


def net_text(net: str, pins: list[tuple[int, int]], nodes: PinNames, tree: Tree, wire: Wire) -> str:
    """Return a net's section."""
    at: dict[int, str] = {}
    touching = []
    for pin, point in pins:
        name = nodes.name(pin)
        if point in at:
            touching.append((at[point], name))
        else:
            at[point] = name
    lengths, parents = tree.lengths.tolist(), tree.parent.tolist()
    load: Mapping[int, float] = loads_of(lengths, parents, wire.ff)

    def node(number: int) -> str:
        return at.get(number) or f"{net}:{number + 1}"

    caps = [f"{node(i)} {ff:.5g}" for i, ff in load.items() if ff > 0]
    resistors = [
        f"{node(i)} {node(parent)} {max(length * wire.ohm, TOUCH):.5g}"
        for i, (length, parent) in enumerate(zip(lengths, parents, strict=True))
        if parent >= 0
    ]
    resistors += [f"{one} {other} {TOUCH}" for one, other in touching]
    return "".join(
        (
            f"*D_NET {net} {sum(load.values()):.5g}\n*CONN\n",
            *(nodes.connection(pin) for pin, _ in pins),
            "*CAP\n" if caps else "",
            *(f"{i} {line}\n" for i, line in enumerate(caps, 1)),
            "*RES\n" if resistors else "",
            *(f"{i} {line}\n" for i, line in enumerate(resistors, 1)),
            "*END\n",
        )
    )


def loads_of(lengths: list[float], parents: list[int], ff: float) -> dict[int, float]:
    """Return the capacitance at each node of a tree."""
    load = dict.fromkeys(range(len(lengths)), 0.0)
    for node, (length, parent) in enumerate(zip(lengths, parents, strict=True)):
        if parent >= 0:
            load[node] += length * ff / 2
            load[parent] += length * ff / 2
    return load
