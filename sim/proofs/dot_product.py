"""Proof that the exported tree of adders is the dot product: algebra on the bits of its netlist.

Every gate is a polynomial of its inputs, which are 0 or 1: ``a & b = ab``, ``a ^ b = a+b-2ab``.
From the outputs' weighted sum on, each gate's polynomial takes the place of its output, until only
operands are left. What an adder's sum and carry have in common cancels, so that the polynomial
stays short whatever the depth; a SAT solver takes no such tree of more than a few lanes.
"""

import itertools
import json
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dtqatten.configuration.core import PRESETS, Config
from dtqatten.hw.arrays.dot_product import DotProduct
from dtqatten.hw.base.export import PREFIX, verilog
from dtqatten.sim.proofs.yosys import run_yosys

__all__ = ["DOT_PRODUCTS", "Netlist", "adds_up", "gates", "is_dot_product"]

NAME = "dot_product"

SCRIPT = """
read_verilog design.v
hierarchy -top {top}
proc
flatten
simplemap
opt_clean
write_json gates.json
"""

#: A bit of the netlist, by its number in it, and how many cycles ago.
Bit = tuple[int, int]
#: Factors by product of bits; a bit is its own square.
Polynomial = dict[frozenset[Bit], int]

#: Products of bits beyond which a proof is given up: a tree of 128 lanes that is right takes 2500.
LONGEST = 10_000

#: Depths of the presets' value arrays, whose weights can be unsigned.
_VALUE_DEPTHS = {config.group for config in PRESETS.values()}
#: What ``make formal`` proves: every depth up to 16, and those of the presets, in one cycle or two.
DOT_PRODUCTS = [
    Config(
        rows=1,
        cols=1,
        depth=depth,
        d_head=8 * depth,
        product_stages=stages,
        unsigned_weights=unsigned,
    )
    for unsigned, depths in (
        (False, {*range(1, 17), *_VALUE_DEPTHS, *(config.depth for config in PRESETS.values())}),
        (True, {1, 2, *_VALUE_DEPTHS}),
    )
    for depth in sorted(depths)
    for stages in (1, 2)
]


@dataclass(frozen=True)
class Gate:
    """A gate or flip-flop: its kind, as Yosys calls it, and its inputs, in order."""

    kind: str
    inputs: tuple[int, ...]

    def polynomial(self, age: int) -> Polynomial:
        """Return what the output of ``age`` cycles ago is of the inputs."""
        older = age + (self.kind == "$_DFF_P_")
        one: frozenset[Bit] = frozenset()
        single = [frozenset({(bit, older)}) for bit in self.inputs]
        both = frozenset().union(*single)
        terms: list[tuple[frozenset[Bit], int]]
        match self.kind:
            case "0":
                terms = []
            case "1":
                terms = [(one, 1)]
            case "$_DFF_P_":
                terms = [(single[0], 1)]
            case "$_NOT_":
                terms = [(one, 1), (single[0], -1)]
            case "$_AND_":
                terms = [(both, 1)]
            case "$_OR_":
                terms = [(single[0], 1), (single[1], 1), (both, -1)]
            case "$_XOR_":
                terms = [(single[0], 1), (single[1], 1), (both, -2)]
            case _:
                raise ValueError(f"no polynomial is known of a {self.kind}")
        result: Counter[frozenset[Bit]] = Counter()
        for product, factor in terms:
            result[product] += factor
        return {product: factor for product, factor in result.items() if factor}


@dataclass(frozen=True)
class Netlist:
    """Gates by the bit that they drive, and the bits of every port."""

    gates: Mapping[int, Gate]
    ports: Mapping[str, list[int]]

    def polynomial(self, bit: int, age: int) -> Polynomial:
        """Return what a gate's output of ``age`` cycles ago is of its inputs."""
        return self.gates[bit].polynomial(age)


#: Constants are bits that gates without inputs drive.
CONSTANTS = {"0": -1, "1": -2}


def gates(text: str, top: str) -> Netlist:
    """Return the netlist of a module's Verilog.

    Raises
    ------
    RuntimeError
        If Yosys fails.
    """
    with tempfile.TemporaryDirectory(prefix="dtqatten-") as scratch:
        directory = Path(scratch)
        (directory / "design.v").write_text(text)
        run_yosys(SCRIPT.format(top=top), directory)
        module = json.loads((directory / "gates.json").read_text())["modules"][top]

    def number(bit: int | str) -> int:
        return CONSTANTS[bit] if isinstance(bit, str) else bit

    found = {bit: Gate(value, ()) for value, bit in CONSTANTS.items()}
    for cell in module["cells"].values():
        pins = {pin: number(bits[0]) for pin, bits in cell["connections"].items()}
        output = pins.pop("Q" if "Q" in pins else "Y")
        pins.pop("C", None)
        found[output] = Gate(cell["type"], tuple(pins.values()))
    ports = {name: [number(b) for b in port["bits"]] for name, port in module["ports"].items()}
    return Netlist(found, ports)


