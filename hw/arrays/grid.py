"""The grid of PEs."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Signal, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.arrays.pod import Pod
from dtqatten.hw.base.export import place
from dtqatten.hw.payloads.arrays import control_layout, operand_layout
from dtqatten.hw.payloads.sums import EXPONENT_BITS

__all__ = ["Grid"]


class Grid(wiring.Component):
    """``rows x cols`` output-stationary PEs, in pods of ``pod_cols`` of a row, with one-hop skew.

    Query operands and control move one pod to the right a cycle, key operands one PE down; the
    caller delays row ``r`` by ``r`` cycles and column ``c`` by ``c // pod_cols``; the grid delays
    the control of row ``r`` likewise. Control enters ``product_stages`` cycles after its operands.
    So PE ``(r, c)`` works ``r + c // pod_cols`` cycles behind PE ``(0, 0)``, and a tile of another
    speed follows without a bubble.

    The PEs of a column finish one a cycle, from the top down, as long as two tiles end at least
    ``rows`` cycles apart: an OR over a column's drains is the score that finished in it.

    Latency: an operand pair entering at cycle ``t`` is in the accumulator of PE ``(r, c)`` at
    ``t + r + c // pod_cols + product_stages + 2``; the sum it ends is in ``columns[c]`` a cycle
    later.

    Parameters
    ----------
    config : Config
    width : int
        Bits of the accumulators.
    unsigned_q : bool
        Nibbles of queries are unsigned; those of keys are always signed.
    exponents : bool
        Queries have exponents.
    observed : bool
        Add the port ``acc``.

    Members
    -------
    q : In(ArrayLayout(operand_layout(config, signed=not unsigned_q), rows))
        Operands at the left edge, row ``r`` skewed by ``r`` cycles.
    k : In(ArrayLayout(operand_layout(config), cols))
        Operands at the top edge, column ``c`` skewed by ``c // pod_cols`` cycles.
    control : In(control_layout(config))
        Control of row 0, of the operands of ``product_stages`` cycles before.
    exponents : In(ArrayLayout(EXPONENT_BITS, rows))
        With exponents: those of the queries of ``product_stages`` cycles before.
    columns : Out(ArrayLayout(signed(width), cols))
        Finished scores, column ``c`` skewed by ``c // pod_cols`` cycles.
    acc : Out(ArrayLayout(signed(width), rows * cols))
        If observed: every accumulator, row by row.
    """

    def __init__(
        self,
        config: Config,
        width: int,
        unsigned_q: bool = False,
        exponents: bool = False,
        *,
        observed: bool = False,
    ) -> None:
        self.config = config
        self.width = width
        self.unsigned_q = unsigned_q
        self.has_exponents = exponents
        self.observed = observed
        score = signed(width)
        ports = {
            "q": In(data.ArrayLayout(operand_layout(config, signed=not unsigned_q), config.rows)),
            "k": In(data.ArrayLayout(operand_layout(config), config.cols)),
            "control": In(control_layout(config)),
            "columns": Out(data.ArrayLayout(score, config.cols)),
        }
        if exponents:
            ports["exponents"] = In(data.ArrayLayout(unsigned(EXPONENT_BITS), config.rows))
        if observed:
            ports["acc"] = Out(data.ArrayLayout(score, config.rows * config.cols))
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows, hops = self.config.rows, self.config.hops
        kind = (self.config, self.width, self.unsigned_q, self.has_exponents)
        pods = [
            [place(m, platform, f"pod_{r}_{h}", Pod, *kind) for h in range(hops)]
            for r in range(rows)
        ]
        keys = self.k.as_value()
        of_pod = len(keys) // hops
        control = self.control
        for r in range(rows):
            if r:
                previous = control
                control = Signal(control_layout(self.config), name=f"control_{r}")
                m.d.sync += control.eq(previous)
            for h, pod in enumerate(pods[r]):
                m.d.comb += [
                    pod.q_i.eq(pods[r][h - 1].q_o if h else self.q[r]),
                    pod.control_i.eq(pods[r][h - 1].control_o if h else control),
                    pod.k_i.eq(pods[r - 1][h].k_o if r else keys.word_select(h, of_pod)),
                ]
                if self.has_exponents:
                    left = pods[r][h - 1].exponent_o if h else self.exponents[r]
                    m.d.comb += pod.exponent_i.eq(left)
        # One wide assignment each: many assignments to one signal take Amaranth quadratic time.
        drained = [reduce(or_, (row[h].drain.as_value() for row in pods)) for h in range(hops)]
        m.d.sync += self.columns.eq(Cat(drained))
        if self.observed:
            m.d.comb += self.acc.eq(Cat(pod.acc for row in pods for pod in row))
        return m
