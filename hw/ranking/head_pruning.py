"""Beside the outputs: what sums and ranks heads, and keeps some for the next layer."""

from amaranth.hdl import Module, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import Config
from dtqatten.hw.base.export import place
from dtqatten.hw.base.row_ring import RowFifo
from dtqatten.hw.payloads.heads import head_report_layout, heads_layout, weight_layout
from dtqatten.hw.ranking.head_magnitudes import HeadMagnitudes
from dtqatten.hw.ranking.head_ranking import HeadRanking
from dtqatten.hw.softmax.normalizer import output_beat_layout

__all__ = ["HeadPruning"]

#: Heads between the head table and the outputs whose weights are held.
WEIGHTS = 8


class HeadPruning(wiring.Component):
    """Rank a layer's heads by its outputs, which pass unchanged.

    Latency: none of the outputs. After a layer's last beat its last head is summed
    (:class:`~dtqatten.hw.ranking.head_magnitudes.HeadMagnitudes`), and ranked
    (:class:`~dtqatten.hw.ranking.head_ranking.HeadRanking`): ``idle`` comes
    ``log2(output_lanes) + 2*heads + 12`` cycles after it, if heads take longer than to be ranked.
    Throughput a beat a cycle. A head's weight is taken while those of no more than nine are held:
    so many are between the head table and the outputs.

    Parameters
    ----------
    config : Config
        With ``head_pruning``.

    Members
    -------
    i, o : In, Out(stream.Signature(output_beat_layout(config)))
        Outputs of the core, and the same for the writer.
    weights : In(stream.Signature(weight_layout()))
        Of each head that is computed, in their order.
    layer, report, kept, idle
        As of :class:`~dtqatten.hw.ranking.head_ranking.HeadRanking`.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(output_beat_layout(config))),
                "weights": In(stream.Signature(weight_layout())),
                "layer": In(stream.Signature(heads_layout(config))),
                "o": Out(stream.Signature(output_beat_layout(config))),
                "report": Out(stream.Signature(head_report_layout())),
                "kept": Out(unsigned(config.heads)),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        magnitudes = place(m, platform, "magnitudes", HeadMagnitudes, self.config)
        ranking = place(m, platform, "ranking", HeadRanking, self.config)
        m.submodules.held = held = RowFifo(weight_layout(), WEIGHTS)
        taken = self.weights.valid & held.room
        m.d.comb += [
            self.weights.ready.eq(held.room),
            held.reserve.eq(taken),
            held.write.eq(taken),
            held.row.eq(self.weights.p),
            self.kept.eq(ranking.kept),
            self.idle.eq(ranking.idle),
        ]
        connect(m, held.o, magnitudes.weights)
        connect(m, flipped(self.i), magnitudes.i)
        connect(m, magnitudes.o, flipped(self.o))
        connect(m, flipped(self.layer), ranking.layer)
        connect(m, magnitudes.sums, ranking.sums)
        connect(m, ranking.report, flipped(self.report))
        return m
