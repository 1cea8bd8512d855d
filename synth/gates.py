"""Simulation of a small mapped netlist, gate by gate, many instances at once."""

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["Gates"]

#: What Yosys describes cells of a library with.
PRIMITIVES = {
    "$_NOT_": "~{A}",
    "$_BUF_": "{A}",
    "$_AND_": "{A} & {B}",
    "$_OR_": "{A} | {B}",
    "$_XOR_": "{A} ^ {B}",
    "$_NAND_": "~({A} & {B})",
    "$_NOR_": "~({A} | {B})",
    "$_XNOR_": "~({A} ^ {B})",
    "$_MUX_": "({A} & ~{S}) | ({B} & {S})",
}


class Gates:
    """A flat netlist of library cells, simulated without delays: glitches do not show.

    A net's value is an integer with a bit for each of ``instances``, so that one operation works
    for all of them.

    Parameters
    ----------
    module : dict
        The netlist, in Yosys's JSON: library cells only, flip-flops of one rising clock.
    library : dict
        ``modules`` of the library in Yosys's JSON, each made of :data:`PRIMITIVES`.
    instances : int

    Attributes
    ----------
    toggles : dict of int to int
        Changes of each net so far, of all instances.
    drivers : dict of int to str
        ``cell/pin`` that drives each net.

    Raises
    ------
    ValueError
        If a cell cannot be simulated.
    """

    def __init__(self, module: dict[str, Any], library: dict[str, Any], instances: int) -> None:
        self.all = (1 << instances) - 1
        self.drivers: dict[int, str] = {}
        self._ports = {name: port["bits"] for name, port in module["ports"].items()}
        lines: list[tuple[set[str], str, str]] = []
        self._registers: list[tuple[int, str]] = []
        fresh = 0
        nets: set[int] = set()
        for name, cell in module["cells"].items():
            kind = library[cell["type"]]
            nodes: dict[int, str] = {}
            for pin, port in kind["ports"].items():
                (inner,) = port["bits"]
                (outer,) = cell["connections"].get(pin, [None])
                if outer is None:
                    continue
                if isinstance(outer, str):
                    nodes[inner] = "0" if outer in "0x" else "ones"
                    continue
                if inner in nodes:  # a buffer: its output is its input
                    lines.append(({nodes[inner]}, f"n[{outer}]", nodes[inner]))
                else:
                    nodes[inner] = f"n[{outer}]"
                nets.add(outer)
                if port["direction"] == "output":
                    self.drivers[outer] = f"{name}/{pin}"
            for part in kind["cells"].values():
                connections = part["connections"]
                for (bit,) in connections.values():
                    if bit not in nodes:
                        fresh -= 1  # a node inside the cell
                        nodes[bit] = f"n[{fresh}]"
                if part["type"] == "$_DFF_P_":
                    target = int(nodes[connections["Q"][0]][2:-1])
                    self._registers.append((target, nodes[connections["D"][0]]))
                    continue
                if part["type"] not in PRIMITIVES:
                    raise ValueError(f"{name} is a {cell['type']}: no {part['type']} here")
                at = {pin: nodes[bit] for pin, (bit,) in connections.items()}
                uses = {at[pin] for pin in at if pin != "Y"}
                lines.append((uses, at["Y"], PRIMITIVES[part["type"]].format(**at)))
        held = {f"n[{net}]" for net, _ in self._registers}
        held |= {f"n[{bit}]" for bits in self._ports.values() for bit in bits}
        body = "\n".join(f" {to} = {what}" for to, what in ordered(lines, held))
        names: dict[str, Any] = {}
        exec(f"def settle(n, ones):\n{body}\n return None", names)
        self._settle = names["settle"]
        self.values = dict.fromkeys((*nets, *(net for net, _ in self._registers)), 0)
        for bits in self._ports.values():
            self.values |= {bit: 0 for bit in bits if isinstance(bit, int)}
        self.toggles = {net: 0 for net in self.values if net > 0}

    def clock(self, inputs: Mapping[str, list[int]]) -> None:
        """Pass a clock edge, then apply inputs: of each port an integer a bit."""
        following = {
            net: self.values[int(source[2:-1])] if source.startswith("n[") else 0
            for net, source in self._registers
        }
        before = {net: self.values[net] for net in self.toggles}
        self.values |= following
        for name, bits in inputs.items():
            self.values |= dict(zip(self._ports[name], bits, strict=True))
        self._settle(self.values, self.all)
        for net, count in self.toggles.items():
            value = self.values[net]
            self.toggles[net] = count + ((value ^ before[net]) & self.all).bit_count()


def ordered(lines: list[tuple[set[str], str, str]], known: set[str]) -> Iterator[tuple[str, str]]:
    """Yield assignments so that each comes after what it uses.

    Raises
    ------
    ValueError
        If they form a loop.
    """
    known = known | {"0", "ones"}
    writes = {to for _, to, _ in lines}
    waiting = lines
    while waiting:
        left = []
        for uses, to, what in waiting:
            if all(use in known or use not in writes for use in uses):
                known.add(to)
                yield to, what
            else:
                left.append((uses, to, what))
        if len(left) == len(waiting):
            raise ValueError(f"the netlist has a loop through {left[0][1]}")
        waiting = left
