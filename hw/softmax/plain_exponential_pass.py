"""Second pass of the softmax where values have no gains: weights for P x V leave here."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import Out

from dtqatten.configuration.core import Config
from dtqatten.configuration.limits import EXPONENT_MAX
from dtqatten.hw.base.pipeline import delayed
from dtqatten.hw.payloads.choices import choice_fields
from dtqatten.hw.payloads.softmax import weight_row_layout
from dtqatten.hw.payloads.sums import divisor_bits, weight_fraction
from dtqatten.hw.softmax.exponential_pass import ExponentialPass
from dtqatten.hw.softmax.exponential_row import FLAGS, ExponentialRow
from dtqatten.hw.softmax.narrowing import narrowing, tile_exponent, times_digit

__all__ = ["PlainExponentialPass"]


class PlainExponentialPass(ExponentialPass):
    """Exponentials and weights without V gains.

    The row maximum has weight ``top`` whatever else is in the row, so weights leave here,
    ``p = (e16 * top + 2**15) >> 16``, then narrowed to the highest nibble for tokens and queries
    that ask for it. The divisor is ``16 * sum(p)``. Where tiles have exponents, a row's tile is
    scaled up by its own before that, and counts so much less in the divisor.

    Latency and ports as of :class:`~dtqatten.hw.softmax.exponential_pass.ExponentialPass`, and
    ``weights`` 10 cycles.

    Parameters
    ----------
    config : Config
        Without ``v_gains``.

    Members
    -------
    weights_valid, weights : Out
        The row's weights.
    """

    V_GAINS = False
    ITEM = "narrow"
    WEIGHTS = ExponentialPass.EXPONENTIALS + 2

    def __init__(self, config: Config) -> None:
        super().__init__(
            config, {"weights_valid": Out(1), "weights": Out(weight_row_layout(config))}
        )

    def _weigh(self, m: Module, row: ExponentialRow) -> tuple[Value, data.View]:
        config = self.config
        exponent = tile_exponent(m, row.e16) if config.block_exponents else None
        narrow_query = delayed(m, self.record.narrow, self.EXPONENTIALS, "narrow")
        weights: list[Value] = []
        for c, e16 in enumerate(row.e16):
            product = times_digit(config, e16)
            multiple = Signal.like(product, name=f"multiple_{c}", reset_less=True)
            weight = Signal(4 * config.planes, name=f"weight_{c}", reset_less=True)
            narrow = delayed(m, row.values[c].narrow | narrow_query, 1, f"narrow_{c}")
            m.d.sync += [
                multiple.eq(product),
                weight.eq(narrowing(config, multiple, narrow, 16, exponent)),
            ]
            m.d.comb += self.weights.weights[c].eq(weight)
            weights.append(weight)
        after = delayed(m, row.place, 2, "after", reset_less=False)
        m.d.comb += [
            self.weights_valid.eq(after.valid),
            *(
                self.weights[field].eq(delayed(m, value, 2, f"weight_{field}"))
                for field, value in row.lanes.items()
            ),
            self.weights.narrow.eq(delayed(m, narrow_query, 2, "weight_narrow")),
        ]
        m.d.comb += [self.weights[flag].eq(after[flag]) for flag in FLAGS]
        for field in choice_fields(config):
            late = delayed(m, self.record[field], self.WEIGHTS, f"weight_{field}")
            m.d.comb += self.weights[field].eq(late)
        # Of the divisor's four fraction bits the sum itself has those that exponents ask for.
        more = 4 - weight_fraction(config)
        bits, less = divisor_bits(config) - more, None
        if exponent is not None:
            late = delayed(m, exponent, 1, "weight_exponent")
            # The largest exponent less this one is its complement.
            less = ~late
            m.d.comb += [
                self.weights.exponent.eq(late),
                self.row_record.lead.eq(EXPONENT_MAX),
            ]
        total = self._folded(m, "weight_sum", after, weights, bits=bits, kind="sum", up=less)
        return total.total << more, total.o
