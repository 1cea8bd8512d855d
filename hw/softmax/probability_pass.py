"""Third pass of the softmax: normalized probabilities."""

from collections.abc import Mapping

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Member, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.base.export import place
from dtqatten.hw.base.pipeline import delayed
from dtqatten.hw.payloads.softmax import (
    exponential_row_layout,
    flags_layout,
    normalizer_layout,
    probability_row_layout,
)
from dtqatten.hw.softmax.probability import Probability

__all__ = ["ProbabilityPass"]


class ProbabilityPass(wiring.Component):
    """Probabilities ``q = min((e16 * R + (1 << z >> 1)) >> z, 65535)`` of rows of exponentials.

    With V gains a :class:`~dtqatten.hw.softmax.gained_probability_pass.GainedProbabilityPass` gives
    weights, too.

    Latency 5 cycles. Throughput one row a cycle; never stalls.

    Parameters
    ----------
    config : Config
    more : mapping, optional
        More ports.

    Members
    -------
    i_valid, i, normalizer : In
        A row of exponentials and its record.
    probabilities_valid, probabilities : Out
        Its probabilities.
    """

    LATENCY = Probability.LATENCY

    def __init__(self, config: Config, more: Mapping[str, Member] | None = None) -> None:
        self.config = config
        super().__init__(
            {
                "i_valid": In(1),
                "i": In(exponential_row_layout(config)),
                "normalizer": In(normalizer_layout(config)),
                "probabilities_valid": Out(1),
                "probabilities": Out(probability_row_layout(config)),
                **(more or {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        fields = [field for field, _ in flags_layout(config)]
        valid = delayed(m, self.i_valid, self.LATENCY, "valid", reset_less=False)
        m.d.comb += self.probabilities_valid.eq(valid)
        flags = Signal(flags_layout(config))
        m.d.comb += [flags[field].eq(self.i[field]) for field in fields]
        placed = delayed(m, flags, self.LATENCY, "placed")
        m.d.comb += [self.probabilities[field].eq(placed[field]) for field in fields]
        if config.merge_rows:
            partial = delayed(m, self.normalizer.partial, self.LATENCY, "partial")
            m.d.comb += self.probabilities.partial.eq(partial)

        lanes = [
            place(m, platform, f"probability_{c}", Probability, config) for c in range(config.cols)
        ]
        # Shared by all lanes, and so ahead of them by a register.
        half = Signal.like(lanes[0].half, reset_less=True)
        exponent = self.normalizer.reciprocal.exponent
        above = exponent[: len(lanes[0].shift)]
        if config.sinks:
            # The exponent has more bits than those of a right shift beyond 16.
            most = Probability.largest(config)
            above = Mux(exponent >= most + Probability.LEAST, most, exponent - Probability.LEAST)
            above = above[: len(lanes[0].shift)]
        early = delayed(m, above, 2, "early_shift")
        m.d.sync += half.eq(Const(1) << early)
        shift = delayed(m, early, 2, "shift")
        e16 = [self.i.exponentials[c] for c in range(config.cols)]
        for c, lane in enumerate(lanes):
            if config.count_normalize:
                seen = delayed(m, self.i.seen[c], self.LATENCY, f"seen_{c}")
                m.d.comb += self.probabilities.seen[c].eq(seen)
            m.d.comb += [
                lane.e16.eq(e16[c]),
                lane.mantissa.eq(self.normalizer.reciprocal.mantissa),
                lane.half.eq(half),
                lane.shift.eq(shift),
                self.probabilities.probabilities[c].eq(lane.probability),
            ]

        return m
