"""Compares the scores of a row with a pivot, or with both thresholds, lane by lane."""

from amaranth.hdl import Cat, Module, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.base.export import place
from dtqatten.hw.base.pipeline import delayed
from dtqatten.hw.payloads.topk import TopKConfig, class_row_layout

__all__ = ["LaneComparator", "RowComparator"]


class LaneComparator(wiring.Component):
    """Compare a score with two references.

    Latency: ``first`` follows ``word`` by one accepted cycle, since the word is registered behind
    the memory, all other outputs by two. Throughput one score a cycle; stalls only while
    ``advance`` is low.

    Parameters
    ----------
    config : TopKConfig

    Members
    -------
    advance : In(1)
        ``word`` is accepted.
    word : In(score_width)
        The score.
    here : In(1)
        The lane of ``first`` holds a token.
    references : In(ArrayLayout(score_width, 2))
        What ``first`` is compared with.
    first, second : Out(score_width)
        The score, of one and of two accepted cycles ago.
    above, below : Out(2)
        ``second`` is there, and larger, or smaller, than each reference.
    """

    def __init__(self, config: TopKConfig) -> None:
        self.config = config
        super().__init__(
            {
                "advance": In(1),
                "word": In(config.score_width),
                "here": In(1),
                "references": In(data.ArrayLayout(unsigned(config.score_width), 2)),
                "first": Out(config.score_width),
                "second": Out(config.score_width),
                "above": Out(2),
                "below": Out(2),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        with m.If(self.advance):
            m.d.sync += [self.first.eq(self.word), self.second.eq(self.first)]
            for t in range(2):
                m.d.sync += [
                    self.above[t].eq(self.here & (self.first > self.references[t])),
                    self.below[t].eq(self.here & (self.first < self.references[t])),
                ]
        return m


class RowComparator(wiring.Component):
    """A :class:`LaneComparator` per lane, and the row's description, delayed alike.

    Latency: ``firsts`` follow ``scores`` by one accepted cycle, all other outputs by two.
    Throughput one row a cycle; ``advance`` low holds all.

    Parameters
    ----------
    config : TopKConfig

    Members
    -------
    advance : In(1)
        The row is accepted.
    scores : In(ArrayLayout(score_width, lanes))
        The row's scores.
    fetched, lanes, class_row : In
        The row's description, as of :class:`~dtqatten.hw.ranking.run_memory.RowReader`: it belongs
        to a pass; its lanes that hold a token; its part in a class.
    references : In(ArrayLayout(score_width, 2))
        What ``firsts`` are compared with.
    firsts, words : Out(ArrayLayout(score_width, lanes))
        The scores, of one and of two accepted cycles ago.
    above, below, inside : Out(ArrayLayout(lanes, 2))
        Tokens larger than each reference, smaller, and equal.
    passing : Out(1)
        The row of ``above`` and ``below`` belongs to a pass.
    class_row_next : Out(class_row_layout(config))
        Its part in a class.
    """

    def __init__(self, config: TopKConfig) -> None:
        self.config = config
        scores = data.ArrayLayout(unsigned(config.score_width), config.lanes)
        marks = data.ArrayLayout(config.lanes, 2)
        super().__init__(
            {
                "advance": In(1),
                "scores": In(scores),
                "fetched": In(1),
                "lanes": In(config.lanes),
                "class_row": In(class_row_layout(config)),
                "references": In(data.ArrayLayout(unsigned(config.score_width), 2)),
                "firsts": Out(scores),
                "words": Out(scores),
                "above": Out(marks),
                "below": Out(marks),
                "inside": Out(marks),
                "passing": Out(1),
                "class_row_next": Out(class_row_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        with m.If(self.advance):
            here = delayed(m, self.lanes, 1, "here", reset_less=False)
            present = delayed(m, here, 1, "present", reset_less=False)
            passing = delayed(m, self.fetched, 2, "passing", reset_less=False)
            class_row = delayed(m, self.class_row, 2, "class_row", reset_less=False)
        lanes = []
        for number, score in enumerate(self.scores):
            lane = place(m, platform, f"lane_{number}", LaneComparator, self.config)
            m.d.comb += [
                lane.advance.eq(self.advance),
                lane.word.eq(score),
                lane.here.eq(here[number]),
                lane.references.eq(self.references),
                self.firsts[number].eq(lane.first),
                self.words[number].eq(lane.second),
            ]
            lanes.append(lane)
        for t in range(2):
            m.d.comb += [
                self.above[t].eq(Cat(lane.above[t] for lane in lanes)),
                self.below[t].eq(Cat(lane.below[t] for lane in lanes)),
                self.inside[t].eq(present & ~self.above[t] & ~self.below[t]),
            ]
        m.d.comb += [self.passing.eq(passing), self.class_row_next.eq(class_row)]
        return m
