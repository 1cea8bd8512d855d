"""First pass of the softmax: gains, masks and the maximum of each row."""

from amaranth.hdl import Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import Config
from dtqatten.hw.base.export import place
from dtqatten.hw.base.pipeline import delayed, multiplied, reduced, reduction_latency
from dtqatten.hw.base.replay_store import ReplayStore
from dtqatten.hw.payloads.arrays import score_row_layout
from dtqatten.hw.payloads.choices import choice_fields
from dtqatten.hw.payloads.octaves import OCTAVE_SHIFT, bias_layout, compared_bits
from dtqatten.hw.payloads.softmax import (
    GAIN_ONE,
    MULTIPLIER_BITS,
    flags_layout,
    head_layout,
    key_layout,
    masked_row_layout,
    maximum_layout,
    query_layout,
    reduced_layout,
    segment_fields,
    stored_query_layout,
    tiles,
    token_layout,
)
from dtqatten.hw.softmax.bias_store import BiasStore
from dtqatten.hw.softmax.masked_score import MaskedScore
from dtqatten.hw.softmax.row_fold import RowFold
from dtqatten.hw.softmax.tile_store import tile_store, walk

__all__ = ["MaximumPass"]


class MaximumPass(wiring.Component):
    """Apply the keys' gains and the mask to score rows and track the maximum of each row.

    ``s' = (s * gain + 128) >> 8``; a key is seen if it exists, in a causal head only if its id is
    not above the query's, and in a window of ``w`` only if it is not below the query's by ``w`` or
    more. The query's gain joins the multiplier of its head, ``(multiplier * gain + 128) >> 8``;
    with ``signed_gains`` its sign joins that of each key's.
    Where keys can have biases, that multiplies scores here, which have the unit of all rows then;
    the factor from there to exponents is ``2**-3``.

    Keys and queries are held from their arrival to the head's or the row block's last row; a row is
    taken when its tile's keys, its query and its head's factor are here and ``room`` is. The rows
    of a progressive head come twice, as a trial first, which keeps all of them.

    Latency: ``row`` follows the score row by 6 cycles, with biases 13, ``reduced`` by
    :meth:`latency`. Throughput one row a cycle; once accepted a row never stalls.

    Parameters
    ----------
    config : Config

    Members
    -------
    scores : In(stream.Signature(score_row_layout(config)))
        Score rows.
    keys : In(stream.Signature(key_layout(config)))
        The keys of each head, once, in their order; what concerns values is not used here.
    queries : In(stream.Signature(query_layout(config)))
        The queries of each head in their order.
    heads : In(stream.Signature(head_layout(config)))
        Factors; taken with the head's last score row.
    biases : In(stream.Signature(bias_layout()))
        With ``bias_heads``: of heads that are ``biased`` the biases of all keys, for each query
        head; a head's rows wait for all of them.
    room : In(1)
        A row can be stored.
    reserve : Out(1)
        A row has been accepted.
    row_valid, row : Out
        The row as :func:`~dtqatten.hw.payloads.softmax.masked_row_layout`.
    reduced : Out(reduced_layout())
        The row has joined its maximum.
    record : Out(maximum_layout(config))
        Maximum of this and earlier tiles of the row, its factor, and what passes through.
    tried, trial_reduced : Out(1)
        Where heads can be progressive: the last row of a trial has been accepted; ``reduced`` is
        of a trial.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "scores": In(stream.Signature(score_row_layout(config))),
                "keys": In(stream.Signature(key_layout(config))),
                "queries": In(stream.Signature(query_layout(config))),
                "heads": In(stream.Signature(head_layout(config))),
                "room": In(1),
                "reserve": Out(1),
                "row_valid": Out(1),
                "row": Out(masked_row_layout(config)),
                "reduced": Out(reduced_layout()),
                "record": Out(maximum_layout(config)),
            }
            | (dict.fromkeys(("tried", "trial_reduced"), Out(1)) if config.progressive else {})
            | ({"biases": In(stream.Signature(bias_layout()))} if config.bias_heads else {})
        )

    @classmethod
    def row_latency(cls, config: Config) -> int:
        """Cycles from a score row accepted to ``row``."""
        return 2 + MaskedScore.latency(config)

    @classmethod
    def latency(cls, config: Config) -> int:
        """Cycles from a score row accepted to ``reduced``."""
        return cls.row_latency(config) + reduction_latency(config.cols) + RowFold.LATENCY

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        seen_token, token = token_layout(config), stored_query_layout(config)
        m.submodules.keys = keys = tile_store(config, seen_token, 2)
        # Where tiles are skipped, queries are known long before their first row comes.
        row_blocks = 4 if config.skip_tiles else 2
        m.submodules.queries = queries = ReplayStore(token, 1, row_blocks * config.rows)
        for store, tokens, layout in (
            (keys, self.keys, seen_token),
            (queries, self.queries, token),
        ):
            m.d.comb += [
                store.i.valid.eq(tokens.valid),
                tokens.ready.eq(store.i.ready),
                *(store.i.p.item[field].eq(tokens.p[field]) for field, _ in layout),
            ]
        m.d.comb += keys.i.p.last.eq(self.keys.p.last)

        accept, row_end, block_end, head_end = Signal(), Signal(), Signal(), Signal()
        taking = self.scores.p
        trial = self._trial(m, accept & block_end)
        biases, known = self._biases(m, platform, accept & head_end & ~trial)
        m.d.comb += [
            self.scores.ready.eq(self.room & keys.ready & queries.ready & self.heads.valid & known),
            accept.eq(self.scores.valid & self.scores.ready),
            self.reserve.eq(accept),
            row_end.eq(taking.last_row),
            block_end.eq(row_end & taking.last_tile),
            head_end.eq(block_end & taking.last_block),
            self.heads.ready.eq(accept & head_end & ~trial),
            # Each tile of keys meets all rows of the block, all that are visited each block.
            keys.read.eq(accept),
            *walk(config, keys, taking, trial),
            queries.read.eq(accept),
            queries.step.eq(1),
            queries.rewind.eq(row_end),
            queries.release.eq(block_end & ~trial),
        ]

        # Cycle 1: the tokens' words are read. Cycle 2: they have left the memories, which are slow.
        # Cycles 3 to 5: products. Cycle 6: the row; with biases more products, and it in cycle 13.
        taken, head = delayed(m, taking, 2, "taken"), delayed(m, self.heads.p, 2, "head")
        query = delayed(m, queries.data[0], 1, "query")
        key = delayed(m, keys.data, 1, "key")
        factor = query if config.grouped else head
        lowest = self._lowest(m, query.id) if config.windows else None
        multiplier = self._multiplier(m, query, factor)
        wait = self.row_latency(config)
        lanes = []
        for c in range(config.cols):
            lane = place(m, platform, f"score_{c}", MaskedScore, config)
            m.d.comb += [
                lane.score.eq(taken.scores[c]),
                lane.exists.eq(c < taken.keys),
                lane.causal.eq(head.causal),
                lane.key.eq(key[c]),
                lane.query.eq(query.id),
                self.row.scores[c].eq(lane.masked),
            ]
            lanes.append(lane)
        if config.signed_gains:
            m.d.comb += [lane.negative.eq(query.negative) for lane in lanes]
        if lowest is not None:
            m.d.comb += [lane.lowest.eq(lowest) for lane in lanes]
        if biases is not None:
            m.d.comb += [lane.multiplier.eq(multiplier) for lane in lanes]
            self._add_biases(m, biases, lanes, head, query, factor)
        valid = delayed(m, accept, wait, "accepted", reset_less=False)
        placed = delayed(m, taken, wait - 2, "placed")
        m.d.comb += [
            self.row_valid.eq(valid),
            *(self.row[field].eq(placed[field]) for field, _ in flags_layout(config)),
        ]

        levels = reduction_latency(config.cols)
        m.submodules.fold = fold = RowFold(config.rows, signed(compared_bits(config)), "max")
        arrived, scores = Signal(reduced_layout()), [lane.masked for lane in lanes]
        m.d.comb += [
            arrived.valid.eq(self.row_valid),
            arrived.last_row.eq(self.row.last_row),
            arrived.last_tile.eq(self.row.last_tile),
            arrived.last_block.eq(self.row.last_block),
            fold.i.eq(delayed(m, arrived, levels, "arrived", reset_less=False)),
            fold.value.eq(reduced(m, scores, lambda a, b: Mux(a > b, a, b), "maximum")),
            self.reduced.eq(fold.o),
            self.record.maximum.eq(fold.total),
        ]
        self._record(m, head, query, factor, multiplier)
        return m

    def _add_biases(
        self,
        m: Module,
        biases: BiasStore,
        lanes: list[MaskedScore],
        head: data.View,
        query: data.View,
        factor: data.View,
    ) -> None:
        """Give lanes the row's shift and the biases of its query head, if there are any.

        Parameters
        ----------
        m : Module
        biases : BiasStore
        lanes : list of MaskedScore
        head, query, factor : View
            As of :meth:`_record`.
        """
        shift = delayed(m, factor.shift, MaskedScore.SHIFTED, "score_shift")
        biased = delayed(m, head.biased, MaskedScore.BIASED, "biased")
        if self.config.bias_heads > 1:
            m.d.comb += biases.member.eq(query.member)
        for lane, bias in zip(lanes, biases.biases, strict=True):
            m.d.comb += [lane.shift.eq(shift), lane.bias.eq(Mux(biased, bias, 0))]

    def _biases(
        self, m: Module, platform: object, release: Value
    ) -> tuple[BiasStore | None, Value]:
        """Keep the biases of a head's keys; return what gives those of each row, if it may come.

        Parameters
        ----------
        m, platform
            As in ``elaborate``.
        release : Value
            The head's last row is accepted.
        """
        config = self.config
        if not config.bias_heads:
            return None, Const(1)
        store = place(m, platform, "bias_store", BiasStore, config)
        connect(m, flipped(self.biases), store.i)
        m.d.comb += store.release.eq(release & self.heads.p.biased)
        known = store.ready | ~self.heads.p.biased
        if config.skip_tiles:
            m.d.comb += store.tile.eq(self.scores.p.tile)
            return store, known
        tile = Signal(range(tiles(config)), name="tile")
        row = self.scores.p
        m.d.comb += store.tile.eq(tile)
        with m.If(self.reserve & row.last_row):
            m.d.sync += tile.eq(Mux(row.last_tile, 0, tile + 1))
        return store, known

    def _trial(self, m: Module, block_ends: Value) -> Value:
        """Return whether scores are those of a trial: the first ones of a progressive head."""
        if not self.config.progressive:
            return Const(0, 1)
        trial, again = Signal(), Signal(name="again")
        wait = reduction_latency(self.config.cols) + RowFold.LATENCY
        m.d.comb += [
            trial.eq(self.heads.p.progressive & ~again),
            self.tried.eq(block_ends & trial),
            self.row.trial.eq(delayed(m, trial, self.row_latency(self.config), "trial")),
            self.trial_reduced.eq(delayed(m, self.row.trial, wait, "trial_row")),
        ]
        with m.If(block_ends):
            m.d.sync += again.eq(trial)
        return trial

    def _lowest(self, m: Module, query: Value) -> Signal:
        """Return the lowest id that a row's query sees, in cycle 3, of its id in cycle 2."""
        bits = self.config.position_bits
        # Ids before 0 are as good as 0, and no window is one that reaches there.
        window = self.heads.p.window
        reach = delayed(m, Mux(window == 0, (1 << bits) - 1, window - 1), 2, "reach")
        beyond = Signal(signed(bits + 2))
        lowest = Signal(bits, reset_less=True)
        m.d.comb += beyond.eq(query - reach)
        m.d.sync += lowest.eq(Mux(beyond < 0, 0, beyond))
        return lowest

    def _multiplier(self, m: Module, query: data.View, factor: data.View) -> Signal:
        """Return the row's multiplier, in cycle 6.

        Parameters
        ----------
        m : Module
        query, factor : View
            As of :meth:`_record`.
        """
        gained = multiplied(m, factor.multiplier, query.gain, "factor")
        multiplier = Signal(MULTIPLIER_BITS, reset_less=True)
        m.d.sync += multiplier.eq((gained + GAIN_ONE // 2) >> 8)
        return multiplier

    def _record(
        self, m: Module, head: data.View, query: data.View, factor: data.View, multiplier: Signal
    ) -> None:
        """Give the row's record all but its maximum.

        Parameters
        ----------
        m : Module
        head, query : View
            Those of the row, in cycle 2.
        factor : View
            The one of the two that has the factor.
        multiplier : Signal
            As of :meth:`_multiplier`.
        """
        fold = reduction_latency(self.config.cols) + RowFold.LATENCY
        wait = self.latency(self.config) - 2
        if self.config.bias_heads:
            m.d.comb += [self.record.multiplier.eq(1), self.record.shift.eq(OCTAVE_SHIFT)]
        else:
            m.d.comb += [
                self.record.multiplier.eq(delayed(m, multiplier, fold, "multiplier")),
                self.record.shift.eq(delayed(m, factor.shift, wait, "shift")),
            ]
        m.d.comb += [
            self.record.output.eq(delayed(m, head.output, wait, "output")),
            self.record.narrow.eq(delayed(m, query.narrow, wait, "narrow")),
        ]
        if self.config.sinks:
            sink = delayed(m, factor.sink, wait, "sink")
            m.d.comb += self.record.sink.eq(sink)
        for field in (*choice_fields(self.config), *segment_fields(self.config)):
            late = delayed(m, head[field], wait, field)
            m.d.comb += self.record[field].eq(late)
