"""Full adders of a library: bound where the clock leaves them the time."""

from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import TopologicalSorter
from itertools import count
from typing import Any

from dtqatten.synth.gates import Gates

__all__ = ["MARGIN", "TECHMAP", "Adders", "FullAdder", "full_adder"]

#: File of :meth:`FullAdder.techmap`.
TECHMAP = "adder_map.v"

#: Bound adders are named by this and a number.
PREFIX = "adder_"

#: Adders in a row at most: a tree has as many for 44 bits of one weight. Longer chains are carries
#: that ripple, found among the gates of adders that are faster.
LONGEST = 9

#: Part of the clock period that a bound adder leaves, for wires: it has one size only.
MARGIN = 0.03

#: Columns of the truth table of three inputs, and what their sum and carry are.
INPUTS = (0b10101010, 0b11001100, 0b11110000)
SUM, CARRY = 0b10010110, 0b11101000


@dataclass(frozen=True, order=True)
class FullAdder:
    """A full adder: its area, cell and pins."""

    area: float
    cell: str
    inputs: tuple[str, str, str]
    sum: str
    carry: str

    def blackbox(self) -> str:
        """Return an empty Verilog module of the cell."""
        ins, outs = ", ".join(self.inputs), f"{self.sum}, {self.carry}"
        return f"(* blackbox *)\nmodule {self.cell}(input {ins}, output {outs}); endmodule\n"

    def techmap(self) -> str:
        """Return the cell as what Yosys's ``$fa`` of one bit is mapped to."""
        a, b, c = self.inputs
        return f"""(* techmap_celltype = "$fa" *)
module _adder(A, B, C, X, Y);
  parameter WIDTH = 1;
  input [WIDTH-1:0] A, B, C;
  output [WIDTH-1:0] X, Y;
  {self.cell} _TECHMAP_REPLACE_(.{a}(A), .{b}(B), .{c}(C), .{self.carry}(X), .{self.sum}(Y));
endmodule
"""

    def commands(self) -> str:
        """Return Yosys's commands that find full adders among gates, bind and name them."""
        return f"""extract_fa -fa
opt_clean
read_verilog -lib adder_cell.v
techmap -map {TECHMAP}
rename -enumerate -pattern {PREFIX}% t:{self.cell}
"""


def full_adder(cells: dict[str, Any]) -> FullAdder | None:
    """Return the smallest full adder of a library, by truth tables; None without one.

    Parameters
    ----------
    cells : dict
        ``modules`` of the library in Yosys's JSON.
    """
    found = []
    for name, cell in cells.items():
        pins: dict[str, list[str]] = {"input": [], "output": [], "inout": []}
        for pin, port in cell["ports"].items():
            pins[port["direction"]].append(pin)
        area = float(cell["attributes"].get("area", 0))
        if not area or len(pins["input"]) != 3 or len(pins["output"]) != 2 or pins["inout"]:
            continue
        table = _truth_table(name, cells, pins["input"], pins["output"])
        outputs = {value: pin for pin, value in table.items()}
        if outputs.keys() == {SUM, CARRY}:
            a, b, c = pins["input"]
            found.append(FullAdder(area, name, (a, b, c), outputs[SUM], outputs[CARRY]))
    return min(found, default=None)


def _truth_table(
    name: str, cells: dict[str, Any], inputs: list[str], outputs: list[str]
) -> dict[str, int]:
    """Return what a cell gives for all values of three inputs; nothing if it holds a state."""
    bits = {pin: [number] for number, pin in enumerate((*inputs, *outputs), 2)}
    ports = {pin: {"bits": bit} for pin, bit in bits.items()}
    try:
        gates = Gates(
            {"ports": ports, "cells": {"cell": {"type": name, "connections": bits}}}, cells, 8
        )
    except (ValueError, KeyError):
        return {}
    gates.clock({pin: [column] for pin, column in zip(inputs, INPUTS, strict=True)})
    return {pin: gates.values[bits[pin][0]] & gates.all for pin in outputs}


