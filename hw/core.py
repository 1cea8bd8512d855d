"""The attention core: two arrays, the softmax between them, and module B beside them."""

from amaranth.hdl import Cat, Module, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import Config
from dtqatten.hw.arrays.score_array import ScoreArray
from dtqatten.hw.arrays.tile_planner import TilePlanner
from dtqatten.hw.arrays.value_array import ValueArray
from dtqatten.hw.base.export import place
from dtqatten.hw.base.fork import fork
from dtqatten.hw.base.skid import buffered
from dtqatten.hw.merge.merger import Merger
from dtqatten.hw.payloads.arrays import load_layout, value_layout
from dtqatten.hw.payloads.choices import choice_layout
from dtqatten.hw.payloads.octaves import bias_layout
from dtqatten.hw.payloads.ranking import beat_layout, held_layout, layer_layout, topk_config
from dtqatten.hw.payloads.softmax import head_layout, key_layout, query_layout, verdict_layout
from dtqatten.hw.payloads.topk import ids_layout
from dtqatten.hw.ranking.token_ranking import TokenRanking
from dtqatten.hw.softmax.normalizer import Normalizer, output_beat_layout
from dtqatten.hw.softmax.softmax import Softmax
from dtqatten.interface.units import Unit

__all__ = ["AttentionCore", "activity_layout", "core_layouts"]


def activity_layout() -> data.StructLayout:
    """What each :class:`~dtqatten.interface.units.Unit` does in a cycle: work, or hold a result.

    ``searching`` is set from a layer's first importance to its last id.
    """
    units = data.StructLayout({unit.value: unsigned(1) for unit in Unit})
    return data.StructLayout({"busy": units, "stalled": units, "searching": 1})


def core_layouts(config: Config) -> dict[str, data.StructLayout]:
    """Payload of each stream of the core."""
    return {
        "layers": layer_layout(config),
        "heads": head_layout(config),
        "q": load_layout(config),
        "k": load_layout(config),
        "v": value_layout(config),
        "queries": query_layout(config),
        "keys": key_layout(config),
        **({"held": held_layout()} if config.held_importance else {}),
        **({"biases": bias_layout()} if config.bias_heads else {}),
        "outputs": output_beat_layout(config),
        "ids": ids_layout(topk_config(config)),
        "report": beat_layout(config.topk_lanes),
        **({"verdicts": verdict_layout(config)} if config.progressive else {}),
        **({"choices": choice_layout(config)} if config.chosen_values else {}),
    }