class _Expansion:
    """A polynomial of bits of a netlist, whose bits are replaced by what makes them.

    Products that count a negative multiple of ``modulus`` are put aside.
    """

    def __init__(self, netlist: Netlist, polynomial: Polynomial, modulus: int) -> None:
        self.netlist, self.modulus = netlist, modulus
        self.terms: Polynomial = {}
        self._with: dict[int, set[frozenset[Bit]]] = defaultdict(set)
        self._set(polynomial)

    def _set(self, totals: Polynomial) -> None:
        for product, total in totals.items():
            if total:
                self.terms[product] = total
            else:
                self.terms.pop(product, None)
            for bit, _ in product:
                (self._with[bit].add if total else self._with[bit].discard)(product)

    def _without(self, bit: int) -> Polynomial:
        """Return the new factors of all products that change where a bit is replaced."""
        totals: Polynomial = {}
        for product in self._with[bit]:
            totals[product] = 0
        for product in self._with[bit]:
            parts: Polynomial = {frozenset(b for b in product if b[0] != bit): self.terms[product]}
            for _, age in (b for b in product if b[0] == bit):
                by = self.netlist.polynomial(bit, age)
                made: Counter[frozenset[Bit]] = Counter()
                for (rest, factor), (part, times) in itertools.product(parts.items(), by.items()):
                    made[rest | part] += factor * times
                parts = made
            for part, factor in parts.items():
                totals[part] = totals.get(part, self.terms.get(part, 0)) + factor
        return {
            product: 0 if total < 0 and total % self.modulus == 0 else total
            for product, total in totals.items()
        }

    def _growth(self, totals: Polynomial) -> int:
        return sum(bool(total) - (product in self.terms) for product, total in totals.items())

    def expand(self, outputs: Iterable[int]) -> None:
        """Replace all that gates make, each after all that it drives, unless it grows too long.

        Of those whose turn it may be the one that makes the polynomial least longer, a late one
        first: so an adder is closed before the next one is opened.
        """
        gates, users = self.netlist.gates, Counter[int]()
        seen, waiting = set(), list(outputs)
        while waiting:
            bit = waiting.pop()
            if bit not in seen and bit in gates:
                seen.add(bit)
                users.update(gates[bit].inputs)
                waiting += gates[bit].inputs
        ready = [bit for bit in seen if not users[bit]]
        while ready:
            least, best, chosen = None, 0, {}
            for at in reversed(range(len(ready))):
                totals = self._without(ready[at])
                growth = self._growth(totals)
                if least is None or growth < least:
                    least, best, chosen = growth, at, totals
                if growth <= 0:
                    break
            self._set(chosen)
            if len(self.terms) > LONGEST:
                return
            for source in gates[ready.pop(best)].inputs:
                users[source] -= 1
                if not users[source] and source in gates:
                    ready.append(source)


def is_dot_product(config: Config) -> bool:
    """Return whether ``sum + carry - offset`` of the exported tree is proved to be ``sum(q*k)``.

    Nibbles of ``q`` are unsigned where weights are.

    Raises
    ------
    RuntimeError
        If Yosys fails.
    """
    component = DotProduct(config, config.unsigned_weights)
    return adds_up(verilog(component, NAME), config, component.offset)


def adds_up(text: str, config: Config, offset: int) -> bool:
    """Return whether ``sum + carry - offset`` of a module's Verilog is proved to be ``sum(q*k)``.

    For all operands, of ``product_stages - 1`` cycles before, and as numbers without a width: the
    PE adds sum and carry up as they are. Let ``w`` be their width. The proof gives ``sum + carry =
    sum(q*k) + offset - 2**w * T``, with ``T`` a sum of products of bits, so not negative. The left
    side is not negative, and ``sum(q*k) + offset`` is less than ``2**w``: so ``T`` is zero.

    Raises
    ------
    RuntimeError
        If Yosys fails.
    """
    netlist, age = gates(text, PREFIX + NAME), config.product_stages - 1
    width = len(netlist.ports["sum"])
    # The largest dot product is that of all -8, or of all 15 and 7.
    largest = 15 * 7 if config.unsigned_weights else 8 * 8
    if offset + largest * config.depth >= 1 << width:
        return False
    wanted: Polynomial = {frozenset(): offset}
    weights = (1, 2, 4, -8)
    q_weights = (1, 2, 4, 8) if config.unsigned_weights else weights
    for lane, i, j in itertools.product(range(config.depth), range(4), range(4)):
        q, k = netlist.ports["q"][4 * lane + i], netlist.ports["k"][4 * lane + j]
        wanted[frozenset({(q, age), (k, age)})] = q_weights[i] * weights[j]
    shown: Counter[frozenset[Bit]] = Counter()
    for name in ("sum", "carry"):
        for weight, bit in enumerate(netlist.ports[name]):
            shown[frozenset({(bit, 0)})] += 1 << weight
    expansion = _Expansion(netlist, shown, 1 << width)
    expansion.expand(netlist.ports["sum"] + netlist.ports["carry"])
    return expansion.terms == wanted
