"""Importances one by one, so that each can go to a place of its own."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.payloads.ranking import beat_layout

__all__ = ["BeatSplitter"]


class BeatSplitter(wiring.Component):
    """Cut beats of importances into beats of one.

    Latency 0, throughput one importance a cycle; a beat is taken with its last one.

    Parameters
    ----------
    lanes : int
        Importances of a beat at ``i``.

    Members
    -------
    i : In(stream.Signature(beat_layout(lanes)))
        Beats.
    o : Out(stream.Signature(beat_layout(1)))
        Their importances; ``last`` of the run's last one.
    """

    def __init__(self, lanes: int) -> None:
        self.lanes = lanes
        super().__init__(
            {
                "i": In(stream.Signature(beat_layout(lanes))),
                "o": Out(stream.Signature(beat_layout(1))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lane, end = Signal(range(self.lanes)), Signal()
        scores = self.i.p.scores
        m.d.comb += [
            end.eq(lane + 1 == self.i.p.tokens),
            self.o.valid.eq(self.i.valid),
            self.o.p.scores[0].eq(scores.as_value().word_select(lane, len(scores[0]))),
            self.o.p.tokens.eq(1),
            self.o.p.last.eq(self.i.p.last & end),
            self.i.ready.eq(self.o.ready & end),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += lane.eq(Mux(end, 0, lane + 1))
        return m
