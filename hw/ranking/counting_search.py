"""Search for both thresholds by counting: classifier, counters and the ranges that they narrow."""

from amaranth.hdl import Module, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.base.export import place
from dtqatten.hw.payloads.topk import TopKConfig, class_row_layout
from dtqatten.hw.ranking.rank_counter import RankCounter
from dtqatten.hw.ranking.row_classifier import RowClassifier, window_members
from dtqatten.hw.ranking.threshold_search import ThresholdSearch

__all__ = ["CountingSearch", "search_members"]


def search_members(config: TopKConfig, latency: int) -> dict[str, wiring.Member]:
    """Members of a search, whatever its algorithm; ``latency`` is that of a pass's end."""
    scores = data.ArrayLayout(unsigned(config.score_width), config.lanes)
    counts = data.ArrayLayout(range(config.capacity + 1), 2)
    lanes = data.ArrayLayout(config.lanes, 2)
    return {
        "begin": In(1),
        "advance": In(1),
        "scores": In(scores),
        "fetched": In(1),
        "lanes": In(config.lanes),
        "class_row": In(class_row_layout(config)),
        "final": In(latency),
        "ranked": In(1),
        "ranks": In(counts),
        "finished": Out(1),
        "low": Out(data.ArrayLayout(unsigned(config.score_width), 2)),
        "need": Out(counts),
        "inside": Out(lanes),
        "beyond": Out(lanes),
        "class_row_next": Out(class_row_layout(config)),
    }


class CountingSearch(wiring.Component):
    """Find both thresholds of a run, ``index_bits`` bits a pass.

    Latency: a pass ends :meth:`latency` cycles after its last row is read; ``inside`` and
    ``beyond`` follow a row by two accepted cycles. Throughput one row a cycle.

    Parameters
    ----------
    config : TopKConfig

    Members
    -------
    begin : In(1)
        A run's first beat is accepted.
    seen : In(score_width)
        OR of the run's scores so far.
    advance, scores, fetched, lanes, class_row : In
        Rows of the run, as of :class:`~dtqatten.hw.ranking.row_classifier.RowClassifier`.
    final : In(latency)
        Bit ``i``: a pass's last row was read ``i + 1`` cycles ago; the last bit is the pass's end.
    ranked : In(1)
        Take ``ranks``; three cycles after the run's last row is first read.
    ranks : In(ArrayLayout(range(capacity + 1), 2))
        Ranks of the thresholds in the run, of the kept and of the 8-bit tokens.
    finished : Out(1)
        With the end of a pass: both thresholds are known; else another pass follows.
    low, need, inside, beyond, class_row_next : Out
        Thresholds, and what a :class:`~dtqatten.hw.ranking.token_filter.TokenFilter` takes.
    """

    @staticmethod
    def latency(config: TopKConfig) -> int:
        """Cycles from a pass's last row to its end: indices take five, then it is counted."""
        return RankCounter.latency(config) + 5

    def __init__(self, config: TopKConfig) -> None:
        self.config = config
        super().__init__(
            search_members(config, self.latency(config)) | {"seen": In(config.score_width)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.classifier = classifier = RowClassifier(config)
        counter = place(m, platform, "counter", RankCounter, config)
        ranges = place(m, platform, "ranges", ThresholdSearch, config)
        m.d.comb += [
            *(
                getattr(classifier, name).eq(getattr(self, name))
                for name in ("advance", "scores", "fetched", "lanes", "class_row")
            ),
            *(getattr(classifier, n).eq(getattr(ranges, n)) for n in window_members(config)),
            counter.valid.eq(classifier.valid),
            counter.index.eq(classifier.index),
            counter.clear.eq(self.final[-1]),
            counter.targets.eq(ranges.targets),
            ranges.calibrate.eq(self.begin),
            ranges.seen.eq(self.seen),
            ranges.overflow.eq(classifier.overflow),
            ranges.ranked.eq(self.ranked),
            ranges.ranks.eq(self.ranks),
            ranges.aim.eq(self.final[3]),
            ranges.update.eq(self.final[-1]),
            ranges.found.eq(counter.found),
            self.finished.eq(ranges.finished),
            self.low.eq(ranges.low),
            self.need.eq(ranges.need),
            *(
                getattr(self, name).eq(getattr(classifier, name))
                for name in ("inside", "beyond", "class_row_next")
            ),
        ]
        return m
