"""The softmax unit: scores in, weights, divisors and probabilities out, in three passes."""

from typing import Any

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import Config
from dtqatten.hw.base.export import place
from dtqatten.hw.base.row_ring import RowFifo
from dtqatten.hw.base.skid import buffered
from dtqatten.hw.payloads.arrays import score_row_layout
from dtqatten.hw.payloads.octaves import bias_layout
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
    verdict_layout,
    weight_row_layout,
)
from dtqatten.hw.softmax.exponential_pass import ExponentialPass
from dtqatten.hw.softmax.gained_exponential_pass import GainedExponentialPass
from dtqatten.hw.softmax.gained_probability_pass import GainedProbabilityPass
from dtqatten.hw.softmax.maximum_pass import MaximumPass
from dtqatten.hw.softmax.plain_exponential_pass import PlainExponentialPass
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

    With sinks records and probabilities come a cycle later, and with V gains weights do. Where keys
    can have biases all come 7 cycles later.

    Scores of a progressive head come twice, first as a trial: its rows are summed alone, and
    ``verdicts`` tells how many are flat: ``2*L + 27`` cycles after the trial's last row of ``n``
    and ``n - 1`` more, if all before it has been read. What comes next waits for that.

    A row that sees no key has weights, divisor, reciprocal and probabilities 0, with a sink too.

    Parameters
    ----------
    config : Config
        Of the array whose scores these are.

    Members
    -------
    scores : In(stream.Signature(score_row_layout(config)))
        Score rows.
    heads : In(stream.Signature(head_layout(config)))
        Factor and mask of each head; taken with its last score row.
    queries : In(stream.Signature(query_layout(config)))
        The queries of each head; two row blocks are held, four with ``skip_tiles``.
    keys : In(stream.Signature(key_layout(config)))
        The keys of each head, once; two heads are held, and with ``buffered_keys`` two keys
        more.
    biases : In(stream.Signature(bias_layout()))
        With ``bias_heads``: of heads that are ``biased`` the biases of all keys, for one query head
        after the other; two heads are held, and rows wait for all of their head's.
    weights : Out(stream.Signature(weight_row_layout(config)))
        Rows of P for P x V.
    records : Out(stream.Signature(row_record_layout(config)))
        Divisor, its reciprocal and ``lead`` of each row.
    probabilities : Out(stream.Signature(probability_row_layout(config)))
        Rows of 16-bit probabilities, for the importance.
    verdicts : Out(stream.Signature(verdict_layout(config)))
        Where heads can be progressive: one a trial. Another one waits until it has been taken.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "scores": In(stream.Signature(score_row_layout(config))),
                "heads": In(stream.Signature(head_layout(config))),
                "queries": In(stream.Signature(query_layout(config))),
                "keys": In(stream.Signature(key_layout(config))),
                "weights": Out(stream.Signature(weight_row_layout(config))),
                "records": Out(stream.Signature(row_record_layout(config))),
                "probabilities": Out(stream.Signature(probability_row_layout(config))),
            }
            | (
                {"verdicts": Out(stream.Signature(verdict_layout(config)))}
                if config.progressive
                else {}
            )
            | ({"biases": In(stream.Signature(bias_layout()))} if config.bias_heads else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, v_gains = self.config, self.config.v_gains
        first = place(m, platform, "maximum_pass", MaximumPass, config)
        second = place(
            m,
            platform,
            "exponential_pass",
            GainedExponentialPass if v_gains else PlainExponentialPass,
            config,
        )
        third = place(
            m,
            platform,
            "probability_pass",
            GainedProbabilityPass if v_gains else ProbabilityPass,
            config,
        )
        connect(m, flipped(self.scores), first.scores)
        connect(m, flipped(self.heads), first.heads)
        connect(m, flipped(self.queries), first.queries)
        if config.bias_heads:
            connect(m, flipped(self.biases), first.biases)
        self._spread_keys(
            m, first.keys, [second.values, third.values] if v_gains else [second.values]
        )

        scores = self._score_ring(m, first, second)
        exponentials = self._exponential_ring(m, scores, second, third)
        weights = self._weight_ring(m, *((exponentials, third) if v_gains else (scores, second)))
        probabilities = self._probability_ring(m, exponentials, third)
        records = self._record_ring(m, scores, second)
        # A pass reads a row when there is room for all that the row becomes.
        second_may = scores.ready & exponentials.room & records.room
        if not v_gains:
            second_may &= weights.room
        if config.progressive:
            # Nothing comes of a trial's rows but the verdict.
            second_may = (scores.ready & scores.trying) | second_may
        third_may = exponentials.ready & probabilities.room
        m.d.comb += [
            scores.read.eq(second_may),
            exponentials.read.eq(third_may & weights.room if v_gains else third_may),
        ]
        return m

    @property
    def _late(self) -> bool:
        """Whether the room that a pass makes takes a cycle to another one, which is far."""
        return self.config.timing.late_rings

    def _spread_keys(self, m: Module, keys: Any, values: list[Any]) -> None:
        """Give keys to all that need something of them, in the same cycle."""
        takers = [keys, *values]
        if self.config.timing.buffered_keys:
            # Stores are far from each other: each has a place to wait at before it.
            sinks, takers = takers, []
            for number, sink in enumerate(sinks):
                takers.append(stream.Signature(sink.p.shape()).create(path=(f"taker_{number}",)))
                buffered(m, takers[-1], sink, f"key_{number}")
        for taker in takers[1:]:
            m.d.comb += [
                taker.p.item.gain.eq(self.keys.p.value_gain),
                taker.p.item.narrow.eq(self.keys.p.narrow),
                taker.p.last.eq(self.keys.p.last),
            ]
        m.d.comb += [takers[0].p.eq(self.keys.p), self.keys.ready.eq(1)]
        for taker in takers:
            with m.If(~taker.ready):
                m.d.comb += self.keys.ready.eq(0)
        m.d.comb += [taker.valid.eq(self.keys.valid & self.keys.ready) for taker in takers]

    def _score_ring(self, m: Module, first: Any, second: Any) -> RowBuffer:
        """Add the rows between first and second pass.

        The largest block, and the rows that set out before its first one is read.
        """
        config = self.config
        m.submodules.score_rows = ring = RowBuffer(
            masked_row_layout(config),
            maximum_layout(config),
            self._block + MaximumPass.latency(config) + RowBuffer.READY,
            config.rows,
            late=self._late,
            tries=config.progressive,
        )
        if config.progressive:
            self._try(m, first, second, ring)
        else:
            m.d.comb += first.room.eq(ring.room)
        m.d.comb += [
            ring.reserve.eq(first.reserve),
            ring.write.eq(first.row_valid),
            ring.row.eq(first.row),
            ring.reduced.eq(first.reduced),
            ring.record.eq(first.record),
            second.i_valid.eq(ring.o_valid),
            second.i.eq(ring.o),
            second.record.eq(ring.record_o),
        ]
        return ring

    def _try(self, m: Module, first: Any, second: Any, ring: RowBuffer) -> None:
        """Let nothing in behind a trial until its verdict is known."""
        waits = Signal(name="verdict_waits")
        with m.If(second.given):
            m.d.sync += waits.eq(0)
        with m.If(first.tried):
            m.d.sync += waits.eq(1)
        m.d.comb += [
            first.room.eq(ring.room & ~waits),
            ring.trial.eq(first.trial_reduced),
            ring.free.eq(~second.verdicts.valid),
            ring.tried.eq(second.given),
            # The head is offered until its last row, so behind the verdict.
            second.flat_sum.eq(self.heads.p.flat_sum),
        ]
        connect(m, second.verdicts, flipped(self.verdicts))

    def _leaves(self, rows: RowBuffer) -> Value:
        """Return whether what is read for the second pass leaves it."""
        return rows.read & ~rows.trying if rows.tries else rows.read

    def _exponential_ring(self, m: Module, scores: RowBuffer, second: Any, third: Any) -> RowBuffer:
        """Add the rows between second and third pass: as many as between those before them."""
        config = self.config
        m.submodules.exponential_rows = ring = RowBuffer(
            exponential_row_layout(config),
            normalizer_layout(config),
            self._block
            + RowBuffer.LATENCY
            + ExponentialPass.reduced_latency(config)
            + RowBuffer.READY,
            config.rows,
            late=self._late,
        )
        m.d.comb += [
            ring.reserve.eq(self._leaves(scores)),
            ring.write.eq(second.exponentials_valid),
            ring.row.eq(second.exponentials),
            ring.reduced.eq(second.reduced),
            ring.record.eq(second.normalizer),
            third.i_valid.eq(ring.o_valid),
            third.i.eq(ring.o),
            third.normalizer.eq(ring.record_o),
        ]
        return ring

    def _weight_ring(self, m: Module, rows: RowBuffer, source: Any) -> RowFifo:
        """Add the weights that leave: those that set out before the first one is offered.

        As deep for the third pass, which is shorter.
        """
        config = self.config
        m.submodules.weight_rows = ring = RowFifo(
            weight_row_layout(config),
            RowBuffer.LATENCY + PlainExponentialPass.WEIGHTS + RowFifo.LATENCY,
            late=self._late,
        )
        m.d.comb += [
            ring.reserve.eq(self._leaves(rows)),
            ring.write.eq(source.weights_valid),
            ring.row.eq(source.weights),
        ]
        connect(m, ring.o, flipped(self.weights))
        return ring

    def _probability_ring(self, m: Module, exponentials: RowBuffer, third: Any) -> RowFifo:
        """Add the probabilities that leave: those that set out before the first one is offered."""
        config = self.config
        m.submodules.probability_rows = ring = RowFifo(
            probability_row_layout(config),
            RowBuffer.LATENCY + ProbabilityPass.LATENCY + RowFifo.LATENCY,
            late=self._late,
        )
        m.d.comb += [
            ring.reserve.eq(exponentials.read),
            ring.write.eq(third.probabilities_valid),
            ring.row.eq(third.probabilities),
        ]
        connect(m, ring.o, flipped(self.probabilities))
        return ring

    def _record_ring(self, m: Module, scores: RowBuffer, second: Any) -> RowFifo:
        """Add the records that leave.

        Those that set out before the first one is offered, and two blocks more, so that a block's
        records may wait for the next block's weights. Whether a row completes a record is known
        only when it has been read, so that as many may be under way unreserved.
        """
        config = self.config
        m.submodules.row_records = ring = RowFifo(
            row_record_layout(config),
            2 * config.rows
            + RowBuffer.LATENCY
            + ExponentialPass.record_latency(config)
            + RowFifo.LATENCY,
            spare=RowBuffer.LATENCY,
            late=self._late,
        )
        completes = scores.o_valid & scores.o.last_tile
        if config.progressive:
            completes &= ~scores.o.trial
        m.d.comb += [
            ring.reserve.eq(completes),
            ring.write.eq(second.row_record_valid),
            ring.row.eq(second.row_record),
        ]
        connect(m, ring.o, flipped(self.records))
        return ring

    @property
    def _block(self) -> int:
        """Rows of the largest row block, all tiles counted."""
        return tiles(self.config) * self.config.rows
