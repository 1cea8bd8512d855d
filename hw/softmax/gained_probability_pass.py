"""Third pass of the softmax where values have gains: probabilities, and weights for P x V."""

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.base.pipeline import delayed
from dtqatten.hw.payloads.choices import choice_fields
from dtqatten.hw.payloads.softmax import (
    GAINED_BITS,
    flags_layout,
    value_stream,
    value_token_layout,
    weight_row_layout,
)
from dtqatten.hw.softmax.narrowing import narrowing, tile_exponent, times_digit
from dtqatten.hw.softmax.probability_pass import ProbabilityPass
from dtqatten.hw.softmax.tile_store import tile_store, walk

__all__ = ["GainedProbabilityPass"]


class GainedProbabilityPass(ProbabilityPass):
    """Probabilities, and weights relative to a row's largest gained one.

    ``p = (((e16 * gain) << lead) * top + 2**23) >> 24``, then narrowed to the highest nibble for
    tokens and queries that ask for it. Where tiles have exponents, ``e16 * gain`` is shifted left
    by that of the row's tile, too.

    Latency and ports as of :class:`~dtqatten.hw.softmax.probability_pass.ProbabilityPass`; weights
    come beside the probabilities.

    Parameters
    ----------
    config : Config

    Members
    -------
    values : In(value_stream())
        Those of each head once, ahead of its rows.
    weights_valid, weights : Out
        The row's weights.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(
            config,
            {
                "values": In(value_stream()),
                "weights_valid": Out(1),
                "weights": Out(weight_row_layout(config)),
            },
        )

    def elaborate(self, platform: object) -> Module:
        m = super().elaborate(platform)
        config = self.config
        m.submodules.values = values = tile_store(config, value_token_layout(), 4)
        m.d.comb += [
            values.i.valid.eq(self.values.valid),
            values.i.p.eq(self.values.p),
            self.values.ready.eq(values.i.ready),
            values.read.eq(self.i_valid),
            *walk(config, values, self.i),
            self.weights_valid.eq(self.probabilities_valid),
        ]
        m.d.comb += [
            self.weights[field].eq(self.probabilities[field]) for field, _ in flags_layout(config)
        ]
        lead = delayed(m, self.normalizer.lead, 2, "lead")
        narrow_query = delayed(m, self.normalizer.narrow, 1, "narrow")
        m.d.comb += self.weights.narrow.eq(
            delayed(m, narrow_query, self.LATENCY - 1, "weights_narrow")
        )
        for field in choice_fields(config):
            late = delayed(m, self.normalizer[field], self.LATENCY, f"weights_{field}")
            m.d.comb += self.weights[field].eq(late)
        leds = [Signal(GAINED_BITS, name=f"led_{c}", reset_less=True) for c in range(config.cols)]
        exponent = tile_exponent(m, leds) if config.block_exponents else None
        if exponent is not None:
            m.d.comb += self.weights.exponent.eq(delayed(m, exponent, 1, "weights_exponent"))
        for c, led in enumerate(leds):
            held = delayed(m, self.i.exponentials[c], 1, f"e16_{c}")
            # Three cycles behind the gain, which the store holds no longer than one.
            narrow = delayed(m, values.data[c].narrow | narrow_query, 3, f"narrow_{c}")
            gained = Signal(GAINED_BITS, name=f"gained_{c}", reset_less=True)
            product = times_digit(config, led)
            multiple = Signal.like(product, name=f"multiple_{c}", reset_less=True)
            weight = Signal(4 * config.planes, name=f"weight_{c}", reset_less=True)
            m.d.sync += [
                gained.eq(held * values.data[c].gain),
                led.eq(gained << lead),
                multiple.eq(product),
                weight.eq(narrowing(config, multiple, narrow, GAINED_BITS, exponent)),
            ]
            m.d.comb += self.weights.weights[c].eq(weight)
        return m
