"""The softmax unit: scores in, weights, divisors and probabilities out, in three passes."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import Config
from dtqatten.hw.base.export import place
from dtqatten.hw.base.pipeline import reduction_latency
from dtqatten.hw.base.row_ring import RowFifo
from dtqatten.hw.base.skid import buffered
from dtqatten.hw.payloads.arrays import score_row_layout
from dtqatten.hw.payloads.softmax import (
    exponential_row_layout,
    head_layout,
    key_layout,
    masked_row_layout,
    maximum_layout,
    normalizer_layout,
    probability_row_layout,
    query_layout,
    row_record_layout,
    tiles,
    weight_row_layout,
)
from dtqatten.hw.softmax.exponential_pass import ExponentialPass
from dtqatten.hw.softmax.maximum_pass import MaximumPass
from dtqatten.hw.softmax.probability_pass import ProbabilityPass
from dtqatten.hw.softmax.row_buffer import RowBuffer

__all__ = ["Softmax"]


class Softmax(wiring.Component):
    """Base-2 softmax of score rows, ``cols`` scores a cycle.

    Bit-exact with :mod:`dtqatten.golden.numerics.softmax`. Three passes run at once, over different
    row blocks: the first gains, masks and finds the row maxima; the second exponentiates, sums and
    narrows; the third normalizes. Between passes a block's rows wait in a ring that holds the
    largest block and what is under way, so that no pass ever waits for another one. Pipelines never
    stall: a row sets out when there is room for all that it becomes.

    Order: all row streams keep the order of ``scores`` (of each row block, tile by tile, its rows);
    ``records`` come one a row, in row order, after the block's weights (with V gains before them).
    ``weights``, ``records`` and ``probabilities`` are read independently, but none may be held
    back for ever: a block's records are to be taken before the next block's weights end.

    Latency, ``L = ceil(log2(cols))``, nothing stalled, from a block's last score row accepted to
    what is offered first: weights ``L + 27`` cycles, probabilities ``2*L + 57``, a block of
    ``n`` score rows in between as ``n - 1`` cycles; with V gains weights come with
    probabilities. Throughput one row a cycle without a bubble, across blocks and heads.

    A row that sees no key has weights, divisor, reciprocal and probabilities 0.

    Parameters
    ----------
    config : Config
        Of the array whose scores these are.

    Members
    -------
    scores : In(stream.Signature(score_row_layout(config)))
        Score rows.
    heads : In(stream.Signature(head_layout()))
        Factor and mask of each head; taken with its last score row.
    queries : In(stream.Signature(query_layout(config)))
        The queries of each head; two row blocks are held.
    keys : In(stream.Signature(key_layout(config)))
        The keys of each head, once; two heads are held, and two keys more where logic is slow.
    weights : Out(stream.Signature(weight_row_layout(config)))
        Rows of P for P x V.
    records : Out(stream.Signature(row_record_layout(config)))
        Divisor, its reciprocal and ``lead`` of each row.
    probabilities : Out(stream.Signature(probability_row_layout(config)))
        Rows of 16-bit probabilities, for the importance.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "scores": In(stream.Signature(score_row_layout(config))),
                "heads": In(stream.Signature(head_layout())),
                "queries": In(stream.Signature(query_layout(config))),
                "keys": In(stream.Signature(key_layout(config))),
                "weights": Out(stream.Signature(weight_row_layout(config))),
                "records": Out(stream.Signature(row_record_layout(config))),
                "probabilities": Out(stream.Signature(probability_row_layout(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, v_gains = self.config, self.config.v_gains
        levels = reduction_latency(config.cols)
        block = tiles(config) * config.rows

        first = place(m, platform, "maximum_pass", MaximumPass, config)
        second = place(m, platform, "exponential_pass", ExponentialPass, config)
        third = place(m, platform, "probability_pass", ProbabilityPass, config)
        # Passes are far from each other: where logic is slow, room that one makes takes a cycle to
        # another.
        late = config.slow_logic
        # The largest block, and the rows that set out before the first of it is read.
        m.submodules.score_rows = scores = RowBuffer(
            masked_row_layout(config),
            maximum_layout(config),
            block + levels + 9,
            config.rows,
            late=late,
        )
        m.submodules.exponential_rows = exponentials = RowBuffer(
            exponential_row_layout(config),
            normalizer_layout(config),
            block + levels + 35,
            config.rows,
            late=late,
        )
        # The rows that set out before the first one leaves.
        m.submodules.weight_rows = weights = RowFifo(weight_row_layout(config), 18, late=late)
        m.submodules.probability_rows = probabilities = RowFifo(
            probability_row_layout(config), 13, late=late
        )
        # Two blocks more, so that a block's records may wait for the next block's weights.
        m.submodules.row_records = records = RowFifo(
            row_record_layout(config),
            2 * config.rows + levels + 38,
            # Whether a row completes one is known as late as it has been read.
            spare=RowBuffer.LATENCY,
            late=late,
        )

        connect(m, flipped(self.scores), first.scores)
        connect(m, flipped(self.heads), first.heads)
        connect(m, flipped(self.queries), first.queries)
        connect(m, weights.o, flipped(self.weights))
        connect(m, records.o, flipped(self.records))
        connect(m, probabilities.o, flipped(self.probabilities))

        # Keys go to all that need something of them, in the same cycle.
        takers = [first.keys, second.values]
        if v_gains:
            takers.append(third.values)
        if config.slow_logic:
            # Stores are far from each other: each has a place to wait at before it.
            sinks, takers = takers, []
            for number, sink in enumerate(sinks):
                takers.append(stream.Signature(sink.p.shape()).create(path=(f"taker_{number}",)))
                buffered(m, takers[-1], sink, f"key_{number}")
        for values in takers[1:]:
            m.d.comb += [
                values.p.item.gain.eq(self.keys.p.value_gain),
                values.p.item.narrow.eq(self.keys.p.narrow),
                values.p.last.eq(self.keys.p.last),
            ]
        m.d.comb += [takers[0].p.eq(self.keys.p), self.keys.ready.eq(1)]
        for taker in takers:
            with m.If(~taker.ready):
                m.d.comb += self.keys.ready.eq(0)
        m.d.comb += [taker.valid.eq(self.keys.valid & self.keys.ready) for taker in takers]

        m.d.comb += [
            first.room.eq(scores.room),
            scores.reserve.eq(first.reserve),
            scores.write.eq(first.row_valid),
            scores.row.eq(first.row),
            scores.reduced.eq(first.reduced),
            scores.record.eq(first.record),
            second.i_valid.eq(scores.o_valid),
            second.i.eq(scores.o),
            second.record.eq(scores.record_o),
            exponentials.reserve.eq(scores.read),
            exponentials.write.eq(second.exponentials_valid),
            exponentials.row.eq(second.exponentials),
            exponentials.reduced.eq(second.reduced),
            exponentials.record.eq(second.normalizer),
            third.i_valid.eq(exponentials.o_valid),
            third.i.eq(exponentials.o),
            third.normalizer.eq(exponentials.record_o),
            probabilities.reserve.eq(exponentials.read),
            probabilities.write.eq(third.probabilities_valid),
            probabilities.row.eq(third.probabilities),
            records.reserve.eq(scores.o_valid & scores.o.last_tile),
            records.write.eq(second.row_record_valid),
            records.row.eq(second.row_record),
        ]
        source, reader = (third, exponentials) if v_gains else (second, scores)
        m.d.comb += [
            weights.reserve.eq(reader.read),
            weights.write.eq(source.weights_valid),
            weights.row.eq(source.weights),
        ]
        second_may = scores.ready & exponentials.room & records.room
        third_may = exponentials.ready & probabilities.room
        m.d.comb += [
            scores.read.eq(second_may if v_gains else second_may & weights.room),
            exponentials.read.eq(third_may & weights.room if v_gains else third_may),
        ]
        return m
