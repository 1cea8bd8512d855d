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
    """Accumulate ``depth`` 4x4-bit products a cycle; pass operands and control on.

    4x4 bit takes one pass over the dot product, 4x8 two and 8x8 four: the edges sequence the
    nibble planes, the PE only multiplies nibbles (DTQAtten, DATE 2022: 4-bit MACs united into an
    8-bit one in four cycles). With ``dot = sum_i q[i]*k[i]``, in the plane-major schedule ::

        acc' = (0 if first else 16*acc if shift else acc) + dot

    and in the interleaved one ``acc' = (0 if first else acc) + dot * 16**shift``. Where tiles of
    weights have exponents, ``dot`` counts ``2**(3 - exponent)``.

    Latency: operands leave, and are multiplied, one cycle after they enter; ``acc`` holds the sum
    ``product_stages + 2`` cycles after the operand entered. Control enters ``product_stages``
    cycles later than its operands: it controls the accumulation, and needs no register for the
    product's stage. Throughput one operand pair a cycle, never stalls. A finished sum is in ``acc``
    for one cycle, and leaves through ``drain`` in that cycle: skew makes the PEs of a column finish
    in turn, so that a column needs no shadow registers.

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
    q_i, k_i : In(operand_layout(config, signed=not unsigned_q)), In(operand_layout(config))
        Nibbles of the query and key token, zero where there is nothing to multiply.
    control_i : In(control_layout(config))
        Control that belongs to the operands of ``product_stages`` cycles before.
    exponent_i : In(EXPONENT_BITS)
        With exponents: that of the query, beside the control.
    q_o, k_o, control_o, exponent_o : Out
        The same, each one cycle later.
    acc : Out(signed(width))
        The accumulator.
    drain : Out(signed(width))
        ``acc`` in the one cycle it holds a finished sum, else zero.
    """

    def __init__(
        self, config: Config, width: int, unsigned_q: bool = False, exponents: bool = False
    ) -> None:
        self.config = config
        self.width = width
        self.unsigned_q = unsigned_q
        self.exponents = exponents
        exponent = {"exponent_i": In(EXPONENT_BITS), "exponent_o": Out(EXPONENT_BITS)}
        super().__init__(
            {
                "q_i": In(operand_layout(config, signed=not unsigned_q)),
                "k_i": In(operand_layout(config)),
                "control_i": In(control_layout(config)),
                "q_o": Out(operand_layout(config, signed=not unsigned_q)),
                "k_o": Out(operand_layout(config)),
                "control_o": Out(control_layout(config)),
                "acc": Out(signed(width)),
                "drain": Out(signed(width)),
            }
            | (exponent if exponents else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Data registers need no reset: control decides what counts. In reset every step starts a
        # new sum, so that the accumulator is zero once the operands are.
        q = Signal.like(self.q_o, reset_less=True)
        k = Signal.like(self.k_o, reset_less=True)
        control = Signal(control_layout(self.config), init={"first": 1})
        acc = Signal(signed(self.width), reset_less=True)
        done = Signal()
        m.submodules.product = product = DotProduct(self.config, self.unsigned_q)
        # Initial values are those of operands that are zero.
        parts = [
            Signal(product.width, name=f"dot_{name}", init=init, reset_less=True)
            for name, init in (("sum", product.offset), ("carry", 0))
        ]
        m.d.comb += [product.q.eq(q), product.k.eq(k)]
        m.d.sync += [
            q.eq(self.q_i),
            k.eq(self.k_i),
            control.eq(self.control_i),
            parts[0].eq(product.sum),
            parts[1].eq(product.carry),
        ]
        # A single expression without intermediate widths, so that synthesis makes it one adder.
        dot = parts[0] + parts[1] - product.offset
        if self.exponents:
            exponent = Signal.like(self.exponent_o, reset_less=True)
            m.d.sync += exponent.eq(self.exponent_i)
            m.d.comb += self.exponent_o.eq(exponent)
            # The largest exponent less this one is its complement.
            dot = dot << ~exponent
        if self.config.schedule is Schedule.INTERLEAVED:
            m.d.sync += acc.eq(Mux(control.first, 0, acc) + (dot << (control.shift << 2)))
        else:
            kept = Mux(control.shift, acc << 4, acc)
            m.d.sync += acc.eq(Mux(control.first, 0, kept) + dot)
        m.d.sync += done.eq(control.last)
        m.d.comb += [
            self.q_o.eq(q),
            self.k_o.eq(k),
            self.control_o.eq(control),
            self.acc.eq(acc),
            self.drain.eq(Mux(done, acc, 0)),
        ]
        return m
