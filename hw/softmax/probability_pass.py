"""Third pass of the softmax: normalized probabilities, and weights relative to gained ones."""

from amaranth.hdl import Const, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.base.export import place
from dtqatten.hw.base.pipeline import delayed
from dtqatten.hw.base.replay_store import ReplayStore
from dtqatten.hw.payloads.softmax import (
    GAINED_BITS,
    exponential_row_layout,
    flags_layout,
    normalizer_layout,
    probability_row_layout,
    tiles,
    weight_row_layout,
)
from dtqatten.hw.softmax.exponential_pass import (
    narrowing,
    sevenfold,
    value_stream,
    value_token_layout,
)
from dtqatten.hw.softmax.probability import Probability

__all__ = ["ProbabilityPass"]


class ProbabilityPass(wiring.Component):
    """Probabilities ``q = min((e16 * R + (1 << z >> 1)) >> z, 65535)`` of rows of exponentials.

    With V gains also the weights, ``p = (((e16 * gain) << lead) * top + 2**23) >> 24``,
    then narrowed to the highest nibble for tokens and queries that ask for it.

    Latency 5 cycles. Throughput one row a cycle; never stalls.

    Parameters
    ----------
    config : Config

    Members
    -------
    i_valid, i, normalizer : In
        A row of exponentials and its record.
    values : In(value_stream())
        With V gains: those of each head once, ahead of its rows.
    probabilities_valid, probabilities : Out
        Its probabilities.
    weights_valid, weights : Out
        With V gains: its weights.
    """

    LATENCY = Probability.LATENCY

    def __init__(self, config: Config) -> None:
        self.config = config
        optional = (
            {
                "values": In(value_stream()),
                "weights_valid": Out(1),
                "weights": Out(weight_row_layout(config)),
            }
            if config.v_gains
            else {}
        )
        super().__init__(
            {
                "i_valid": In(1),
                "i": In(exponential_row_layout(config)),
                "normalizer": In(normalizer_layout(config)),
                "probabilities_valid": Out(1),
                "probabilities": Out(probability_row_layout(config)),
                **optional,
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

        lanes = [
            place(m, platform, f"probability_{c}", Probability, config) for c in range(config.cols)
        ]
        # Shared by all lanes, and so ahead of them by a register.
        half = Signal.like(lanes[0].half, reset_less=True)
        exponent = self.normalizer.reciprocal.exponent
        early = delayed(m, exponent[: len(lanes[0].shift)], 2, "early_shift")
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

        if config.v_gains:
            m.submodules.values = values = ReplayStore(
                value_token_layout(), config.cols, 4 * tiles(config)
            )
            row_end = self.i.last_row
            m.d.comb += [
                values.i.valid.eq(self.values.valid),
                values.i.p.eq(self.values.p),
                self.values.ready.eq(values.i.ready),
                values.read.eq(self.i_valid),
                values.step.eq(row_end),
                values.rewind.eq(row_end & self.i.last_tile),
                values.release.eq(row_end & self.i.last_tile & self.i.last_block),
                self.weights_valid.eq(valid),
            ]
            m.d.comb += [self.weights[field].eq(placed[field]) for field in fields]
            lead = delayed(m, self.normalizer.lead, 2, "lead")
            narrow_query = delayed(m, self.normalizer.narrow, 1, "narrow")
            m.d.comb += self.weights.narrow.eq(
                delayed(m, narrow_query, self.LATENCY - 1, "weights_narrow")
            )
            for c in range(config.cols):
                held = delayed(m, e16[c], 1, f"e16_{c}")
                # Three cycles behind the gain, which the store holds no longer than one.
                narrow = delayed(m, values.data[c].narrow | narrow_query, 3, f"narrow_{c}")
                gained = Signal(GAINED_BITS, name=f"gained_{c}", reset_less=True)
                led = Signal(GAINED_BITS, name=f"led_{c}", reset_less=True)
                seven = Signal(sevenfold(led).shape(), name=f"seven_{c}", reset_less=True)
                weight = Signal(4 * config.planes, name=f"weight_{c}", reset_less=True)
                m.d.sync += [
                    gained.eq(held * values.data[c].gain),
                    led.eq(gained << lead),
                    seven.eq(sevenfold(led)),
                    weight.eq(narrowing(seven, narrow, GAINED_BITS, config.planes)),
                ]
                m.d.comb += self.weights.weights[c].eq(weight)
        return m
