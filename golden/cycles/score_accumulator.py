"""Cycle model of the score accumulator: every handshake and payload, every cycle."""

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.tiles import Row

__all__ = ["AccumulatorModel", "ImportanceBeat"]


@dataclass(frozen=True, eq=False)
class ImportanceBeat:
    """Importance of ``lanes`` keys, ``tokens`` of them valid, and how many queries saw them."""

    values: NDArray[np.int64]
    tokens: int
    last: bool
    seen: NDArray[np.int64] | None = None


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
        adding = 1 + config.timing.buffered_counters
        self._adding = deque([False] * adding, maxlen=adding)
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
        if self.config.skip_tiles:
            self._tile = row.tile
        while self._tile >= len(self._sums):
            self._sums.append(np.zeros((2, self.config.cols), dtype=np.int64))
        seen = row.seen if row.seen is not None and self._first_head else np.zeros_like(row.values)
        self._sums[self._tile] = self._sums[self._tile] + np.stack([row.values, seen])
        # The last row block of a head has all its tiles, or the last one.
        if row.last_tile and row.last_block:
            self._tail = row.keys
        if row.last_row:
            self._tile = 0 if row.last_tile else self._tile + 1
            if row.last_tile and row.last_block:
                self._first_head = False
                self._heads_left -= 1
                self._ended = not self._heads_left

    def _leave(self, ready: bool) -> None:
        """Offer the importance of the last run, a word ahead."""
        leaving, buffered = self._leaving, self.config.timing.buffered_counters
        there = self._there if buffered else self._fetched
        take = there and (self.importance is None or (ready and len(self._beats) == 1))
        moves = self._fetched and (not there or take) if buffered else take
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
