"""A dot product of nibbles in carry-save form: one tree of full adders for all products."""

import heapq

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.config import Config
from dtqatten.hw.export import ExportPlatform
from dtqatten.hw.layout import operand_layout

__all__ = ["DotProduct"]


class DotProduct(wiring.Component):
    """Multiply ``depth`` pairs of signed nibbles and add the products up, but for one addition.

    ::

        sum + carry - offset = sum_i q[i] * k[i]

    The bits of all products go into one tree of full adders that leaves two numbers (carry-save
    form), so that no carry runs before the accumulator's. Bits of negative weight enter inverted,
    ``-b = (1 - b) - 1`` (Baugh and Wooley, IEEE Trans. Comput. 1973); what that adds to every
    product, 112, is ``offset``. So all is unsigned, and nothing needs sign extension. Every adder
    takes the three bits of its column that are there first (Oklobdzija et al., IEEE Trans. Comput.
    1996, with equal delays for sum and carry).

    Combinational. The tree is the structure of the netlist: in Amaranth's simulator, whose time
    goes by operations, ``sum`` is the whole and ``carry`` zero.

    Parameters
    ----------
    config : Config
        Uses ``depth``.

    Members
    -------
    q, k : In(operand_layout(config))
    sum, carry : Out(width)
        Unsigned; together at most ``176 * depth``.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.offset = 112 * config.depth
        self.width = (self.offset + 64 * config.depth).bit_length()
        super().__init__(
            {
                "q": In(operand_layout(config)),
                "k": In(operand_layout(config)),
                "sum": Out(self.width),
                "carry": Out(self.width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if not isinstance(platform, ExportPlatform):
            products = (self.q[i] * self.k[i] for i in range(self.config.depth))
            m.d.comb += self.sum.eq(sum(products, self.offset))
            return m

        # Bits by weight, each with the adders that it has passed and, for ties, its number.
        columns: list[list[tuple[int, int, Signal]]] = [[] for _ in range(self.width + 1)]
        count = 0

        def add(weight: int, adders: int, bit: Signal) -> None:
            nonlocal count
            heapq.heappush(columns[weight], (adders, count, bit))
            count += 1

        for lane in range(self.config.depth):
            q, k = self.q[lane].as_unsigned(), self.k[lane].as_unsigned()
            for i in range(4):
                for j in range(4):
                    bit = Signal(name=f"product_{lane}_{i}_{j}")
                    both = q[i] & k[j]
                    m.d.comb += bit.eq(~both if (i == 3) != (j == 3) else both)
                    add(i + j, 0, bit)
        # A carry out of the last column would be one of a larger sum than there is.
        for weight in range(self.width):
            while len(columns[weight]) > 2:
                (_, _, a), (_, _, b), (adders, number, c) = (
                    heapq.heappop(columns[weight]) for _ in range(3)
                )
                half, s, carry = (
                    Signal(name=f"{name}_{weight}_{number}") for name in ("half", "sum", "carry")
                )
                m.d.comb += [
                    half.eq(a ^ b),
                    s.eq(half ^ c),
                    carry.eq((a & b) | (half & c)),
                ]
                add(weight, adders + 1, s)
                add(weight + 1, adders + 1, carry)
        left = [[bit for _, _, bit in column] + [0, 0] for column in columns[: self.width]]
        m.d.comb += [
            self.sum.eq(Cat(bits[0] for bits in left)),
            self.carry.eq(Cat(bits[1] for bits in left)),
        ]
        return m
