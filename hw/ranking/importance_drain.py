"""Reads a run's importance out of the counters."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.payloads.ranking import importance_layout
from dtqatten.hw.payloads.softmax import tiles
from dtqatten.hw.ranking.counter_bank import counters_layout

__all__ = ["ImportanceDrain"]


class ImportanceDrain(wiring.Component):
    """Read the words of a bank, in order, and cut each into beats of importance.

    The memory, and with ``buffered_counters`` a register behind it, hold the words after the one
    on offer.

    Latency: the first beat is offered :meth:`latency` cycles after ``start``: 3, or 4 with
    ``buffered_counters``. Throughput one beat a cycle.

    Parameters
    ----------
    config : Config

    Members
    -------
    start : In(1)
        A bank is complete. Never while ``leaving``.
    last_word : In(range(tiles(config)))
        Its last word, sampled with ``start``.
    tail : In(range(cols + 1))
        Keys of that word, sampled with ``start``; the others are full.
    leaving : Out(1)
        Beats are still to be taken.
    fetch, address, moves : Out
        What to read, as of :class:`~dtqatten.hw.ranking.counter_bank.CounterBank`.
    word : In(counters_layout(config))
        The word read.
    o : Out(stream.Signature(importance_layout(config)))
        The run's importance.
    """

    @staticmethod
    def latency(config: Config) -> int:
        """Cycles from a bank complete to its first beat offered."""
        return 3 + config.timing.buffered_counters

    def __init__(self, config: Config) -> None:
        self.config = config
        words = range(tiles(config))
        super().__init__(
            {
                "start": In(1),
                "last_word": In(words),
                "tail": In(range(config.cols + 1)),
                "leaving": Out(1),
                "fetch": Out(1),
                "address": Out(words),
                "moves": Out(1),
                "word": In(counters_layout(config)),
                "o": Out(stream.Signature(importance_layout(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, lanes = self.config, self.config.importance_lanes
        counters = counters_layout(config)
        # ``fetched``: a word is in the memory's output; ``there``: a word can be taken;
        # ``word_end``: this beat is the last one of the word on offer.
        fetched, there, take, beat, word_end = Signal(), Signal(), Signal(), Signal(), Signal()
        word = Signal(counters, reset_less=True)
        left, final = Signal(range(config.cols + 1)), Signal()
        # ``all_fetched``: the last word has been fetched; ``ends``: it is the one to take.
        last_held, tail_held = Signal.like(self.last_word), Signal.like(self.tail)
        all_fetched, ends = Signal(), Signal()
        m.d.comb += [
            beat.eq(self.o.valid & self.o.ready),
            word_end.eq(left <= lanes),
            take.eq(there & (~self.o.valid | (beat & word_end))),
            self.fetch.eq(self.leaving & (~fetched | self.moves) & ~all_fetched),
            self.o.p.tokens.eq(Mux(word_end, left, lanes)),
            self.o.p.last.eq(final & word_end),
        ]
        if config.timing.buffered_counters:
            m.d.comb += self.moves.eq(fetched & (~there | take))
            m.d.sync += there.eq(self.moves | (there & ~take))
            with m.If(self.moves):
                m.d.sync += ends.eq(all_fetched)
        else:
            m.d.comb += [there.eq(fetched), self.moves.eq(take), ends.eq(all_fetched)]
        for i in range(lanes):
            m.d.comb += self.o.p.scores[i].eq(word[i].sum)
            if config.count_normalize:
                m.d.comb += self.o.p.seen[i].eq(word[i].seen)
        m.d.sync += fetched.eq(self.fetch | (fetched & ~self.moves))
        with m.If(self.fetch):
            m.d.sync += [
                self.address.eq(self.address + 1),
                all_fetched.eq(self.address == last_held),
            ]
        with m.If(beat):
            m.d.sync += [
                word.eq(word.as_value() >> lanes * counters.elem_shape.size),
                left.eq(left - lanes),
                self.o.valid.eq(~word_end),
            ]
            with m.If(self.o.p.last):
                m.d.sync += self.leaving.eq(0)
        with m.If(take):
            m.d.sync += [
                word.eq(self.word),
                left.eq(Mux(ends, tail_held, config.cols)),
                final.eq(ends),
                self.o.valid.eq(1),
            ]
        with m.If(self.start):
            m.d.sync += [
                self.leaving.eq(1),
                self.address.eq(0),
                all_fetched.eq(0),
                last_held.eq(self.last_word),
                tail_held.eq(self.tail),
            ]
        return m
