"""A flat netlist that placement can change: cells, pins and nets in parallel lists."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dtqatten.synth.tools import SynthError, yosys

__all__ = ["CONSTANTS", "Netlist", "read_netlist"]

#: Nets that no cell drives: logic zero and one.
CONSTANTS = {-1: "1'b0", -2: "1'b1"}


@dataclass
class Netlist:
    """Cells of a library, and what their pins hang on; every pin is one bit.

    Attributes
    ----------
    kinds : list of str
        Each cell's type.
    names : list of str
        Each cell's path of instances.
    first : list of int
        Its first pin; its pins are consecutive.
    pin_cell : list of int
        Each pin's cell.
    pin_name : list of str
        ``name`` or ``name[bit]``.
    pin_drives : list of bool
        Whether it is an output.
    pin_net : list of int
        Its net, or a key of :data:`CONSTANTS`.
    ports : list of tuple
        ``name``, whether it is an input, and net of every bit of the block's ports.
    nets : int
        How many there are.
    """

    kinds: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    first: list[int] = field(default_factory=list)
    pin_cell: list[int] = field(default_factory=list)
    pin_name: list[str] = field(default_factory=list)
    pin_drives: list[bool] = field(default_factory=list)
    pin_net: list[int] = field(default_factory=list)
    ports: list[tuple[str, bool, int]] = field(default_factory=list)
    nets: int = 0

    def copy(self) -> "Netlist":
        """Return a netlist that can be changed apart from this one."""
        lists = {key: list(value) for key, value in vars(self).items() if key != "nets"}
        return Netlist(**lists, nets=self.nets)

    def add_net(self) -> int:
        """Return a fresh net."""
        self.nets += 1
        return self.nets - 1

    def add_cell(self, kind: str, name: str, pins: list[tuple[str, bool, int]]) -> int:
        """Add a cell, of each pin name, whether it drives, and net; return its number."""
        cell = len(self.kinds)
        self.kinds.append(kind)
        self.names.append(name)
        self.first.append(len(self.pin_cell))
        for pin, drives, net in pins:
            self.pin_cell.append(cell)
            self.pin_name.append(pin)
            self.pin_drives.append(drives)
            self.pin_net.append(net)
        return cell

    def pins(self, cell: int) -> range:
        """Return the pins of a cell."""
        last = cell + 1 == len(self.first)
        return range(self.first[cell], len(self.pin_cell) if last else self.first[cell + 1])

    def pins_of_nets(self) -> list[list[int]]:
        """Return each net's pins, its driver first; ports are not among them."""
        pins: list[list[int]] = [[] for _ in range(self.nets)]
        for pin, net in enumerate(self.pin_net):
            if net >= 0:
                if self.pin_drives[pin]:
                    pins[net].insert(0, pin)
                else:
                    pins[net].append(pin)
        return pins

    def write(self, path: Path, top: str) -> None:
        """Write it as Verilog: cells ``c<number>``, nets ``n<number>``, ports ``p<number>``."""
        with path.open("w") as file:
            names = [f"p{i}" for i in range(len(self.ports))]
            file.write(f"module {top}({', '.join(names)});\n")
            for name, (_, is_input, _) in zip(names, self.ports, strict=True):
                file.write(f"{'input' if is_input else 'output'} {name};\n")
            at = self.net_names()
            taken = {at[net] for _, _, net in self.ports if net >= 0}
            file.writelines(f"wire {name};\n" for name in at if name not in taken)
            for name, (_, is_input, net) in zip(names, self.ports, strict=True):
                if not is_input and net < 0:
                    file.write(f"assign {name} = {CONSTANTS[net]};\n")
            for cell, kind in enumerate(self.kinds):
                file.write(f"{kind} c{cell} ({self._connections(cell, at)});\n")
            file.write("endmodule\n")

    def net_names(self) -> list[str]:
        """Return each net's name in the Verilog: that of its port where it has one."""
        names = [f"n{net}" for net in range(self.nets)]
        for number, (_, _, net) in enumerate(self.ports):
            if net >= 0:
                names[net] = f"p{number}"
        return names

    def _connections(self, cell: int, at: list[str]) -> str:
        buses: dict[str, dict[int, str]] = {}
        plain = []
        for pin in self.pins(cell):
            net = self.pin_net[pin]
            name, bracket, index = self.pin_name[pin].partition("[")
            of = at[net] if net >= 0 else CONSTANTS[net]
            if bracket:
                buses.setdefault(name, {})[int(index[:-1])] = of
            else:
                plain.append(f".{name}({of})")
        for name, bits in buses.items():
            word = ",".join(bits[i] for i in range(len(bits) - 1, -1, -1))
            plain.append(f".{name}({{{word}}})")
        return ", ".join(plain)


