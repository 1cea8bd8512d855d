"""Cycle models of softmax unit and score accumulator: every handshake and payload, every cycle."""

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.tiles import Row
from dtqatten.golden.numerics import softmax
from dtqatten.golden.numerics.codes import apply_gain

__all__ = [
    "AccumulatorModel",
    "Buffered",
    "Fifo",
    "HeadFactor",
    "ImportanceBeat",
    "Key",
    "OutputForm",
    "Query",
    "RowRecord",
    "SoftmaxModel",
]

Beat = TypeVar("Beat")


@dataclass(frozen=True)
class Query:
    """A query: token id, gain in 1/256, whether its weights are narrow."""

    id: int
    gain: int
    narrow: bool = False


@dataclass(frozen=True)
class Key:
    """A key: token id, gain, the gain of its value, whether its weights are narrow; ``last``."""

    id: int
    gain: int
    value_gain: int
    narrow: bool
    last: bool


@dataclass(frozen=True)
class OutputForm:
    """Output of a head: 16 bits, or 8-bit ``codes`` of ``2**shift`` times the value."""

    codes: bool = False
    shift: int = 0


@dataclass(frozen=True)
class HeadFactor:
    """A head's factor from scores to exponents, whether its mask is causal, and its output."""

    multiplier: int
    shift: int
    causal: bool
    output: OutputForm = OutputForm()


@dataclass(frozen=True)
class RowRecord:
    """What P x V of a row is divided by."""

    divisor: int
    mantissa: int
    exponent: int
    lead: int
    output: OutputForm
    last_row: bool
    last_block: bool

    @property
    def reciprocal(self) -> "RowRecord":
        """Mantissa and exponent, as the gateware groups them."""
        return self


@dataclass(frozen=True, eq=False)
class ImportanceBeat:
    """Importance of ``lanes`` keys, ``tokens`` of them valid, and how many queries saw them."""

    values: NDArray[np.int64]
    tokens: int
    last: bool
    seen: NDArray[np.int64] | None = None


class _Store:
    """Ring of words that tokens fill; only counts have timing."""

    def __init__(self, lanes: int, slots: int) -> None:
        self.lanes, self.slots = lanes, slots
        self.held = 0
        self.words: deque[list] = deque()
        self._word: list = []

    @property
    def ready(self) -> bool:
        return self.held < self.slots

    def take(self, token: object, *, last: bool) -> None:
        self._word.append(token)
        if last or len(self._word) == self.lanes:
            self.words.append(self._word)
            self._word = []
            self.held += 1

    def free(self, words: int) -> None:
        self.held -= words
        for _ in range(words):
            self.words.popleft()


class Buffered(Generic[Beat]):
    """Two places in a stream: what is offered, and what waits behind it."""

    def __init__(self) -> None:
        self.offered: Beat | None = None
        self._aside: Beat | None = None

    @property
    def ready(self) -> bool:
        """Whether a beat is taken."""
        return self._aside is None

    def clock(self, beat: Beat | None, *, taken: bool) -> None:
        """Pass a clock edge; ``beat`` counts only if ready."""
        waits = self._aside or beat
        if self.offered is None or taken:
            self.offered, self._aside = waits, None
        else:
            self._aside = waits


class Ring:
    """Room that rows reserve early; if ``late`` for a row more, free again a cycle later."""

    def __init__(self, depth: int, *, late: bool = False) -> None:
        self.room = depth + late
        self._freed = deque([False] * late)

    def count(self, *, read: bool) -> None:
        """Pass a clock edge, at which a row may be read."""
        self._freed.append(read)
        self.room += self._freed.popleft()


class Fifo(Ring):
    """Output stream whose room is reserved early; a row of ``t`` is offered from ``t + 2`` on."""

    def __init__(self, depth: int, *, late: bool = False) -> None:
        super().__init__(depth, late=late)
        self.offered: object = None
        self._rows: deque = deque()

    def clock(self, ready: bool) -> None:
        """Pass a clock edge."""
        freed = False
        if self.offered is None or ready:
            self.offered = self._rows.popleft() if self._rows else None
            freed = self.offered is not None
        self.count(read=freed)

    def write(self, row: object) -> None:
        """Take a row whose room has been reserved."""
        self._rows.append(row)


