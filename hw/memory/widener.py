"""Gives keys that were tried in 4 bits a second time, with low planes where a row was flat."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.memory.joiner import joined_layout
from dtqatten.hw.payloads.arrays import Precision
from dtqatten.hw.payloads.softmax import verdict_stream

__all__ = ["Widener"]


class Widener(wiring.Component):
    """Pass the beats of heads on; of a trial, the second time with their low planes if so judged.

    High planes come twice, the second time from where they were recorded, so that memory is read
    for low planes alone.

    Latency 0, throughput one beat a cycle, once the head's verdict is here.

    Parameters
    ----------
    config : Config
    nibbles : int
        Nibbles of a beat; they divide ``d_head``.

    Members
    -------
    trial : In(1)
        Heads come twice, in 4 bits; constant during a head.
    verdicts : In(verdict_stream(config))
        Of heads of a trial; one is taken with the last beat of its head.
    i, o
        Beats, streams of :func:`~dtqatten.hw.memory.joiner.joined_layout`.
    low : In(stream.Signature(ArrayLayout(unsigned(4), nibbles)))
        Low planes of the heads with a flat row, token by token.
    idle : Out(1)
        No head is to come again.
    """

    def __init__(self, config: Config, nibbles: int) -> None:
        self.config, self.nibbles = config, nibbles
        beats = stream.Signature(joined_layout(nibbles))
        super().__init__(
            {
                "trial": In(1),
                "verdicts": In(verdict_stream(config)),
                "i": In(beats),
                "low": In(stream.Signature(data.ArrayLayout(unsigned(4), nibbles))),
                "o": Out(beats),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words = self.config.d_head // self.nibbles
        again, low, last_token = Signal(), Signal(), Signal()
        word = Signal(range(words))
        open_, widens, beat, ends = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            open_.eq(~again | self.verdicts.valid),
            widens.eq(again & self.verdicts.p.flat),
            self.o.valid.eq(open_ & Mux(low, self.low.valid, self.i.valid)),
            self.o.p.nibbles.eq(Mux(low, self.low.p.as_value(), self.i.p.nibbles.as_value())),
            self.o.p.precision.eq(Mux(widens, Precision.BIT8, self.i.p.precision)),
            self.o.p.last.eq(Mux(widens, low & (word == words - 1) & last_token, self.i.p.last)),
            self.i.ready.eq(open_ & ~low & self.o.ready),
            self.low.ready.eq(open_ & low & self.o.ready),
            beat.eq(self.o.valid & self.o.ready),
            ends.eq(beat & self.o.p.last),
            self.verdicts.ready.eq(again & ends),
            self.idle.eq(~again),
        ]
        with m.If(beat & widens):
            m.d.sync += word.eq(Mux(word == words - 1, 0, word + 1))
            with m.If(word == words - 1):
                m.d.sync += low.eq(~low)
            with m.If(~low):
                m.d.sync += last_token.eq(self.i.p.last)
        with m.If(ends):
            m.d.sync += again.eq(self.trial & ~again)
        return m