class AttentionCore(wiring.Component):
    """Compute attention head by head, layer by layer, and choose the tokens of the next layer.

    Module A: Q x K of a row block, the softmax of the previous one and P x V of the one before that
    run at the same time, connected by streams. Module B sums probabilities and chooses tokens. It
    takes a row of probabilities a cycle, so it delays module A only if the consumer has not taken
    the ids or reports of two layers.

    Bit-exact with :func:`dtqatten.golden.numerics.attention.attention`; cycle-exact with
    :class:`dtqatten.golden.cycles.core.CoreModel`.

    Throughput: the busier of the two arrays, see
    :class:`~dtqatten.hw.arrays.score_array.ScoreArray` and
    :class:`~dtqatten.hw.arrays.value_array.ValueArray`. A stall of any stream delays and loses
    nothing.

    Parameters
    ----------
    config : Config

    Members
    -------
    layers : In(stream.Signature(layer_layout(config)))
        One a layer.
    heads : In(stream.Signature(head_layout(config)))
        One a head.
    q, k : In(stream.Signature(load_layout(config)))
        Queries and keys, head by head; accepted ahead as far as there is room.
    v : In(stream.Signature(value_layout(config)))
        Values, in the order of the keys.
    queries : In(stream.Signature(query_layout(config)))
        Id and gain of each query of each head.
    keys : In(stream.Signature(key_layout(config)))
        Id and gains of each key of each head.
    held : In(stream.Signature(held_layout()))
        With ``held_importance``: what each key of a ``held`` layer has from before.
    biases : In(stream.Signature(bias_layout()))
        With ``bias_heads``: the biases of each ``biased`` head's keys, for each of its query heads.
    outputs : Out(stream.Signature(output_beat_layout(config)))
        Attention outputs: row block by row block, ``cols`` channels of all its rows at a time.
    ids : Out(stream.Signature(ids_layout(topk_config(config))))
        The tokens that each layer keeps, as places among its keys.
    report : Out(stream.Signature(beat_layout(topk_lanes)))
        Importances of the layers that ask for them.
    verdicts : Out(stream.Signature(verdict_layout(config)))
        With ``progressive``: one for each progressive head, whose queries and keys come twice: all
        keys in 4 bits first, then as the verdict says, in 4 bits or, if a row is flat, in 8. Its
        values come once, its tokens too.
    choices : Out(stream.Signature(choice_layout(config)))
        With ``chosen_values``: groups of keys of each head with a ``share``, which is one row
        block. ``v`` is ``chosen`` of such a head, and has the tokens of these groups alone.
    activity : Out(activity_layout())
        What the units do in this cycle.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        results = ("outputs", "ids", "report", "verdicts", "choices")
        super().__init__(
            {
                name: (Out if name in results else In)(stream.Signature(layout))
                for name, layout in core_layouts(config).items()
            }
            | {"activity": Out(activity_layout())}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        array = place(m, platform, "score_array", ScoreArray, config)
        softmax = place(m, platform, "softmax", Softmax, config)
        values = place(m, platform, "value_array", ValueArray, config)
        # Where rows can be merged, what merges them divides them, too.
        divides = Merger if config.merge_rows else Normalizer
        normalizer = place(m, platform, "normalizer", divides, config)
        ranking = place(m, platform, "token_ranking", TokenRanking, config)

        connect(m, flipped(self.q), array.q)
        connect(m, flipped(self.k), array.k)
        connect(m, array.scores, softmax.scores)
        if config.skip_tiles:
            self._plan(m, platform, array, softmax)
        else:
            for name in ("heads", "queries", "keys"):
                connect(m, flipped(getattr(self, name)), getattr(softmax, name))
        if config.bias_heads:
            connect(m, flipped(self.biases), softmax.biases)
        connect(m, softmax.weights, values.weights)
        connect(m, flipped(self.v), values.values)
        connect(m, values.sums, normalizer.sums)
        connect(m, softmax.records, normalizer.records)
        connect(m, normalizer.outputs, flipped(self.outputs))
        connect(m, flipped(self.layers), ranking.layers)
        self._rank(m, softmax, ranking)
        if config.held_importance:
            connect(m, flipped(self.held), ranking.held)
        connect(m, ranking.ids, flipped(self.ids))
        connect(m, ranking.report, flipped(self.report))
        if config.progressive:
            connect(m, softmax.verdicts, flipped(self.verdicts))
        if config.chosen_values:
            connect(m, values.choices, flipped(self.choices))

        busy, stalled = self.activity.busy, self.activity.stalled
        m.d.comb += [
            busy.score_array.eq(array.working),
            busy.softmax.eq(array.scores.valid & array.scores.ready),
            busy.value_array.eq(values.working),
            busy.normalizer.eq(normalizer.working),
            busy.module_b.eq(ranking.probabilities.valid & ranking.probabilities.ready),
            self.activity.searching.eq(ranking.searching),
        ]
        for unit, results in (
            (Unit.SCORE_ARRAY, (array.scores,)),
            (Unit.SOFTMAX, (softmax.weights, softmax.records, softmax.probabilities)),
            (Unit.VALUE_ARRAY, (values.sums,)),
            (Unit.NORMALIZER, (self.outputs,)),
            (Unit.MODULE_B, (self.ids, self.report)),
        ):
            waiting = Cat(result.valid & ~result.ready for result in results)
            m.d.comb += stalled[unit.value].eq(waiting.any())
        return m

    def _rank(self, m: Module, softmax: Softmax, ranking: TokenRanking) -> None:
        """Give module B the probabilities, but not those of a segment, which are none of the row.

        Parameters
        ----------
        m : Module
        softmax : Softmax
        ranking : TokenRanking
        """
        source, sink = softmax.probabilities, ranking.probabilities
        if not self.config.merge_rows:
            connect(m, source, sink)
            return
        m.d.comb += [
            sink.p.eq(source.p),
            sink.valid.eq(source.valid & ~source.p.partial),
            source.ready.eq(sink.ready | source.p.partial),
        ]

    def _plan(self, m: Module, platform: object, array: ScoreArray, softmax: Softmax) -> None:
        """Plan which tiles row blocks visit, by what the softmax gets to know of their tokens.

        Parameters
        ----------
        m, platform
            As in ``elaborate``.
        array : ScoreArray
        softmax : Softmax
        """
        planner = place(m, platform, "tile_planner", TilePlanner, self.config)
        connect(m, planner.visits, array.visits)
        # The softmax keeps a head until its last row; the planner needs the next one before.
        early = stream.Signature(head_layout(self.config)).create(path=("early_heads",))
        buffered(m, early, softmax.heads, "head")
        for name, sink in (("heads", early), ("queries", softmax.queries), ("keys", softmax.keys)):
            source, plan = getattr(self, name), getattr(planner, name)
            fork(m, source, [sink, plan], [1, 1], name)
            m.d.comb += [sink.p.eq(source.p)]
            m.d.comb += [plan.p[field].eq(source.p[field]) for field, _ in plan.p.shape()]
