"""Second pass of the softmax where values have gains: how far weights can be shifted up."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data

from dtqatten.configuration.core import Config
from dtqatten.hw.base.pipeline import delayed
from dtqatten.hw.payloads.choices import choice_fields
from dtqatten.hw.payloads.softmax import GAINED_BITS, LEAD_BITS
from dtqatten.hw.payloads.sums import divisor_bits, top_code, weight_fraction
from dtqatten.hw.softmax.exponential_pass import ExponentialPass
from dtqatten.hw.softmax.exponential_row import ExponentialRow

__all__ = ["GainedExponentialPass"]


class GainedExponentialPass(ExponentialPass):
    """Exponentials with V gains: weights are relative to the row's largest ``e16 * gain``.

    That is known only with the row's last tile, so only ``lead`` is found here and weights leave
    the next pass. The divisor is ``(top * sum(e16) + 2**11) >> 12``.

    Latency and ports as of :class:`~dtqatten.hw.softmax.exponential_pass.ExponentialPass`.

    Parameters
    ----------
    config : Config
        With ``v_gains``.
    """

    V_GAINS = True
    ITEM = "gain"

    def __init__(self, config: Config) -> None:
        super().__init__(config, {})

    def _weigh(self, m: Module, row: ExponentialRow) -> tuple[Value, data.View]:
        config, total = self.config, row.total.total
        gained: list[Value] = []
        for c, e16 in enumerate(row.e16):
            weight = Signal(GAINED_BITS, name=f"gained_{c}", reset_less=True)
            m.d.sync += weight.eq(e16 * row.values[c].gain)
            gained.append(weight)
        after = delayed(m, row.place, 1, "after", reset_less=False)
        largest = self._folded(m, "largest", after, gained, bits=GAINED_BITS, kind="max")
        lead = Signal(LEAD_BITS, reset_less=True)
        length = Signal(range(GAINED_BITS + 1))
        for i in range(GAINED_BITS):
            with m.If(largest.total[i]):
                m.d.comb += length.eq(i + 1)
        divisor = Signal(divisor_bits(config), reset_less=True)
        m.d.sync += [
            lead.eq(Mux(length == 0, 0, GAINED_BITS - length)),
            divisor.eq((total * top_code(config) + (1 << 11)) >> 12),
        ]
        # Lead is two cycles behind the sum that is inverted meanwhile.
        lead_late = delayed(m, lead, row.total_wait - 2, "lead")
        record_lead = lead if config.merge_rows else delayed(m, lead_late, 2, "lead_late")
        fraction = weight_fraction(config)
        narrow = delayed(m, self.record.narrow, self.reduced_latency(config), "narrow")
        m.d.comb += [
            self.normalizer.lead.eq(lead_late),
            self.normalizer.narrow.eq(narrow),
            self.row_record.lead.eq(record_lead + fraction if fraction else record_lead),
        ]
        for field in choice_fields(config):
            late = delayed(m, self.record[field], self.reduced_latency(config), field)
            m.d.comb += self.normalizer[field].eq(late)
        found = delayed(m, largest.o, 1, "found", reset_less=False)
        return delayed(m, divisor, 1, "divisor"), found
