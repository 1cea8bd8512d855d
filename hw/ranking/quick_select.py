"""Search for both thresholds by quick-select, after SpAtten's top-k engine."""

from amaranth.hdl import Module, Mux
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.base.export import place
from dtqatten.hw.payloads.topk import TopKConfig
from dtqatten.hw.ranking.counting_search import search_members
from dtqatten.hw.ranking.partition import Partition
from dtqatten.hw.ranking.pivot_search import PartitionReader, PivotSearch, Source
from dtqatten.hw.ranking.row_comparator import RowComparator

__all__ = ["QuickSelect"]


class QuickSelect(wiring.Component):
    """Find both thresholds of a run by partitions around pivots (SpAtten, HPCA 2021, Fig. 9).

    A pass compares a row a cycle with the pivot; two zero eliminators pack the scores above it and
    those below it into a FIFO each. The next pass reads the FIFO that holds a threshold and writes
    back to both. :class:`~dtqatten.hw.ranking.pivot_search.PivotSearch` chooses pivots and bounds
    the number of passes.

    Latency: a pass ends :meth:`latency` cycles after its last row is read; its first row is read
    two cycles later: ``m + 7`` cycles a pass of ``m`` rows. ``inside`` and ``beyond`` follow a row
    by two accepted cycles. Throughput one row a cycle.

    Parameters
    ----------
    config : TopKConfig

    Members
    -------
    begin : In(1)
        A run's first beat is accepted.
    first : In(score_width)
        Its first score.
    tokens : In(range(capacity + 1))
        Scores of the run, with ``ranked``.
    advance, scores, fetched, lanes, class_row : In
        Rows of the run, as of :class:`~dtqatten.hw.ranking.row_comparator.RowComparator`.
    final : In(latency)
        Bit ``i``: a pass's last row was read ``i + 1`` cycles ago; the last bit is the pass's end.
    ranked : In(1)
        Take ``ranks``; three cycles after the run's last row is read.
    ranks : In(ArrayLayout(range(capacity + 1), 2))
        Ranks of the thresholds in the run, of the kept and of the 8-bit tokens.
    last : Out(1)
        The last row of a partition is read.
    finished : Out(1)
        With the end of a pass: both thresholds are known; else another pass follows.
    low, need, inside, beyond, class_row_next : Out
        Thresholds, and what a :class:`~dtqatten.hw.ranking.token_filter.TokenFilter` takes.
    """

    @staticmethod
    def latency(config: TopKConfig) -> int:
        """Cycles from a pass's last row to its end."""
        del config
        return 6

    def __init__(self, config: TopKConfig) -> None:
        self.config = config
        super().__init__(
            search_members(config, self.latency(config))
            | {
                "first": In(config.score_width),
                "tokens": In(range(config.capacity + 1)),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.comparator = comparator = RowComparator(config)
        # What waits below and what comes behind it may fill a part of a row each.
        m.submodules.above = above = Partition(config, config.rows)
        m.submodules.below = below = Partition(config, config.rows + 1)
        search = place(m, platform, "search", PivotSearch, config)
        reader = place(m, platform, "reader", PartitionReader, config)
        of_run = search.source == Source.RUN
        of_above = search.source == Source.ABOVE
        for side, marks in ((above, comparator.above[0]), (below, comparator.below[0])):
            m.d.comb += [
                side.words.eq(comparator.words),
                side.take.eq(marks),
                side.valid.eq(comparator.passing),
                side.flush.eq(self.final[3]),
                side.restart.eq(search.pick | self.begin),
                side.address.eq(reader.read),
            ]
        m.d.comb += [
            comparator.advance.eq(self.advance),
            comparator.fetched.eq(self.fetched | reader.fetched),
            comparator.class_row.eq(self.class_row),
            comparator.references.eq(search.references),
            below.base.eq(search.base),
            reader.pick.eq(search.pick),
            reader.count.eq(search.count),
            reader.base.eq(Mux(of_above, 0, search.base)),
            *(getattr(search, name).eq(getattr(self, name)) for name in ("begin", "first")),
            *(getattr(search, n).eq(getattr(self, n)) for n in ("ranked", "ranks", "tokens")),
            search.decide.eq(self.final[4]),
            search.above.eq(above.count),
            search.below.eq(below.count),
            search.candidates.eq(comparator.firsts),
            self.last.eq(reader.last),
            self.finished.eq(search.finished),
            self.low.eq(search.low),
            self.need.eq(search.need),
            self.inside.eq(comparator.inside),
            self.beyond.eq(comparator.above),
            self.class_row_next.eq(comparator.class_row_next),
        ]
        with m.If(of_run):
            m.d.comb += [comparator.scores.eq(self.scores), comparator.lanes.eq(self.lanes)]
        with m.Else():
            m.d.comb += [
                comparator.scores.eq(Mux(of_above, above.data.as_value(), below.data.as_value())),
                comparator.lanes.eq(reader.lanes),
            ]
        return m
