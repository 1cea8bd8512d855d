"""The processing element: a fusable 4-bit dot product."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config, Schedule
from dtqatten.hw.arrays.dot_product import DotProduct
from dtqatten.hw.payloads.arrays import control_layout, operand_layout
from dtqatten.hw.payloads.sums import EXPONENT_BITS

__all__ = ["PE"]


class PE(wiring.Component):
    """Accumulate ``depth`` 4x4-bit products a cycle.

    4x4 bit takes one pass over the dot product, 4x8 two and 8x8 four: the edges sequence the
    nibble planes, the PE only multiplies nibbles (DTQAtten, DATE 2022: 4-bit MACs united into an
    8-bit one in four cycles). With ``dot = sum_i q[i]*k[i]``, in the plane-major schedule ::

        acc' = (0 if first else 16*acc if shift else acc) + dot

    and in the interleaved one ``acc' = (0 if first else acc) + dot * 16**shift``. Where tiles of
    weights have exponents, ``dot`` counts ``2**(3 - exponent)``.

    Operands, control and exponent come from registers of the :class:`~dtqatten.hw.arrays.pod.Pod`.

    Latency: ``acc`` holds the sum ``product_stages + 1`` cycles after the operands are there, and
    one cycle after their control is. Throughput one operand pair a cycle, never stalls.

    Parameters
    ----------
    config : Config
        Uses ``depth``, ``schedule`` and ``product_stages``.
    width : int
        Bits of the accumulator, enough for every partial sum.
    unsigned_q : bool
        Nibbles of the query are unsigned; those of the key are always signed.
    exponents : bool
        Queries have exponents.

    Members
    -------
    q, k : In(operand_layout(config, signed=not unsigned_q)), In(operand_layout(config))
        Nibbles of the query and key token, zero where there is nothing to multiply.
    control : In(control_layout(config))
        Control that belongs to the operands of ``product_stages`` cycles before.
    exponent : In(EXPONENT_BITS)
        With exponents: that of the query, beside the control.
    done : In(1)
        The accumulator holds a finished sum.
    acc : Out(signed(width))
        The accumulator.
    drain : Out(signed(width))
        ``acc`` while ``done``, else zero.
    """

    def __init__(
        self, config: Config, width: int, unsigned_q: bool = False, exponents: bool = False
    ) -> None:
        self.config = config
        self.width = width
        self.unsigned_q = unsigned_q
        self.exponents = exponents
        super().__init__(
            {
                "q": In(operand_layout(config, signed=not unsigned_q)),
                "k": In(operand_layout(config)),
                "control": In(control_layout(config)),
                "done": In(1),
                "acc": Out(signed(width)),
                "drain": Out(signed(width)),
            }
            | ({"exponent": In(EXPONENT_BITS)} if exponents else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Data registers need no reset: control decides what counts. In reset every step starts a
        # new sum, so that the accumulator is zero once the operands are.
        acc = Signal(signed(self.width), reset_less=True)
        m.submodules.product = product = DotProduct(self.config, self.unsigned_q)
        # Initial values are those of operands that are zero.
        parts = [
            Signal(product.width, name=f"dot_{name}", init=init, reset_less=True)
            for name, init in (("sum", product.offset), ("carry", 0))
        ]
        m.d.comb += [product.q.eq(self.q), product.k.eq(self.k)]
        m.d.sync += [parts[0].eq(product.sum), parts[1].eq(product.carry)]
        # A single expression without intermediate widths, so that synthesis makes it one adder.
        dot = parts[0] + parts[1] - product.offset
        if self.exponents:
            # The largest exponent less this one is its complement.
            dot = dot << ~self.exponent
        control = self.control
        if self.config.schedule is Schedule.INTERLEAVED:
            m.d.sync += acc.eq(Mux(control.first, 0, acc) + (dot << (control.shift << 2)))
        else:
            kept = Mux(control.shift, acc << 4, acc)
            m.d.sync += acc.eq(Mux(control.first, 0, kept) + dot)
        m.d.comb += [self.acc.eq(acc), self.drain.eq(Mux(self.done, acc, 0))]
        return m
