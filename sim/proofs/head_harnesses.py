"""Harness of what ranks heads: layers and sums of any values, at any pace."""

from amaranth.hdl import Assume, Module, Mux, Signal, Value
from amaranth.lib.wiring import In

from dtqatten.configuration.core import Config
from dtqatten.hw.payloads.heads import heads_layout
from dtqatten.hw.ranking.head_ranking import HeadRanking
from dtqatten.sim.proofs.harness import Harness, held

__all__ = ["HeadsHarness"]

#: Few, so that the solver ends.
HEADS = 2
CONFIG = Config(rows=1, cols=1, depth=1, d_head=8, n_max=4, heads=HEADS, head_pruning=True)


def count(bits: Value) -> Value:
    """Return how many bits are set."""
    return sum((bits[i] for i in range(1, len(bits))), start=bits[0])


class HeadsHarness(Harness):
    """Layers of heads, which keep at least one of those that are left."""

    def __init__(self, wanted: str) -> None:
        super().__init__(
            wanted,
            {
                "layer": In(heads_layout(CONFIG)),
                "offered": In(1),
                "sum": In(32),
                "comes": In(1),
                "ready": In(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        """Return the ranking, its assumptions and the assertion."""
        m = self._start()
        m.submodules.ranking = ranking = HeadRanking(CONFIG)
        layer, taken, begun = Signal(heads_layout(CONFIG)), Signal(), Signal()
        stored, before = Signal(HEADS), Signal(HEADS)
        m.d.comb += [
            ranking.layer.valid.eq(self.offered),
            ranking.layer.p.eq(self.layer),
            ranking.sums.valid.eq(self.comes),
            ranking.sums.p.eq(self.sum),
            ranking.report.ready.eq(self.ready),
            taken.eq(self.offered & ranking.layer.ready),
        ]
        # Which heads a layer has, and which of those it computes.
        has = (1 << self.layer.heads) - 1
        left = Mux(self.layer.chained, ranking.kept & stored, has[:HEADS])
        with m.If(taken):
            m.d.sync += [layer.eq(self.layer), begun.eq(1), before.eq(left), stored.eq(has)]
        m.d.comb += [
            Assume(~taken | ((self.layer.heads != 0) & (self.layer.heads <= HEADS))),
            Assume(~taken | ((self.layer.keep != 0) & (self.layer.keep <= count(left)))),
            Assume(~taken | ~self.layer.chained | (begun & (self.layer.heads == layer.heads))),
        ]
        kept, ranked = ranking.kept & stored, begun & ranking.idle
        report = ranking.report
        self._assert(
            m,
            heads_many=~ranked | (count(kept) == layer.keep),
            heads_gone=~ranked | ((kept & ~before) == 0),
            heads_report=held(m, report, "report") & (~report.valid | layer.report),
        )
        return m
