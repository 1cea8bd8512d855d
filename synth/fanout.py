"""Buffer trees on nets that leave a module or enter a macro, whose loads ABC does not see."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtqatten.synth.cells import BufferCell

__all__ = ["Loads", "buffer_nets", "fourfold", "read_loads"]

#: Most fF that a driver of unknown size drives, and that a buffer does: each about 0.05 ns in the
#: smallest and in a fourfold cell of 45 nm.
ROOT_FF, LEAF_FF = 24.0, 48.0

#: fF of each input pin by cell, None of clocks.
Loads = Mapping[str, Mapping[str, float | None]]


@dataclass
class Sink:
    """Bit ``index`` of an input ``pins`` of a cell; ``seen``: ABC sized its driver for it."""

    pins: list[Any]
    index: int
    load: float
    seen: bool


def read_loads(paths: Sequence[Path]) -> Loads:
    """Return the input loads of every cell in some Liberty files, whose unit is fF or pF."""
    from liberty.parser import parse_liberty

    loads: dict[str, dict[str, float | None]] = {}
    for path in paths:
        library = parse_liberty(path.read_text())
        number, unit = library["capacitive_load_unit"]
        scale = float(number) * {"ff": 1.0, "pf": 1000.0}[str(unit).strip('"').lower()]
        for cell in library.get_groups("cell"):
            loads[cell.args[0].strip('"')] = {
                pin.args[0].strip('"'): (
                    None
                    if str(pin.get("clock")).strip('"') == "true"
                    else scale * float(pin.get("capacitance") or 0)
                )
                for pin in (*cell.get_groups("pin"), *cell.get_groups("bus"))
                if pin["direction"] == "input"
            }
    return loads


def fourfold(buffers: Sequence[BufferCell], loads: Loads) -> BufferCell:
    """Return the buffer whose input is nearest to four times the smallest one's load."""

    def load(buffer: BufferCell) -> float:
        return loads[buffer.cell][buffer.input] or 0.0

    return min(buffers, key=lambda buffer: abs(load(buffer) - 4 * load(buffers[0])))


def buffer_nets(
    modules: dict[str, Any],
    top: str,
    loads: Loads,
    macros: Collection[str],
    buffer: BufferCell,
    scale: float = 1.0,
) -> int:
    """Insert buffers, in place, so that no driver has more than it can drive.

    Of a net with more than :data:`ROOT_FF`, some of it inside instances or macros, a tree of
    buffers with at most :data:`LEAF_FF` each drives all but its own first gates. Modules are taken
    from the innermost out, each kind once. Clocks stay as they are: ideal.

    Parameters
    ----------
    modules : dict
        ``modules`` of a mapped netlist in Yosys's JSON.
    top : str
    loads : Loads
        Of all cells that are not modules of the netlist.
    macros : collection of str
        Those of these cells that ABC does not size drivers for.
    buffer : BufferCell
    scale : float
        Of both limits, see :mod:`dtqatten.synth.scale`.

    Returns
    -------
    int
        Buffers inserted, those of each kind of module once.
    """
    ports: dict[str, dict[str, list[float | None]]] = {}
    inserted = 0

    def visit(kind: str) -> None:
        nonlocal inserted
        module = modules[kind]
        sinks: dict[int, list[Sink]] = defaultdict(list)
        clocks: set[int] = set()
        for cell in module["cells"].values():
            of = cell["type"]
            instance = of in modules and of not in loads
            if instance and of not in ports:
                visit(of)
            for pin, bits in cell["connections"].items():
                if instance:
                    each = ports[of].get(pin, [])
                else:
                    each = [loads[of][pin]] * len(bits) if pin in loads.get(of, {}) else []
                for index, (bit, load) in enumerate(zip(bits, each, strict=False)):
                    if load is None:
                        clocks.add(bit)
                    elif load and isinstance(bit, int):  # no constant
                        seen = not instance and of not in macros
                        sinks[bit].append(Sink(bits, index, load, seen))
        tree = Tree(module, buffer, loads[buffer.cell][buffer.input] or 0.0, scale)
        for bit, driven in list(sinks.items()):
            heavy = sum(sink.load for sink in driven) > tree.root
            if heavy and bit not in clocks and not all(sink.seen for sink in driven):
                sinks[bit] = tree.grow(bit, driven)
        inserted += tree.count
        ports[kind] = {
            name: [
                None if bit in clocks else sum(sink.load for sink in sinks.get(bit, ()))
                for bit in port["bits"]
            ]
            for name, port in module["ports"].items()
            if port["direction"] == "input"
        }

    visit(top)
    return inserted


class Tree:
    """Grows buffer trees in a module."""

    def __init__(
        self, module: dict[str, Any], buffer: BufferCell, load: float, scale: float
    ) -> None:
        self.root, self._leaf = scale * ROOT_FF, scale * LEAF_FF
        self.module, self.buffer, self.load = module, buffer, load
        self.count = 0
        groups = [port["bits"] for port in module["ports"].values()]
        groups += [
            bits for cell in module["cells"].values() for bits in cell["connections"].values()
        ]
        self._next = 1 + max((b for bits in groups for b in bits if isinstance(b, int)), default=0)

    def grow(self, bit: int, sinks: list[Sink]) -> list[Sink]:
        """Return what the driver of a net still drives: some of its gates, and buffers."""
        kept: list[Sink] = []
        moved: list[Sink] = []
        room = self.root / 2
        for sink in sinks:
            if sink.seen and sink.load <= room:
                kept.append(sink)
                room -= sink.load
            else:
                moved.append(sink)
        room += self.root / 2
        while True:
            groups: list[list[Sink]] = []
            left = 0.0
            for sink in moved:
                if not groups or sink.load > left:
                    groups.append([])
                    left = self._leaf
                groups[-1].append(sink)
                left -= sink.load
            moved = [self._drive(bit, group) for group in groups]
            if len(moved) == 1 or sum(sink.load for sink in moved) <= room:
                return kept + moved

    def _drive(self, bit: int, group: list[Sink]) -> Sink:
        """Put a buffer between a net and some sinks; return the buffer's input."""
        output, self._next = self._next, self._next + 1
        for sink in group:
            sink.pins[sink.index] = output
        pins = [bit]
        self.module["cells"][f"fanout_{self.count}"] = {
            "hide_name": 0,
            "type": self.buffer.cell,
            "parameters": {},
            "attributes": {},
            "port_directions": {self.buffer.input: "input", self.buffer.output: "output"},
            "connections": {self.buffer.input: pins, self.buffer.output: [output]},
        }
        self.count += 1
        return Sink(pins, 0, self.load, seen=False)