@dataclass(frozen=True, eq=False)
class _Passing:
    """A row of a tile between passes; ``size`` rows have its block if it is the last of them."""

    weights: Row
    probabilities: Row
    record: RowRecord | None
    size: int


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

    def __init__(self, config: Config) -> None:
        self.config, self.v_gains = config, config.v_gains
        self.cycle = 0
        levels = (config.cols - 1).bit_length()
        most_tiles = -(-config.n_max // config.cols)
        block = most_tiles * config.rows
        # Cycles from a row accepted, or read by a pass, to what it causes.
        self._maximum = 8 + levels
        self._sum = 34 + levels
        self._record = 36 + levels
        self._keys = _Store(config.cols, 2 * most_tiles)
        self._queries = _Store(1, 2 * config.rows)
        rings = (3, 4) if self.v_gains else (3,)
        self._values = [_Store(config.cols, n * most_tiles) for n in rings]
        # Those that keys go to; where logic is slow, keys wait before each.
        self._stores = (self._keys, *self._values)
        arriving = self._stores if config.slow_logic else ()
        self._arriving: list[Buffered[Key]] = [Buffered() for _ in arriving]
        late = config.slow_logic
        self._score_ring, self._scores_ready = Ring(block + levels + 9, late=late), 0
        self._exponential_ring, self._exponentials_ready = Ring(block + levels + 35, late=late), 0
        self._score_rows: deque[_Passing] = deque()
        self._exponential_rows: deque[_Passing] = deque()
        self._weights, self._probabilities = Fifo(18, late=late), Fifo(13, late=late)
        self._records = Fifo(2 * config.rows + levels + 38, late=late)
        self._events: dict[int, list[Callable[[], None]]] = defaultdict(list)
        # Place in the head: tile and row; scores and flags of the block so far.
        self._tile = self._row = 0
        self._block: list[tuple[Row, list[Key], Query, HeadFactor]] = []

    @property
    def keys_ready(self) -> bool:
        """Whether a key is taken."""
        return all(taker.ready for taker in self._arriving or self._stores)

    @property
    def queries_ready(self) -> bool:
        """Whether a query is taken."""
        return self._queries.ready

    @property
    def weights(self) -> Row | None:
        """The row of weights on offer."""
        return self._weights.offered  # type: ignore[return-value]

    @property
    def probabilities(self) -> Row | None:
        """The row of probabilities on offer."""
        return self._probabilities.offered  # type: ignore[return-value]

    @property
    def records(self) -> RowRecord | None:
        """The record on offer."""
        return self._records.offered  # type: ignore[return-value]

    def scores_ready(self, heads: HeadFactor | None) -> bool:
        """Whether a score row is taken, ``heads`` being offered."""
        return (
            heads is not None
            and self._score_ring.room > 0
            and self._keys.held > self._tile
            and self._queries.held > self._row
        )

    def heads_ready(self, scores: Row | None, heads: HeadFactor | None) -> bool:
        """Whether a head's factor is taken, with the last row of its scores."""
        if scores is None or not self.scores_ready(heads):
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
    ) -> None:
        """Pass a clock edge.

        Parameters
        ----------
        scores, heads, queries, keys
            What is valid at the inputs; taken if ready.
        weights_ready, records_ready, probabilities_ready : bool
            The consumers take a beat.
        """
        accept = scores is not None and self.scores_ready(heads)
        second = (
            self._scores_ready > 0
            and self._exponential_ring.room > 0
            and self._records.room > 6
            and (self.v_gains or self._weights.room > 0)
        )
        third = (
            self._exponentials_ready > 0
            and self._probabilities.room > 0
            and (not self.v_gains or self._weights.room > 0)
        )
        key = keys if self.keys_ready else None
        takes_query = self.queries_ready
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
        if accept:
            assert scores is not None
            assert heads is not None
            self._accept(scores, heads)
        if second:
            self._exponentiate()
        if third:
            self._normalize()
        for store, token in zip(self._stores, arrived, strict=True):
            if token is not None:
                store.take(token, last=token.last)
        if queries is not None and takes_query:
            self._queries.take(queries, last=False)
        for event in self._events.pop(self.cycle, ()):
            event()
        self.cycle += 1

    def _after(self, cycles: int, event: Callable[[], None]) -> None:
        self._events[self.cycle + cycles].append(event)

    def _accept(self, row: Row, head: HeadFactor) -> None:
        self._score_ring.room -= 1
        query = self._queries.words[self._row][0]
        self._block.append((row, self._keys.words[self._tile], query, head))
        self._row += 1
        if not row.last_row:
            return
        if row.last_tile:
            passing = self._compute()
            self._queries.free(self._row)
            if row.last_block:
                self._keys.free(self._tile + 1)
            self._block, self._tile = [], -1

            def complete() -> None:
                self._scores_ready += len(passing)
                self._score_rows.extend(passing)

            self._after(self._maximum, complete)
        self._row = 0
        self._tile += 1

    def _compute(self) -> list[_Passing]:
        """Compute all of the row block that has just been completed."""
        rows, block = self._row, self._block
        tiles = [block[at : at + rows] for at in range(0, len(block), rows)]
        edges = np.cumsum([0, *(tile[0][0].keys for tile in tiles)])
        keys = [key for tile in tiles for key in tile[0][1][: tile[0][0].keys]]
        scores = np.concatenate([[r.values[: r.keys] for r, *_ in tile] for tile in tiles], axis=1)
        queries, head = [query for _, _, query, _ in tiles[0]], block[0][3]
        ids = np.array([key.id for key in keys]), np.array([query.id for query in queries])
        seen = softmax.causal_mask(ids[1], ids[0]) if head.causal else np.ones(scores.shape, bool)
        t, _ = softmax.exponent(
            apply_gain(scores, np.array([key.gain for key in keys])),
            apply_gain(head.multiplier, np.array([query.gain for query in queries])),
            np.array(head.shift),
            seen,
        )
        e16 = softmax.exponential(t, seen)
        gains = np.array([key.value_gain for key in keys]) if self.v_gains else None
        bits = np.array([4 if key.narrow else 8 for key in keys])
        query_bits = np.array([4 if query.narrow else 8 for query in queries])
        narrowed = softmax.narrow(
            e16[None], gains, planes=self.config.planes, bits=bits, query_bits=query_bits
        )
        weights, lead, divisor = narrowed.p[0], narrowed.lead[0], narrowed.divisor[0]
        probability = softmax.normalized(e16)
        mantissa, exponent = softmax.reciprocal(divisor)
        passing = []
        for number, tile in enumerate(tiles):
            for at, (row, *_) in enumerate(tile):
                place = (row.keys, row.last_row, row.last_tile, row.last_block)
                span = slice(edges[number], edges[number + 1])
                padding = (0, self.config.cols - row.keys)
                record = RowRecord(
                    int(divisor[at]),
                    int(mantissa[at]),
                    int(exponent[at]),
                    int(lead[at]),
                    head.output,
                    row.last_row,
                    row.last_block,
                )
                passing.append(
                    _Passing(
                        Row(
                            np.pad(weights[at, span], padding),
                            *place,
                            narrow=queries[at].narrow,
                        ),
                        Row(
                            np.pad(probability[at, span], padding),
                            *place,
                            np.pad(seen[at, span], padding)
                            if self.config.count_normalize
                            else None,
                        ),
                        record if row.last_tile else None,
                        len(block) if row.last_tile and row.last_row else 0,
                    )
                )
        return passing

    def _exponentiate(self) -> None:
        """Let the second pass read a row."""
        row = self._score_rows.popleft()
        self._scores_ready -= 1
        self._exponential_ring.room -= 1
        self._exponential_rows.append(row)
        if not self.v_gains:
            self._weights.room -= 1
            self._after(16, lambda: self._weights.write(row.weights))
        if row.record is not None:
            self._after(6, self._reserve_record)
            self._after(self._record, lambda: self._records.write(row.record))
        if row.size:

            def complete() -> None:
                self._exponentials_ready += row.size

            self._after(self._sum, complete)
            self._release_values(row, 0, 12)

    def _reserve_record(self) -> None:
        self._records.room -= 1

    def _normalize(self) -> None:
        """Let the third pass read a row."""
        row = self._exponential_rows.popleft()
        self._exponentials_ready -= 1
        self._probabilities.room -= 1
        self._after(11, lambda: self._probabilities.write(row.probabilities))
        if self.v_gains:
            self._weights.room -= 1
            self._after(11, lambda: self._weights.write(row.weights))
            self._release_values(row, 1, 6)

    def _release_values(self, row: _Passing, store: int, cycles: int) -> None:
        """Free the head's values in a pass's store, once its last row has read them."""
        if row.size and row.weights.last_block:
            values = self._values[store]

            def free() -> None:
                # The head's words end with the first part-filled or marked one.
                count = next(i for i, word in enumerate(values.words) if word[-1].last) + 1
                values.free(count)

            self._after(cycles, free)


