"""One lane of the exponentials: a score and its row's maximum to ``e16``."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, signed, unsigned
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.base.pipeline import delayed, multiplied
from dtqatten.hw.payloads.octaves import OCTAVE_SHIFT, compared_bits, unseen
from dtqatten.hw.payloads.softmax import MULTIPLIER_BITS, SHIFT_BITS
from dtqatten.hw.payloads.sums import EXPONENTIAL_BITS

__all__ = ["LUT32", "Exponential"]

#: One octave of ``2**-x``, at the middle of each of 32 steps but for the first, which is exact.
LUT32 = [65535, *(round(65535 * 2 ** (-(i + 0.5) / 32)) for i in range(1, 32))]


class Exponential(wiring.Component):
    """Base-2 exponential of a score's distance from its row's maximum.

    ``t = ((maximum - score) * multiplier) >> shift``, ``e16 = LUT32[t % 32] >> (t / 32)``, 0 from
    ``t = 512`` on, and 0 for the score that stands for a masked key. Bit-exact with
    :func:`dtqatten.golden.numerics.softmax.exponential`.

    Where keys can have biases, scores are in 1/256 octaves already, so that the multiplier is 1 and
    the shift 3; neither is a port.

    Latency 8 cycles, throughput one score a cycle; never stalls.

    Parameters
    ----------
    config : Config

    Members
    -------
    score, maximum : In(signed(compared_bits(config)))
        Score, at most ``maximum``.
    multiplier : In(16)
        Factor for the score of this cycle.
    shift : In(6)
        Right shift, at most 40, for the score of three cycles ago, so that lanes share all
        registers that delay it but the last.
    e16 : Out(16)
        The exponential.
    """

    LATENCY = 8

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "score": In(signed(compared_bits(config))),
                "maximum": In(signed(compared_bits(config))),
                "e16": Out(EXPONENTIAL_BITS),
            }
            | (
                {}
                if config.bias_heads
                else {"multiplier": In(MULTIPLIER_BITS), "shift": In(SHIFT_BITS)}
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        difference = Signal(unsigned(compared_bits(self.config)), reset_less=True)
        t = Signal(9, reset_less=True)
        zero = Signal(reset_less=True)
        mantissa = Signal(EXPONENTIAL_BITS, reset_less=True)
        octave = Signal(range(16), reset_less=True)
        masked = Signal(reset_less=True)

        m.d.sync += [
            difference.eq(self.maximum - self.score),
            masked.eq(self.score == unseen(self.config)),
        ]
        give = self._in_octaves if self.config.bias_heads else self._scaled
        give(m, difference, masked, t, zero)
        table = Array(Const(value, EXPONENTIAL_BITS) for value in LUT32)
        m.d.sync += [
            mantissa.eq(Mux(zero, 0, table[t[:5]])),
            octave.eq(t[5:]),
        ]
        m.d.sync += self.e16.eq(mantissa >> octave)
        return m

    def _in_octaves(
        self, m: Module, difference: Signal, masked: Signal, t: Signal, zero: Signal
    ) -> None:
        """Give the exponent of a difference in 1/256 octaves five cycles later.

        Parameters
        ----------
        m, difference, masked, t, zero
            As of :meth:`_scaled`.
        """
        high = OCTAVE_SHIFT + len(t)
        large, near = Signal(reset_less=True), Signal.like(t, name="near")
        m.d.sync += [
            near.eq(difference >> OCTAVE_SHIFT),
            large.eq(difference[high:].any() | masked),
            t.eq(delayed(m, near, 3, "near")),
            zero.eq(delayed(m, large, 3, "large")),
        ]

    def _scaled(
        self, m: Module, difference: Signal, masked: Signal, t: Signal, zero: Signal
    ) -> None:
        """Give the exponent of a difference of scores five cycles later.

        Parameters
        ----------
        m : Module
        difference, masked : Signal
            Of the score; it stands for a masked key.
        t, zero : Signal
            To be driven: the exponent; it is too large, or of a masked key.
        """
        # The last registers of what lanes share are their own: these have a ns to reach few gates.
        multiplier = delayed(m, self.multiplier, 1, "multiplier")
        shift = delayed(m, self.shift, 1, "shift")
        product = multiplied(m, difference, multiplier, "product")

        # Bits of the product that are beyond ``t``.
        beyond = Signal(len(product), reset_less=True)
        # Shifted by whole bytes first, then by the rest.
        by_bytes = Signal(len(t) + 7, reset_less=True)
        large = Signal(reset_less=True)
        m.d.sync += [
            beyond.eq(Cat(i - len(t) >= self.shift for i in range(len(product)))),
            by_bytes.eq(product >> (shift[3:] << 3)),
            large.eq((product & beyond).any() | delayed(m, masked, 3, "masked")),
            t.eq(by_bytes >> delayed(m, shift[:3], 1, "shift_rest")),
            zero.eq(large),
        ]
