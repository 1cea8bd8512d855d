"""Cycle model of the softmax unit: every handshake and payload, every cycle."""

from collections import defaultdict, deque
from collections.abc import Callable

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.rings import BiasBanks, Buffered, Fifo, Ring, TokenStore
from dtqatten.golden.cycles.row_block import PassingRow, ScoredRow, passing_rows, verdict
from dtqatten.golden.cycles.softmax_beats import Bias, HeadFactor, Key, Query, RowRecord, Verdict
from dtqatten.golden.cycles.tiles import Row

__all__ = ["SoftmaxModel"]


class SoftmaxModel:
    """Predict :class:`dtqatten.hw.softmax.softmax.Softmax` on every clock edge.

    Between two calls of :meth:`clock` the attributes hold what the ports show in that cycle.
    Bit-exact and cycle-exact for every pattern of ``valid`` and ``ready``.

    Parameters
    ----------
    config : Config

    Attributes
    ----------
    cycle : int
        Cycles since reset.
    """

    # Cycles from a row accepted by the first pass to its maximum; from one read by the second pass
    # to its sum, inverted, and to its record being written. Each beside a cycle for every level of
    # the tree over a row's lanes; a sink joins sum and divisor in a cycle more.
    MAXIMUM = 8
    SUM, RECORD = 34, 36
    # Of a record's cycles, those that invert its divisor.
    INVERTED = 18
    # Cycles from a trial's last row read to the verdict on it, beside the levels of the tree.
    VERDICT = 16
    # Cycles from a row read to it being there, when its record is reserved.
    READ = 6
    # Cycles from a row read to what leaves being written: weights of the second pass, and what the
    # third one makes.
    WEIGHTS = 16
    PROBABILITIES = 11
    # Cycles from a head's last row read to its values being free, in the second pass's store and
    # in the third one's.
    VALUES_FREE = (12, 6)
    # Cycles that biases take before a row's maximum, and from a head's last row to there being room
    # for the biases of another one.
    BIAS, BIASES_FREE = 7, 10
    # Rows that rings hold beside the largest block: those that set out before its first is read,
    # again beside the levels of the tree, and with sinks a row more of exponentials and records.
    SCORE_RING = 9
    EXPONENTIAL_RING = 35
    # Rows that outputs hold: those that set out before the first one is offered; of records, beside
    # the levels of the tree and two row blocks, also those whose reservation is still to come.
    WEIGHT_RING = 18
    PROBABILITY_RING = 13
    RECORD_RING = 38

    def __init__(self, config: Config) -> None:
        self.config, self.v_gains = config, config.v_gains
        self.cycle = 0
        levels = (config.cols - 1).bit_length()
        most_tiles = -(-config.n_max // config.cols)
        block = most_tiles * config.rows
        octaves = self.BIAS if config.bias_heads else 0
        self._maximum = self.MAXIMUM + octaves + levels
        self._biases = BiasBanks()
        self._verdict = self.VERDICT + levels
        self._sum = self.SUM + levels + config.sinks
        # Where rows can be merged, divisors are inverted behind that, and take sinks there.
        early = -self.INVERTED if config.merge_rows else config.sinks
        self._record = self.RECORD + levels + early
        self._keys = TokenStore(config.cols, 2 * most_tiles)
        # Where tiles are skipped, their planner knows queries long before their first row comes.
        self._queries = TokenStore(1, (4 if config.skip_tiles else 2) * config.rows)
        rings = (3, 4) if self.v_gains else (3,)
        self._values = [TokenStore(config.cols, n * most_tiles) for n in rings]
        # Those that keys go to; where ways are long, keys wait before each.
        self._stores = (self._keys, *self._values)
        arriving = self._stores if config.timing.buffered_keys else ()
        self._arriving: list[Buffered[Key]] = [Buffered() for _ in arriving]
        late = config.timing.late_rings
        self._score_ring = Ring(block + levels + octaves + self.SCORE_RING, late=late)
        self._exponential_ring = Ring(
            block + levels + config.sinks + self.EXPONENTIAL_RING, late=late
        )
        # Rows that may be read.
        self._scores_ready = self._exponentials_ready = 0
        self._score_rows: deque[PassingRow] = deque()
        self._exponential_rows: deque[PassingRow] = deque()
        self._weights: Fifo[Row] = Fifo(self.WEIGHT_RING, late=late)
        self._probabilities: Fifo[Row] = Fifo(self.PROBABILITY_RING, late=late)
        records = 2 * config.rows + levels + early + self.RECORD_RING
        self._records: Fifo[RowRecord] = Fifo(records, late=late)
        self._events: dict[int, list[Callable[[], None]]] = defaultdict(list)
        # Place in the head: tile and row; scores and flags of the block so far.
        self._tile = self._row = 0
        self._block: list[ScoredRow] = []
        # Whether the row block comes again; rows of a trial that waits; those of it still to be
        # read, and what will be told of them; whether anything behind a trial waits.
        self._again = False
        self._waiting = self._trying = 0
        self._found: Verdict | None = None
        self._closed = False
        self.verdicts: Verdict | None = None

    @property
    def keys_ready(self) -> bool:
        """Whether a key is taken."""
        return all(taker.ready for taker in self._arriving or self._stores)

    @property
    def queries_ready(self) -> bool:
        """Whether a query is taken."""
        return self._queries.ready

    @property
    def biases_ready(self) -> bool:
        """Whether a bias is taken."""
        return self._biases.ready

    @property
    def weights(self) -> Row | None:
        """The row of weights on offer."""
        return self._weights.offered

    @property
    def probabilities(self) -> Row | None:
        """The row of probabilities on offer."""
        return self._probabilities.offered

    @property
    def records(self) -> RowRecord | None:
        """The record on offer."""
        return self._records.offered

    def scores_ready(self, heads: HeadFactor | None) -> bool:
        """Whether a score row is taken, ``heads`` being offered."""
        return (
            heads is not None
            and not self._closed
            and self._score_ring.room > 0
            and (self._keys.complete if self.config.skip_tiles else self._keys.held > self._tile)
            and self._queries.held > self._row
            and (not heads.biased or len(self._biases.heads) > 0)
        )

    def heads_ready(self, scores: Row | None, heads: HeadFactor | None) -> bool:
        """Whether a head's factor is taken, with the last row of its scores."""
        if scores is None or not self.scores_ready(heads):
            return False
        assert heads is not None
        if heads.progressive and not self._again:
            return False
        return scores.last_row and scores.last_tile and scores.last_block

    def clock(
        self,
        scores: Row | None,
        heads: HeadFactor | None,
        queries: Query | None,
        keys: Key | None,
        *,
        weights_ready: bool,
        records_ready: bool,
        probabilities_ready: bool,
        verdicts_ready: bool = False,
        biases: Bias | None = None,
    ) -> None:
        """Pass a clock edge.

        Parameters
        ----------
        scores, heads, queries, keys
            What is valid at the inputs; taken if ready.
        weights_ready, records_ready, probabilities_ready, verdicts_ready : bool
            The consumers take a beat.
        biases : Bias, optional
            As the other inputs.
        """
        accept = scores is not None and self.scores_ready(heads)
        second = self._scores_ready > 0 and (
            self._trying > 0
            or (
                self._exponential_ring.room > 0
                and self._records.room > self.READ
                and (self.v_gains or self._weights.room > 0)
            )
        )
        begins = self._waiting > 0 and self._scores_ready == 0 and self.verdicts is None
        third = (
            self._exponentials_ready > 0
            and self._probabilities.room > 0
            and (not self.v_gains or self._weights.room > 0)
        )
        key = keys if self.keys_ready else None
        takes_query = self.queries_ready
        bias = biases if self.biases_ready else None
        arrived = [key] * len(self._stores)
        for number, arriving in enumerate(self._arriving):
            taken = self._stores[number].ready
            arrived[number] = arriving.offered if taken else None
            arriving.clock(key, taken=taken)
        self._score_ring.count(read=second)
        self._exponential_ring.count(read=third)
        self._weights.clock(weights_ready)
        self._records.clock(records_ready)
        self._probabilities.clock(probabilities_ready)
        if verdicts_ready:
            self.verdicts = None
        if accept:
            assert scores is not None
            assert heads is not None
            self._accept(scores, heads)
        if second:
            if self._trying:
                self._judge()
            else:
                self._exponentiate()
        if third:
            self._normalize()
        if begins:
            self._scores_ready = self._trying = self._waiting
            self._waiting = 0
        for store, token in zip(self._stores, arrived, strict=True):
            if token is not None:
                store.take(token, last=token.last)
        if queries is not None and takes_query:
            self._queries.take(queries, last=False)
        if bias is not None:
            self._biases.take(bias.bias, last=bias.last, head=bias.head)
        for event in self._events.pop(self.cycle, ()):
            event()
        self.cycle += 1

    def _after(self, cycles: int, event: Callable[[], None]) -> None:
        self._events[self.cycle + cycles].append(event)

    def _accept(self, row: Row, head: HeadFactor) -> None:
        self._score_ring.room -= 1
        query = self._queries.words[self._row][0]
        tile = row.tile if self.config.skip_tiles else self._tile
        biases = [0] * row.keys
        if head.biased:
            member = query.member if self.config.bias_heads > 1 else 0
            biases = self._biases.heads[0][member][tile * self.config.cols :][: row.keys]
        self._block.append(ScoredRow(row, self._keys.words[tile], query, head, biases))
        self._row += 1
        if not row.last_row:
            return
        if row.last_tile:
            self._complete(last=row.last_block)
            self._block, self._tile = [], -1
        self._row = 0
        self._tile += 1

    def _complete(self, *, last: bool) -> None:
        """Let a row block, the head's last or not, go on to the second pass."""
        self._again = self._block[0].head.progressive and not self._again
        if self._again:
            self._found, self._closed = verdict(self.config, self._block, self._row), True
            size = len(self._block)

            def wait() -> None:
                self._waiting = size

            self._after(self._maximum, wait)
            return
        passing = passing_rows(self.config, self._block, self._row)
        self._queries.free(self._row)
        if last:
            self._keys.free_sequence()
            if self._block[0].head.biased:
                self._biases.heads.popleft()
                self._after(self.BIASES_FREE, self._biases.free)

        def complete() -> None:
            self._scores_ready += len(passing)
            self._score_rows.extend(passing)

        self._after(self._maximum, complete)

    def _judge(self) -> None:
        """Let the second pass read a row of a trial, of which it makes a sum."""
        self._scores_ready -= 1
        self._trying -= 1
        if self._trying:
            return

        def tell() -> None:
            self.verdicts, self._closed = self._found, False

        self._after(self._verdict, tell)

    def _exponentiate(self) -> None:
        """Let the second pass read a row."""
        row = self._score_rows.popleft()
        self._scores_ready -= 1
        self._exponential_ring.room -= 1
        self._exponential_rows.append(row)
        if not self.v_gains:
            self._weights.room -= 1
            self._after(self.WEIGHTS, lambda: self._weights.write(row.weights))
        record = row.record
        if record is not None:
            self._after(self.READ, self._reserve_record)
            self._after(self._record, lambda: self._records.write(record))
        if row.size:

            def complete() -> None:
                self._exponentials_ready += row.size

            self._after(self._sum, complete)
            self._release_values(row, 0)

    def _reserve_record(self) -> None:
        self._records.room -= 1

    def _normalize(self) -> None:
        """Let the third pass read a row."""
        row = self._exponential_rows.popleft()
        self._exponentials_ready -= 1
        self._probabilities.room -= 1
        self._after(self.PROBABILITIES, lambda: self._probabilities.write(row.probabilities))
        if self.v_gains:
            self._weights.room -= 1
            self._after(self.PROBABILITIES, lambda: self._weights.write(row.weights))
            self._release_values(row, 1)

    def _release_values(self, row: PassingRow, store: int) -> None:
        """Free the head's values in a pass's store, once its last row has read them."""
        if row.size and row.weights.last_block:
            self._after(self.VALUES_FREE[store], self._values[store].free_sequence)
