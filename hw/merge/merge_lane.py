"""One lane of the merger: a channel's sum so far and that of the next segment."""

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.base.pipeline import delayed, multiplied
from dtqatten.hw.payloads.merge import merge_step_layout
from dtqatten.hw.payloads.sums import merged_lead, whole_sum_width

__all__ = ["MergeLane"]


class MergeLane(wiring.Component):
    """``N = (S*factor + (1 << right)) >> (right + 1)`` plus the other side, aligned.

    ``S`` is the side whose maximum is lower; the other one, ``T``, gives
    ``((T << L) + (1 << align >> 1)) >> align``, with ``L`` the lead of merged sums. With a factor
    of 0 and ``align = L`` the result is ``T``. Bit-exact with
    :func:`dtqatten.golden.numerics.segments.merge`.

    Latency 6 cycles, throughput one sum a cycle; never stalls.

    Parameters
    ----------
    config : Config

    Members
    -------
    old, new : In(signed(whole_sum_width(config)))
        The sum so far, and that of the segment.
    step : In(merge_step_layout(config))
        Of the row; ``fresh`` is not used.
    sum : Out(signed(whole_sum_width(config)))
        The merged sum.
    """

    LATENCY = 6

    def __init__(self, config: Config) -> None:
        self.config = config
        width = signed(whole_sum_width(config))
        super().__init__(
            {
                "old": In(width),
                "new": In(width),
                "step": In(merge_step_layout(config)),
                "sum": Out(width),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = whole_sum_width(self.config)
        scaled, other = Signal(signed(width)), Signal(signed(width))
        m.d.comb += [
            scaled.eq(Mux(self.step.new_scaled, self.new, self.old)),
            other.eq(Mux(self.step.new_scaled, self.old, self.new)),
        ]
        product = multiplied(m, scaled, self.step.factor, "product")
        right = delayed(m, self.step.right, 3, "right")
        aligned = delayed(m, other, 3, "other")
        align = delayed(m, self.step.align, 3, "align")
        # Half a unit is added after the bits below it have gone.
        halves = Signal(signed(width + 1), reset_less=True)
        other_halves = Signal(signed(width + 1), reset_less=True)
        one, two = (Signal(signed(width), name=name, reset_less=True) for name in ("one", "two"))
        m.d.sync += [
            halves.eq(product >> right),
            other_halves.eq((aligned << merged_lead(self.config) + 1) >> align),
            one.eq((halves + 1) >> 1),
            two.eq((other_halves + 1) >> 1),
            self.sum.eq(one + two),
        ]
        return m