def read_netlist(folder: Path, netlist: str, top: str, buffer: tuple[str, str, str]) -> Netlist:
    """Read a mapped Verilog netlist and dissolve its modules.

    A port that shares its net with another one gets a buffer, so that every net has a name of one
    port at most.

    Parameters
    ----------
    folder : Path
        With ``netlist`` and the libraries that ``cells.json`` was read from.
    netlist : str
    top : str
    buffer : tuple
        A buffer's type, input and output.

    Raises
    ------
    SynthError
        If a cell is neither a module of the netlist nor in the libraries.
    """
    files = sorted(folder.glob("*.lib"))
    libraries = "".join(f"read_liberty -lib -ignore_miss_func {path.name}\n" for path in files)
    yosys(
        f"{libraries}read_verilog {netlist}\nhierarchy -top {top}\nwrite_json hierarchy.json\n",
        folder,
        "hierarchy",
    )
    modules = json.loads((folder / "hierarchy.json").read_text())["modules"]
    flat = Flattener(modules).flatten(top)
    seen: Counter[int] = Counter(net for _, is_input, net in flat.ports if is_input and net >= 0)
    for number, (name, is_input, net) in enumerate(flat.ports):
        if is_input or net < 0:
            continue
        seen[net] += 1
        if seen[net] > 1:
            fresh = flat.add_net()
            kind, source, target = buffer
            flat.add_cell(kind, f"port/{name}", [(source, False, net), (target, True, fresh)])
            flat.ports[number] = (name, False, fresh)
    return flat


class Flattener:
    """Dissolves modules, in Yosys's JSON; those without logic of their own are library cells."""

    def __init__(self, modules: dict[str, Any]) -> None:
        self._modules = modules
        self._flat = Netlist()
        self._same: list[int] = []  # union-find over nets

    def flatten(self, top: str) -> Netlist:
        """Return the flat netlist of a module."""
        flat = self._flat
        nets: dict[int | str, int] = {"0": -1, "x": -1, "z": -1, "1": -2}
        self._visit(top, "", nets)
        ports = self._modules[top]["ports"].items()
        for name, port in ports:
            if port["direction"] == "inout":
                raise SynthError(f"{top} has the port {name} of both directions")
            wide = len(port["bits"]) > 1
            for index, bit in enumerate(port["bits"]):
                bit_name = f"{name}[{index}]" if wide else name
                net = self._net(bit, nets)
                flat.ports.append((bit_name, port["direction"] == "input", net))
        # Numbers without gaps, in the order of use.
        number: dict[int, int] = {-1: -1, -2: -2}

        def of(net: int) -> int:
            root = self._root(net)
            return number.setdefault(root, len(number) - 2)

        flat.pin_net = [of(net) for net in flat.pin_net]
        flat.ports = [(name, is_input, of(net)) for name, is_input, net in flat.ports]
        flat.nets = len(number) - 2
        return flat

    def _is_cell(self, kind: str) -> bool:
        attributes = self._modules[kind].get("attributes", {}) if kind in self._modules else None
        if attributes is None:
            raise SynthError(f"the netlist has a {kind}, which is in no library")
        return any(int(str(attributes.get(flag, "0")), 2) for flag in ("blackbox", "whitebox"))

    def _visit(self, kind: str, path: str, nets: dict[int | str, int]) -> None:
        for name, cell in self._modules[kind]["cells"].items():
            of = cell["type"]
            connections = cell["connections"]
            if self._is_cell(of):
                ports = self._modules[of]["ports"]
                self._flat.add_cell(of, path + name, list(self._bits(ports, connections, nets)))
                continue
            inside: dict[int | str, int] = {"0": -1, "x": -1, "z": -1, "1": -2}
            for pin, port in self._modules[of]["ports"].items():
                for inner, outer in zip(port["bits"], connections.get(pin, ()), strict=False):
                    net = self._net(outer, nets)
                    if inner in inside:  # one net at two ports, or a constant output
                        self._join(inside[inner], net)
                    else:
                        inside[inner] = net
            self._visit(of, f"{path}{name}/", inside)

    def _bits(
        self, ports: dict[str, Any], connections: dict[str, Any], nets: dict[int | str, int]
    ) -> Iterator[tuple[str, bool, int]]:
        for pin, port in ports.items():
            bits = connections.get(pin, [])
            bus = len(port["bits"]) > 1
            for index in range(len(port["bits"])):
                drives = port["direction"] == "output"
                if index < len(bits):
                    net = self._net(bits[index], nets)
                elif drives:
                    net = self._fresh()
                else:
                    net = -1
                yield f"{pin}[{index}]" if bus else pin, drives, net

    def _net(self, bit: int | str, nets: dict[int | str, int]) -> int:
        if bit not in nets:
            nets[bit] = self._fresh()
        return nets[bit]

    def _fresh(self) -> int:
        self._same.append(len(self._same))
        return len(self._same) - 1

    def _root(self, net: int) -> int:
        while net >= 0 and self._same[net] != net:
            parent = self._same[net]
            self._same[net] = self._same[parent] if parent >= 0 else parent
            net = parent
        return net

    def _join(self, one: int, other: int) -> None:
        """Make one net of two; a constant swallows the other."""
        a, b = self._root(one), self._root(other)
        if a != b:
            if a < b:
                a, b = b, a
            if a < 0:
                raise SynthError("the netlist ties a constant to another one")
            self._same[a] = b
