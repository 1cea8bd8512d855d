"""A pod: PEs of a row that share the registers of their query operand and control."""

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.arrays.pe import PE
from dtqatten.hw.base.export import place
from dtqatten.hw.payloads.arrays import control_layout, operand_layout
from dtqatten.hw.payloads.sums import EXPONENT_BITS

__all__ = ["Pod"]


class Pod(wiring.Component):
    """``pod_cols`` PEs side by side: registers of their operands, which are passed on.

    All multiply the query operand of one set of registers, each by a key operand of its own, and do
    what one control says; so they finish in the same cycle, each in its own column.

    Latency: operands leave, and are multiplied, one cycle after they enter; ``acc`` holds the sum
    ``product_stages + 2`` cycles after the operand entered. Control enters ``product_stages``
    cycles later than its operands: it controls the accumulation, and needs no register for the
    product's stage. Throughput one operand a PE and cycle, never stalls. A finished sum is in
    ``acc`` for one cycle, and leaves through ``drain`` in that cycle: skew makes the PEs of a
    column finish in turn, so that a column needs no shadow registers.

    Parameters
    ----------
    config : Config
        Uses ``pod_cols``, ``depth``, ``schedule`` and ``product_stages``.
    width, unsigned_q, exponents
        As of :class:`~dtqatten.hw.arrays.pe.PE`.

    Members
    -------
    q_i : In(operand_layout(config, signed=not unsigned_q))
        Nibbles of the query token, zero where there is nothing to multiply.
    k_i : In(ArrayLayout(operand_layout(config), pod_cols))
        Those of each PE's key token.
    control_i : In(control_layout(config))
        Control that belongs to the operands of ``product_stages`` cycles before.
    exponent_i : In(EXPONENT_BITS)
        With exponents: that of the query, beside the control.
    q_o, k_o, control_o, exponent_o : Out
        The same, each one cycle later.
    acc : Out(ArrayLayout(signed(width), pod_cols))
        The accumulators.
    drain : Out(ArrayLayout(signed(width), pod_cols))
        ``acc`` in the one cycle it holds finished sums, else zero.
    """

    def __init__(
        self, config: Config, width: int, unsigned_q: bool = False, exponents: bool = False
    ) -> None:
        self.config = config
        self.width = width
        self.unsigned_q = unsigned_q
        self.exponents = exponents
        q = operand_layout(config, signed=not unsigned_q)
        k = data.ArrayLayout(operand_layout(config), config.pod_cols)
        control = control_layout(config)
        sums = data.ArrayLayout(signed(width), config.pod_cols)
        exponent = {"exponent_i": In(EXPONENT_BITS), "exponent_o": Out(EXPONENT_BITS)}
        super().__init__(
            {
                **{"q_i": In(q), "k_i": In(k), "control_i": In(control)},
                **{"q_o": Out(q), "k_o": Out(k), "control_o": Out(control)},
                **{"acc": Out(sums), "drain": Out(sums)},
            }
            | (exponent if exponents else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Operands need no reset: control decides what counts. In reset every step starts a new sum.
        q = Signal.like(self.q_o, reset_less=True)
        k = Signal.like(self.k_o, reset_less=True)
        control = Signal(control_layout(self.config), init={"first": 1})
        done = Signal()
        m.d.sync += [
            q.eq(self.q_i),
            k.eq(self.k_i),
            control.eq(self.control_i),
            done.eq(control.last),
        ]
        m.d.comb += [self.q_o.eq(q), self.k_o.eq(k), self.control_o.eq(control)]
        if self.exponents:
            exponent = Signal.like(self.exponent_o, reset_less=True)
            m.d.sync += exponent.eq(self.exponent_i)
            m.d.comb += self.exponent_o.eq(exponent)
        kind = (self.config, self.width, self.unsigned_q, self.exponents)
        pes = [place(m, platform, f"pe_{c}", PE, *kind) for c in range(self.config.pod_cols)]
        for c, pe in enumerate(pes):
            m.d.comb += [pe.q.eq(q), pe.k.eq(k[c]), pe.control.eq(control), pe.done.eq(done)]
            if self.exponents:
                m.d.comb += pe.exponent.eq(exponent)
        m.d.comb += [
            self.acc.eq(Cat(pe.acc for pe in pes)),
            self.drain.eq(Cat(pe.drain for pe in pes)),
        ]
        return m
