"""One lane of the softmax's first pass: a score with its key's gain, unless that is masked."""

from amaranth.hdl import Module, Mux, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.base.pipeline import delayed, multiplied
from dtqatten.hw.payloads.softmax import GAIN_BITS, GAIN_ONE, token_layout, unseen

__all__ = ["MaskedScore"]


class MaskedScore(wiring.Component):
    """``(score * gain + 128) >> 8`` of a key that is seen, else the lowest score.

    A key is seen if it exists, in a causal head only if its id is not above the query's, and in a
    window only if its id is not below the ``lowest``. Lanes are modules of their own, as those of
    :class:`~dtqatten.hw.softmax.probability.Probability` are.

    Latency 4 cycles, throughput one score a cycle; never stalls.

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
    lowest : In(position_bits)
        With ``windows``: the lowest id that the query of the cycle before sees.
    masked : Out(signed(score_width))
    """

    LATENCY = 4

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "score": In(signed(config.score_width)),
                "exists": In(1),
                "causal": In(1),
                "key": In(token_layout(config)),
                "query": In(config.position_bits),
                "masked": Out(signed(config.score_width)),
            }
            | ({"lowest": In(config.position_bits)} if config.windows else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        product = multiplied(m, self.score, self.key.gain, "product")
        seen = self.exists & (~self.causal | (self.key.id <= self.query))
        gained = (product + GAIN_ONE // 2) >> GAIN_BITS - 1
        shown = delayed(m, seen, self.LATENCY - 1, "seen")
        if self.config.windows:
            inside = delayed(m, self.key.id, 1, "id") >= self.lowest
            shown = shown & delayed(m, inside, self.LATENCY - 2, "inside")
        m.d.sync += self.masked.eq(Mux(shown, gained, unseen(self.config)))
        return m
