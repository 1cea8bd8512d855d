"""Module B: importance of the tokens of a layer, and the ids of those that it keeps."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import Config
from dtqatten.hw.base.export import place
from dtqatten.hw.base.fork import fork
from dtqatten.hw.base.skid import buffered, skid
from dtqatten.hw.payloads.ranking import (
    IMPORTANCE_BITS,
    beat_layout,
    held_layout,
    layer_layout,
    topk_config,
)
from dtqatten.hw.payloads.softmax import probability_row_layout
from dtqatten.hw.payloads.topk import ids_layout
from dtqatten.hw.ranking.importance_finish import BeatPacker, ImportanceFinish
from dtqatten.hw.ranking.score_accumulator import ScoreAccumulator
from dtqatten.hw.ranking.topk import TopK

__all__ = ["TokenRanking"]


class TokenRanking(wiring.Component):
    """Sum the probabilities of a layer into importances and choose tokens by them.

    Runs beside the arrays: it takes a row of probabilities a cycle while the previous layer's
    importances are read out, finished and searched. A layer's importances wait until all ids of the
    previous layer have been taken. Its probabilities do not wait; the layer behind it does.

    Latency: of the accumulator, the packer (a cycle where ``importance_lanes`` are fewer than
    ``topk_lanes``), the finish (where there is one), a cycle with ``buffered_ranking``, and the
    top-k engine. A report that is not taken delays the search, and its last beat the ids.

    Parameters
    ----------
    config : Config

    Members
    -------
    layers : In(stream.Signature(layer_layout(config)))
        One before each layer's probabilities.
    probabilities : In(stream.Signature(probability_row_layout(config)))
        Rows of probabilities, of all heads of the layer.
    held : In(stream.Signature(held_layout()))
        With ``held_importance``: one a key of each ``held`` layer, in their order.
    ids : Out(stream.Signature(ids_layout(topk_config(config))))
        Kept tokens, by their places among the layer's keys.
    report : Out(stream.Signature(beat_layout(topk_lanes)))
        Importances of a layer that asks for them.
    searching : Out(1)
        From a layer's first importance to its last id.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "layers": In(stream.Signature(layer_layout(config))),
                "probabilities": In(stream.Signature(probability_row_layout(config))),
                "ids": Out(stream.Signature(ids_layout(topk_config(config)))),
                "report": Out(stream.Signature(beat_layout(config.topk_lanes))),
                "searching": Out(1),
            }
            | ({"held": In(stream.Signature(held_layout()))} if config.held_importance else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        accumulator = place(m, platform, "accumulator", ScoreAccumulator, config)
        m.submodules.topk = topk = TopK(topk_config(config))
        connect(m, flipped(self.probabilities), accumulator.probabilities)

        # One layer is summed, one is read out or waits for that.
        command = layer_layout(config)
        layer, next_layer = Signal(command), Signal(command)
        known, next_known = Signal(), Signal()
        comes, done = Signal(), Signal()
        m.d.comb += [
            self.layers.ready.eq(~next_known & accumulator.runs.ready),
            comes.eq(self.layers.valid & self.layers.ready),
            accumulator.runs.valid.eq(self.layers.valid & ~next_known),
            accumulator.runs.p.heads.eq(self.layers.p.heads),
            topk.k0.eq(layer.k0),
            topk.k1.eq(layer.k1),
        ]

        # Registers, not a memory: a read would be on the critical path.
        with m.If(done | ~known):
            m.d.sync += [
                layer.eq(Mux(next_known, next_layer, self.layers.p)),
                known.eq(next_known | comes),
                next_known.eq(0),
            ]
        with m.Elif(comes):
            m.d.sync += [next_layer.eq(self.layers.p), next_known.eq(1)]

        # ``closed``: this layer's importances are in, its ids not yet out; the next layer waits.
        closed, is_open = Signal(), Signal()
        m.d.comb += is_open.eq(known & ~closed)
        leaving = accumulator.importance
        if config.cumulative or config.count_normalize or config.held_importance:
            m.submodules.finish = finish = ImportanceFinish(config)
            m.d.comb += finish.layer.eq(layer)
            entry, beats = finish.i, finish.o
            if config.held_importance:
                # Only the importances that are let in take what their keys have from before.
                connect(m, flipped(self.held), finish.held)
        else:
            entry = beats = stream.Signature(beat_layout(config.importance_lanes)).create()
        m.d.comb += [
            entry.valid.eq(leaving.valid & is_open),
            entry.p.eq(leaving.p),
            leaving.ready.eq(entry.ready & is_open),
            self.searching.eq(closed | (leaving.valid & is_open)),
        ]
        beats = self._packed(m, beats)
        fork(m, beats, [topk.scores, self.report], [1, layer.report], "scores")
        m.d.comb += [
            topk.scores.p.eq(beats.p),
            self.report.p.tokens.eq(beats.p.tokens),
            self.report.p.last.eq(beats.p.last),
            *(
                self.report.p.scores[i].eq(beats.p.scores[i][:IMPORTANCE_BITS])
                for i in range(config.topk_lanes)
            ),
        ]
        # The layer's command selects who gets ids and importances, so it stays until both are out:
        # ids wait for the last importances, and the command ends with the last ids.
        taken = Signal()
        chosen = kept = stream.Signature(topk.ids.p.shape()).create(path=("chosen",))
        m.d.comb += [
            chosen.valid.eq(topk.ids.valid & taken),
            chosen.p.eq(topk.ids.p),
            topk.ids.ready.eq(chosen.ready & taken),
        ]
        if config.timing.buffered_ranking:
            kept = stream.Signature(topk.ids.p.shape()).create(path=("kept",))
            skid(m, chosen, kept, "ids")
        sinks, wanted = [self.ids], [1]
        if config.cumulative:
            sinks, wanted = [*sinks, finish.ids], [1, layer.cumulative]
            m.d.comb += finish.ids.p.eq(kept.p)
        fork(m, kept, sinks, wanted, "ids")
        m.d.comb += [self.ids.p.eq(kept.p), done.eq(kept.valid & kept.ready & kept.p.last)]
        with m.If(leaving.valid & leaving.ready & leaving.p.last):
            m.d.sync += closed.eq(1)
        with m.If(beats.valid & beats.ready & beats.p.last):
            m.d.sync += taken.eq(1)
        with m.If(done):
            m.d.sync += [closed.eq(0), taken.eq(0)]
        return m

    def _packed(self, m: Module, beats: stream.Interface) -> stream.Interface:
        """Return importances in beats of the top-k engine's lanes."""
        config = self.config
        lanes = config.importance_lanes, config.topk_lanes
        if lanes[0] != lanes[1]:
            m.submodules.packer = packer = BeatPacker(*lanes, topk_config(config).score_width)
            m.d.comb += [
                packer.i.valid.eq(beats.valid),
                packer.i.p.eq(beats.p),
                beats.ready.eq(packer.i.ready),
            ]
            beats = packer.o
        # A register cuts the long path to those who take the beats.
        if config.timing.buffered_ranking:
            packed, beats = beats, stream.Signature(beats.p.shape()).create(path=("scores",))
            buffered(m, packed, beats, "beats")
        return beats
