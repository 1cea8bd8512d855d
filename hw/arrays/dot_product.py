"""A dot product of nibbles in carry-save form: one tree of full adders for all products."""

import heapq
import math

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.base.export import ExportPlatform
from dtqatten.hw.payloads.arrays import operand_layout

__all__ = ["DotProduct"]


def levels(height: int) -> int:
    """Return the depth, in adders, of a tree that reduces ``height`` bits of one weight to two."""
    count, reducible = 0, 2
    while reducible < height:
        count, reducible = count + 1, reducible * 3 // 2
    return count


class DotProduct(wiring.Component):
    """Multiply ``depth`` pairs of nibbles and sum the products, in carry-save form.

    ::

        sum + carry - offset = sum_i q[i] * k[i]

    The bits of all products go into one tree of full adders that leaves two numbers, so that the
    only carry chain is the accumulator's. Bits of negative weight enter inverted,
    ``-b = (1 - b) - 1`` (Baugh and Wooley, IEEE Trans. Comput. 1973), which adds 112 to every
    product, 120 where ``q`` is unsigned: ``offset`` is the sum of these. So all bits are unsigned,
    and none is sign-extended. Every adder takes the three bits of its column that arrive first
    (Oklobdzija et al., IEEE Trans. Comput. 1996, with equal delays for sum and carry).

    Latency ``product_stages - 1`` cycles: one stage is combinational, two have a register halfway
    through the tree, whose initial value is that of zero operands. Throughput one dot product a
    cycle.

    Only exported netlists contain the tree. In Amaranth's simulator, which is slow on many small
    operations, ``sum`` is the whole result and ``carry`` zero.
    :mod:`dtqatten.sim.proofs.dot_product` proves the exported tree.

    Parameters
    ----------
    config : Config
        Uses ``depth`` and ``product_stages``.
    unsigned_q : bool
        Nibbles of ``q`` are unsigned; those of ``k`` are always signed.

    Members
    -------
    q, k : In(operand_layout(config, signed=not unsigned_q)), In(operand_layout(config))
    sum, carry : Out(width)
        Unsigned; together at most ``176 * depth``, or ``225 * depth`` where ``q`` is unsigned.
    """

    def __init__(self, config: Config, unsigned_q: bool = False) -> None:
        self.config = config
        self.unsigned_q = unsigned_q
        self.offset = (120 if unsigned_q else 112) * config.depth
        self.width = (self.offset + (105 if unsigned_q else 64) * config.depth).bit_length()
        super().__init__(
            {
                "q": In(operand_layout(config, signed=not unsigned_q)),
                "k": In(operand_layout(config)),
                "sum": Out(self.width),
                "carry": Out(self.width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if not isinstance(platform, ExportPlatform):
            products = (self.q[i] * self.k[i] for i in range(self.config.depth))
            whole: Value = sum(products, self.offset)
            if self.config.product_stages == 2:
                register = Signal(self.width, name="half_way", init=self.offset, reset_less=True)
                m.d.sync += register.eq(whole)
                whole = register
            m.d.comb += self.sum.eq(whole)
            return m

        # Bits by weight: each with its depth in adders, a number that breaks ties, and its value
        # for zero operands.
        columns: list[list[tuple[int, int, Signal, int]]] = [[] for _ in range(self.width + 1)]
        count = 0

        def add(weight: int, adders: int, bit: Signal, init: int) -> None:
            """Put a bit into the column of its weight.

            Parameters
            ----------
            weight : int
                Power of two that the bit counts.
            adders : int
                Adders that it has passed.
            bit : Signal
            init : int
                Its value for zero operands.
            """
            nonlocal count
            heapq.heappush(columns[weight], (adders, count, bit, init))
            count += 1

        def reduce(limit: float) -> None:
            """Add until each weight has two bits, or none to add that passed < ``limit`` adders."""
            # The sum fits ``width`` bits, so nothing is carried out of the last column.
            for weight in range(self.width):
                column = columns[weight]
                while len(column) > 2 and heapq.nsmallest(3, column)[-1][0] < limit:
                    (*_, a, x), (*_, b, y), (adders, number, c, z) = (
                        heapq.heappop(column) for _ in range(3)
                    )
                    half, s, carry = (
                        Signal(name=f"{name}_{weight}_{number}")
                        for name in ("half", "sum", "carry")
                    )
                    m.d.comb += [
                        half.eq(a ^ b),
                        s.eq(half ^ c),
                        carry.eq((a & b) | (half & c)),
                    ]
                    add(weight, adders + 1, s, x ^ y ^ z)
                    add(weight + 1, adders + 1, carry, int(x + y + z > 1))

        for lane in range(self.config.depth):
            q, k = self.q[lane].as_unsigned(), self.k[lane].as_unsigned()
            for i in range(4):
                for j in range(4):
                    bit = Signal(name=f"product_{lane}_{i}_{j}")
                    both = q[i] & k[j]
                    negative = (j == 3) != (i == 3 and not self.unsigned_q)
                    m.d.comb += bit.eq(~both if negative else both)
                    add(i + j, 0, bit, int(negative))
        if self.config.product_stages == 2:
            # The register lies above the tree's middle: the products take time too.
            reduce((levels(4 * self.config.depth) - 1) // 2)
            for weight, column in enumerate(columns[: self.width]):
                columns[weight] = []
                for _, number, bit, init in column:
                    name = f"half_way_{weight}_{number}"
                    register = Signal(name=name, init=init, reset_less=True)
                    m.d.sync += register.eq(bit)
                    add(weight, 0, register, init)
        reduce(math.inf)
        left = [[bit for *_, bit, _ in column] + [0, 0] for column in columns[: self.width]]
        m.d.comb += [
            self.sum.eq(Cat(bits[0] for bits in left)),
            self.carry.eq(Cat(bits[1] for bits in left)),
        ]
        return m
