"""One lane of the probabilities: an exponential times the reciprocal of its row's sum."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.base.pipeline import multiplied
from dtqatten.hw.payloads.softmax import RECIPROCAL_BITS
from dtqatten.hw.payloads.sums import EXPONENTIAL_BITS, total_bits

__all__ = ["Probability"]


class Probability(wiring.Component):
    """Probability ``q = min((e16 * R + (1 << z >> 1)) >> z, 65535)``, ``z = 16 + y``.

    A row's sum is at least its largest exponential, 65535, so that ``z`` is never below 16; where
    all exponentials are 0, so is the probability whatever ``y``. With a sink the sum may be so
    large that every probability rounds to 0, as it does from ``y = 18`` on, which stands for more.

    Lanes are modules of their own so that none shares gates with its neighbours: what they had in
    common would have to reach all of them within a cycle.

    Latency 5 cycles, throughput one exponential a cycle; never stalls.

    Parameters
    ----------
    config : Config

    Members
    -------
    e16 : In(16)
        The exponential.
    mantissa : In(17)
        ``R``.
    half : In
        ``1 << y``, for the exponential of three cycles ago.
    shift : In(4)
        ``y``, for the exponential of four cycles ago.
    probability : Out(16)
    """

    LATENCY = 5
    #: Least right shift of a probability.
    LEAST = 16
    #: Largest ``y``, from which on ``e16 * R``, below ``2**33``, is less than half of ``2**z``.
    MOST = 18

    @classmethod
    def largest(cls, config: Config) -> int:
        """Largest ``y`` of a configuration."""
        return min(total_bits(config) - cls.LEAST, cls.MOST)

    def __init__(self, config: Config) -> None:
        largest = self.largest(config)
        super().__init__(
            {
                "e16": In(EXPONENTIAL_BITS),
                "mantissa": In(RECIPROCAL_BITS),
                "half": In(largest + 1),
                "shift": In(range(largest + 1)),
                "probability": Out(EXPONENTIAL_BITS),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # e16 is at most the sum whose reciprocal this is: 2**32, and half a unit.
        bits = EXPONENTIAL_BITS + RECIPROCAL_BITS - self.LEAST + 1
        largest = (1 << EXPONENTIAL_BITS) - 1
        product = multiplied(m, self.e16, self.mantissa, "product")
        rounded = Signal(max(bits, len(self.half)) + 1, reset_less=True)
        quotient = Signal(bits)
        m.d.comb += quotient.eq(rounded[1:] >> self.shift)
        m.d.sync += [
            rounded.eq(product[self.LEAST - 1 :] + self.half),
            self.probability.eq(Mux(quotient[EXPONENTIAL_BITS:].any(), largest, quotient)),
        ]
        return m