class AccumulatorModel:
    """Predict :class:`dtqatten.hw.ranking.score_accumulator.ScoreAccumulator` on every clock edge.

    Between two calls of :meth:`clock` the attributes hold what the ports show in that cycle.

    Parameters
    ----------
    config : Config

    Attributes
    ----------
    cycle : int
        Cycles since reset.
    importance : ImportanceBeat or None
        The beat on offer; its lanes past ``tokens`` have no meaning.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.lanes = config.importance_lanes
        self.cycle = 0
        self.importance: ImportanceBeat | None = None
        self._heads_left = 0
        self._ended = self._first_head = False
        # Rows under way: whether one came in each of the last cycles, the latest first.
        self._adding = deque([False] * (1 + config.slow_logic), maxlen=1 + config.slow_logic)
        self._tile = 0
        # Of a tile: its sums, and how many queries saw each key.
        self._sums: list[NDArray[np.int64]] = []
        self._tail = 0
        # What leaves: words of the last run, those not fetched, the word that was, that in the
        # register behind it where there is one, beats of the one on offer.
        self._held: deque[NDArray[np.int64]] = deque()
        self._held_tail = self._unfetched = 0
        self._leaving = self._fetched = self._there = False
        self._beats: deque[ImportanceBeat] = deque()

    @property
    def runs_ready(self) -> bool:
        """Whether a run is taken."""
        return not self._heads_left and not self._ended

    @property
    def probabilities_ready(self) -> bool:
        """Whether a row is taken."""
        return self._heads_left > 0

    def clock(self, heads: int | None, probabilities: Row | None, importance_ready: bool) -> None:
        """Pass a clock edge with what is valid at the inputs, taken if ready.

        Parameters
        ----------
        heads : int, optional
            Heads of the run that is offered.
        probabilities : Row, optional
        importance_ready : bool
            The consumer takes a beat.
        """
        swap = self._ended and not self._leaving and not any(self._adding)
        self._adding.appendleft(probabilities is not None and self.probabilities_ready)
        starts = heads is not None and self.runs_ready
        if probabilities is not None and self.probabilities_ready:
            self._add(probabilities)
        self._leave(importance_ready)
        if swap:
            self._ended, self._leaving = False, True
            self._held, self._held_tail = deque(self._sums), self._tail
            self._unfetched = len(self._held)
        if starts:
            assert heads is not None
            self._heads_left, self._first_head, self._sums = heads, True, []
        self.cycle += 1

    def _add(self, row: Row) -> None:
        if self._tile == len(self._sums):
            self._sums.append(np.zeros((2, self.config.cols), dtype=np.int64))
        seen = row.seen if row.seen is not None and self._first_head else np.zeros_like(row.values)
        self._sums[self._tile] = self._sums[self._tile] + np.stack([row.values, seen])
        if row.last_tile:
            self._tail = row.keys
        if row.last_row:
            self._tile = 0 if row.last_tile else self._tile + 1
            if row.last_tile and row.last_block:
                self._first_head = False
                self._heads_left -= 1
                self._ended = not self._heads_left

    def _leave(self, ready: bool) -> None:
        """Offer the importance of the last run, a word ahead."""
        leaving, slow = self._leaving, self.config.slow_logic
        there = self._there if slow else self._fetched
        take = there and (self.importance is None or (ready and len(self._beats) == 1))
        moves = self._fetched and (not there or take) if slow else take
        if self.importance is not None and ready:
            self._leaving = not self.importance.last
            self._beats.popleft()
        fetch = leaving and (not self._fetched or moves) and self._unfetched > 0
        if take:
            word = self._held.popleft()
            final = not self._held
            count = self._held_tail if final else self.config.cols
            for left in range(0, count, self.lanes):
                tokens = min(self.lanes, count - left)
                last = final and left + self.lanes >= count
                values, seen = word[:, left : left + self.lanes]
                self._beats.append(ImportanceBeat(values, tokens, last, seen))
        self._unfetched -= fetch
        self._fetched = fetch or (self._fetched and not moves)
        self._there = moves or (self._there and not take)
        self.importance = self._beats[0] if self._beats else None
