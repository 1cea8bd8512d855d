"""One lane of the softmax's first pass: a score with its key's gain, unless that is masked."""

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.base.pipeline import delayed, multiplied
from dtqatten.hw.payloads.octaves import BIAS_BITS, OCTAVE_SHIFT, compared_bits, unseen
from dtqatten.hw.payloads.softmax import (
    GAIN_BITS,
    MULTIPLIER_BITS,
    SHIFT_BITS,
    token_layout,
)

__all__ = ["MaskedScore"]


class MaskedScore(wiring.Component):
    """``(score * gain + 128) >> 8`` of a key that is seen, else the lowest score.

    With ``signed_gains`` that is negated where the gain of either key or query is negative.

    Where keys can have biases, that is brought to 1/256 octaves, ``x = clip(s * multiplier << 3 >>
    shift)``, and has its key's then, ``clip(x + bias)``: 18 bits, without the lowest number. Bit-
    exact with :func:`dtqatten.golden.numerics.score_terms.biased`.

    A key is seen if it exists, in a causal head only if its id is not above the query's, and in a
    window only if its id is not below the ``lowest``. Lanes are modules of their own, as those of
    :class:`~dtqatten.hw.softmax.probability.Probability` are.

    Latency 4 cycles, with biases 11; throughput one score a cycle; never stalls.

    Parameters
    ----------
    config : Config

    Members
    -------
    score : In(signed(score_width))
    exists, causal : In(1)
    key : In(token_layout(config))
    query : In(position_bits)
        Its id.
    negative : In(1)
        With ``signed_gains``: the query's gain is.
    lowest : In(position_bits)
        With ``windows``: the lowest id that the query of the cycle before sees.
    multiplier, shift, bias : In(16), In(6), In(signed(16))
        With ``bias_heads``: factor of the row, its shift, at most 40, and bias of the key, for the
        score of 4, 6 and 9 cycles ago.
    masked : Out(signed(compared_bits(config)))
    """

    #: Cycles after which ``multiplier``, ``shift`` and ``bias`` are due.
    MULTIPLIED, SHIFTED, BIASED = 4, 6, 9

    def __init__(self, config: Config) -> None:
        self.config = config
        biased = {
            "multiplier": In(MULTIPLIER_BITS),
            "shift": In(SHIFT_BITS),
            "bias": In(signed(BIAS_BITS)),
        }
        super().__init__(
            {
                "score": In(signed(config.score_width)),
                "exists": In(1),
                "causal": In(1),
                "key": In(token_layout(config)),
                "query": In(config.position_bits),
                "masked": Out(signed(compared_bits(config))),
            }
            | ({"lowest": In(config.position_bits)} if config.windows else {})
            | (biased if config.bias_heads else {})
            | ({"negative": In(1)} if config.signed_gains else {})
        )

    @classmethod
    def latency(cls, config: Config) -> int:
        """Cycles from a score to ``masked``."""
        return cls.BIASED + 2 if config.bias_heads else 4

    def elaborate(self, platform: object) -> Module:
        m = Module()
        wait = self.latency(self.config)
        product = multiplied(m, self.score, self.key.gain, "product")
        halves: Value = product >> GAIN_BITS - 2
        if self.config.signed_gains:
            # (~h + 1) >> 1 is -((h + 1) >> 1): the half that rounds is also the one that negates.
            opposite = delayed(m, self.key.negative ^ self.negative, 3, "opposite")
            halves = (halves ^ opposite.replicate(len(halves))).as_signed()
        gained: Value = (halves + 1) >> 1
        if self.config.bias_heads:
            gained = self._biased(m, gained)
        seen = self.exists & (~self.causal | (self.key.id <= self.query))
        shown = delayed(m, seen, wait - 1, "seen")
        if self.config.windows:
            inside = delayed(m, self.key.id, 1, "id") >= self.lowest
            shown = shown & delayed(m, inside, wait - 2, "inside")
        m.d.sync += self.masked.eq(Mux(shown, gained, unseen(self.config)))
        return m

    def _biased(self, m: Module, gained: Value) -> Value:
        """Return a gained score in octaves with its key's bias, seven cycles later."""
        most = -unseen(self.config) - 1

        def clipped(value: Value) -> Value:
            return Mux(value > most, most, Mux(value < -most, -most, value))

        score = Signal(signed(self.config.score_width), reset_less=True)
        m.d.sync += score.eq(gained)
        product = multiplied(m, score, self.multiplier, "octaves") << OCTAVE_SHIFT
        # Shifted by whole bytes first, then by the rest.
        shift = delayed(m, self.shift, 1, "shift")
        by_bytes = Signal(product.shape(), reset_less=True)
        octaves = Signal(product.shape(), reset_less=True)
        near = Signal(self.masked.shape(), reset_less=True)
        m.d.sync += [
            by_bytes.eq(product >> (shift[3:] << 3)),
            octaves.eq(by_bytes >> delayed(m, shift[:3], 1, "shift_rest")),
            near.eq(clipped(octaves)),
        ]
        return clipped(near + delayed(m, self.bias, 1, "bias"))