class Adders:
    """The full adders bound in a design's modules, which can become gates again.

    Those of which one output is not used do so at once: two gates are smaller. A module with a
    chain of more than :data:`LONGEST` has none.

    Parameters
    ----------
    adder : FullAdder or None
        None: there are none.
    modules : dict
        In Yosys's JSON; changed in place: modules that get adders are those of ``bound``.
    bound : dict
        The same modules with cells of the adder.
    """

    def __init__(
        self, adder: FullAdder | None, modules: dict[str, Any], bound: dict[str, Any]
    ) -> None:
        self._modules, self._plain = modules, dict(modules)
        self._cell = adder.cell if adder else None
        if not adder:
            return
        self._adder = adder
        for kind in self._plain:
            modules[kind] = module = bound[kind]
            used = _used(module)
            half = [
                name
                for name in self.of(kind)
                for outputs in [module["cells"][name]["connections"]]
                if not used >= {*outputs[adder.sum], *outputs[adder.carry]}
            ]
            self.dissolve(kind, half)
            if max(self._chains(kind).values(), default=0) > LONGEST:
                self.dissolve(kind, self.of(kind))

    def of(self, kind: str) -> list[str]:
        """Return the names of a module's adders."""
        cells = self._modules[kind]["cells"]
        return [name for name, cell in cells.items() if cell["type"] == self._cell]

    def bound(self) -> dict[str, int]:
        """Return how many there are in each module that has some."""
        return {kind: len(names) for kind in self._modules if (names := self.of(kind))}

    def _chains(self, kind: str) -> dict[str, int]:
        """Return the length of the longest chain through each adder, with inverters or without."""
        adder, cells = self._adder, self._modules[kind]["cells"]
        names = self.of(kind)
        source = {
            bit: name
            for name in names
            for pin in (adder.sum, adder.carry)
            for bit in cells[name]["connections"][pin]
        }
        inverted = {
            cell["connections"]["Y"][0]: cell["connections"]["A"][0]
            for cell in cells.values()
            if cell["type"] == "$_NOT_"
        }
        before: dict[str, set[str]] = {}
        for name in names:
            bits = {bit for pin in adder.inputs for bit in cells[name]["connections"][pin]}
            bits = {inverted.get(bit, bit) for bit in bits}
            before[name] = {source[bit] for bit in bits if bit in source}
        order = list(TopologicalSorter(before).static_order())
        up, down = dict.fromkeys(names, 1), dict.fromkeys(names, 1)
        for name in order:
            up[name] = 1 + max((up[one] for one in before[name]), default=0)
        for name in reversed(order):
            for one in before[name]:
                down[one] = max(down[one], 1 + down[name])
        return {name: up[name] + down[name] - 1 for name in names}

    def has(self, kind: str, name: str) -> bool:
        """Tell whether a module's cell is an adder."""
        cell = self._modules[kind]["cells"].get(name)
        return cell is not None and cell["type"] == self._cell

    def dissolve(self, kind: str, names: Iterable[str]) -> None:
        """Make gates of a module's adders, for ABC to map with the logic around them.

        If none is left, the module is what it was without adders: fast adders are no full adders.
        """
        names = set(names)
        if not names < set(self.of(kind)):
            self._modules[kind] = self._plain[kind]
            return
        module, adder = self._modules[kind], self._adder
        nets = module["netnames"]
        ports = module["ports"].values()
        taken = [bit for net in (*nets.values(), *ports) for bit in net["bits"]]
        fresh = count(1 + max(bit for bit in taken if isinstance(bit, int)))
        for name in sorted(names):
            of = module["cells"].pop(name)["connections"]
            a, b, c = (of[pin] for pin in adder.inputs)
            half, both, either = ([next(fresh)] for _ in range(3))
            for part, bits in (("half", half), ("both", both), ("either", either)):
                nets[f"{name}_{part}_net"] = {"hide_name": 1, "bits": bits, "attributes": {}}
            for part, gate, x, y, z in (
                ("half", "$_XOR_", a, b, half),
                ("sum", "$_XOR_", half, c, of[adder.sum]),
                ("both", "$_AND_", a, b, both),
                ("either", "$_AND_", half, c, either),
                ("carry", "$_OR_", both, either, of[adder.carry]),
            ):
                module["cells"][f"{name}_{part}"] = {
                    "hide_name": 1,
                    "type": gate,
                    "parameters": {},
                    "attributes": {},
                    "port_directions": {"A": "input", "B": "input", "Y": "output"},
                    "connections": {"A": x, "B": y, "Y": z},
                }


def _used(module: dict[str, Any]) -> set[int | str]:
    """Return the nets of a module that something reads: a cell, or an output.

    Library cells have no directions here; none of them drives what an adder drives.
    """
    used = {
        bit
        for port in module["ports"].values()
        if port["direction"] != "input"
        for bit in port["bits"]
    }
    for cell in module["cells"].values():
        for pin, bits in cell["connections"].items():
            if cell.get("port_directions", {}).get(pin) != "output":
                used.update(bits)
    return used
