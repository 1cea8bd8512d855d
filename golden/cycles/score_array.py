"""Cycle model of the score array: every accumulator, stall, handshake and counter, every cycle."""

from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import BANKS, Config
from dtqatten.golden.cycles.grid import GridModel
from dtqatten.golden.cycles.score_buffer import ScoreBuffer
from dtqatten.golden.cycles.tile_costs import START_INTERVAL
from dtqatten.golden.cycles.tiles import Beat, Edge, Row, Step, Visit, tile_steps

__all__ = ["ArrayModel"]


class _Loader:
    """Collect a load stream into banks of edges, two of which are held."""

    def __init__(self, config: Config, lanes: int, hops: int, tiles: int) -> None:
        self.lanes, self.hops, self.tiles = lanes, hops, tiles
        self.nibbles, self.words, self.channels = config.load_nibbles, config.words, config.d_head
        # Banks that are not free, and those of them that some lane still reads; each is given back
        # from a cycle on.
        self.used = self.unsettled = 0
        self.freed: deque[int] = deque()
        self.settled: deque[int] = deque()
        # A tile that is complete but for the last reads of what was in its place.
        self._ending: Edge | None = None
        self._bank: list[Edge] = []
        self._planes = np.zeros((2, lanes, self.channels), dtype=np.int8)
        self._wide: list[bool] = []
        self._low = self._word = 0

    @property
    def ready(self) -> bool:
        return self.used < BANKS and self._ending is None

    def release(self, step_cycle: int) -> None:
        """Free the bank that the step in ``step_cycle`` reads last, hop after hop."""
        self.freed.append(step_cycle + 2)
        self.settled.append(step_cycle + self.hops + 2)

    def clock(self, cycle: int, beat: Beat | None) -> list[Edge] | None:
        """Take a beat in ``cycle`` and return the bank's edges if they are complete by then."""
        if beat is not None:
            self._ending = self._load(beat)
            self.used += self._ending is not None and self._ends_bank(self._ending)
        bank = self._end() if self.unsettled < BANKS else None
        while self.freed and self.freed[0] == cycle + 1:
            self.freed.popleft()
            self.used -= 1
        while self.settled and self.settled[0] == cycle + 1:
            self.settled.popleft()
            self.unsettled -= 1
        return bank

    def _ends_bank(self, edge: Edge) -> bool:
        return edge.last or self.tiles == 1

    def _end(self) -> list[Edge] | None:
        """End the tile that is complete; return the bank's edges if it is the last one."""
        edge, self._ending = self._ending, None
        if edge is None:
            return None
        self._bank.append(edge)
        if not self._ends_bank(edge):
            return None
        bank, self._bank = self._bank, []
        self.unsettled += 1
        return bank

    def _load(self, beat: Beat) -> Edge | None:
        """Take a beat; return the tile that it completes."""
        at = self._word * self.nibbles
        self._planes[self._low, len(self._wide), at : at + self.nibbles] = beat.nibbles
        self._word += 1
        if self._word < self.words:
            return None
        self._word = 0
        if beat.wide and not self._low:
            self._low = 1
            return None
        self._low = 0
        self._wide.append(beat.wide)
        if len(self._wide) < self.lanes and not beat.last:
            return None
        count = len(self._wide)
        wide = np.zeros(self.lanes, dtype=bool)
        wide[:count] = self._wide
        edge = Edge(self._planes, np.arange(self.lanes) < count, wide, beat.last)
        self._planes, self._wide = np.zeros_like(self._planes), []
        return edge


class ArrayModel:
    """Predict :class:`dtqatten.hw.arrays.score_array.ScoreArray`, monitored, on every clock edge.

    Between two calls of :meth:`clock` the attributes hold what the ports show in that cycle.
    Bit-exact and cycle-exact for every pattern of ``valid`` and ``ready``.

    Parameters
    ----------
    config : Config
    observed : bool
        Follow what the monitored array shows of its PEs.

    Attributes
    ----------
    cycle : int
        Cycles since reset.
    q_ready, k_ready : bool
    scores : Row or None
        The row on offer.
    acc : array of int64, [rows, cols]
        Accumulators.
    busy, stalled : array of bool, [rows, cols]
    busy_cycles, stall_cycles : array of int64, [rows, cols]
    steps, tiles, mixed_tiles : int
        Counters.
    """

    # Cycles from a bank's last beat to the first in which a tile of it may start.
    BANK_DESCRIBED = 3

    def __init__(self, config: Config, *, observed: bool = True) -> None:
        self.config, self.observed = config, observed
        rows, cols = config.rows, config.cols
        self.cycle = 0
        self._grid = GridModel(config, observed=observed)
        self._buffer = ScoreBuffer(config)
        self.busy_cycles = np.zeros((rows, cols), dtype=np.int64)
        self.stall_cycles = np.zeros((rows, cols), dtype=np.int64)
        self.steps = self.tiles = self.mixed_tiles = 0

        self._loaders = {
            side: _Loader(config, lanes, hops, config.bank_tiles[side])
            for side, lanes, hops in (("q", rows, rows), ("k", cols, config.hops))
        }
        # Row blocks' queries and heads' keys that are complete.
        self._banks: dict[str, deque[list[Edge]]] = {"q": deque(), "k": deque()}
        # What is loaded, by the cycle from which on the sequencer knows it.
        self._loaded: dict[str, deque[tuple[int, list[Edge]]]] = {"q": deque(), "k": deque()}
        self._key_index = 0
        # Where tiles are skipped: the tile that is next, and whether it is described.
        self._visit: Visit | None = None
        self._visit_known = False
        self._tile: Iterator[Step] | None = None
        self._tile_ends: tuple[bool, bool, Edge, Edge, int] | None = None
        self._steps_left = 0
        self._earliest_start = self._earliest_end = 0
        self._event = (False, False)  # tile started, and a mixed one, with the step shown

    @property
    def q_ready(self) -> bool:
        """Whether a query beat is taken."""
        return self._loaders["q"].ready

    @property
    def k_ready(self) -> bool:
        """Whether a key beat is taken."""
        return self._loaders["k"].ready

    @property
    def visits_ready(self) -> bool:
        """Whether a tile to visit is taken, where tiles are skipped."""
        return self._visit is None or self._starts

    @property
    def stepping(self) -> bool:
        """Whether a step is issued in this cycle."""
        return self._grid.stepping

    @property
    def scores(self) -> Row | None:
        """The row on offer."""
        return self._buffer.offered

    @property
    def acc(self) -> NDArray[np.int64]:
        """Accumulators, ``[rows, cols]``."""
        return self._grid.acc

    @property
    def busy(self) -> NDArray[np.bool_]:
        """PEs that multiply something."""
        return self._grid.both("active")

    @property
    def stalled(self) -> NDArray[np.bool_]:
        """PEs that wait for slower ones of their tile."""
        return self._grid.both("occupied") & ~self.busy

    @property
    def _next_tile(self) -> tuple[Edge, Edge, int]:
        """Edges of the next tile, and its duration."""
        at = self._key_index if self._visit is None else self._visit.tile
        q, k = self._banks["q"][0][0], self._banks["k"][0][at]
        return q, k, self.config.steps << (int(q.wide.any()) + int(k.wide.any()))

    @property
    def _starts(self) -> bool:
        """Whether a tile starts: its edges are here, its rows have room, its end may drain."""
        if self._steps_left or not all(self._banks.values()):
            return False
        if self.config.skip_tiles and not self._visit_known:
            return False
        if self._buffer.room < self.config.rows or self.cycle < self._earliest_start:
            return False
        return self.cycle + self._next_tile[2] > self._earliest_end

    def _start_tile(self) -> None:
        """Start the next tile."""
        q, k, duration = self._next_tile
        last, at = k.last, self._key_index
        if self._visit is not None:
            last, at = self._visit.last, self._visit.tile
        self._buffer.room -= q.tokens
        self._earliest_start = self.cycle + START_INTERVAL
        self._earliest_end = self.cycle + duration - 1 + self.config.drain_interval
        self._tile, self._steps_left = tile_steps(self.config, q, k), duration
        self._tile_ends = (last, last and q.last, q, k, at)
        self._key_index = 0 if last else self._key_index + 1
        for side, done in zip(("q", "k"), self._tile_ends, strict=False):
            if done:
                self._banks[side].popleft()

    def _end_tile(self) -> None:
        """Schedule what follows from the final step, shown in the next cycle."""
        assert self._tile_ends is not None
        release_q, release_k, q, k, at = self._tile_ends
        shown = self.cycle + 1
        if release_q:
            self._loaders["q"].release(shown)
        if release_k:
            self._loaders["k"].release(shown)
        scores = q.codes @ k.codes.T
        self._buffer.drain(
            shown,
            (
                Row(scores[r], k.tokens, r == q.tokens - 1, release_q, q.last, tile=at)
                for r in range(q.tokens)
            ),
        )

    def clock(
        self,
        q: Beat | None,
        k: Beat | None,
        scores_ready: bool,
        *,
        clear: bool = False,
        visits: Visit | None = None,
    ) -> None:
        """Pass a clock edge.

        Parameters
        ----------
        q, k : Beat or None
            Beat valid at the load streams; taken if ready.
        scores_ready : bool
            The consumer takes a row.
        clear : bool
            Zero the counters.
        visits : Visit, optional
            Tile to visit that is offered; taken if ready.
        """
        # Counters and accumulators follow from the steps issued before this edge.
        started, mixed = self._event
        counted = (self.stepping, started, mixed)
        self.steps, self.tiles, self.mixed_tiles = (
            0 if clear else value + event
            for value, event in zip(
                (self.steps, self.tiles, self.mixed_tiles), counted, strict=True
            )
        )
        if self.observed:
            self.busy_cycles = (self.busy_cycles + self.busy) * (not clear)
            self.stall_cycles = (self.stall_cycles + self.stalled) * (not clear)

        # Sequencer, on what was loaded and described before this edge.
        self._event = (False, False)
        step = None
        starts, takes_visit = self._starts, self.visits_ready
        if starts:
            self._start_tile()
            assert self._tile_ends is not None
            self._event = (True, self._tile_ends[2].mixed or self._tile_ends[3].mixed)
        self._visit_known = self._visit is not None and not starts
        if takes_visit:
            self._visit = visits
        if self._steps_left:
            assert self._tile is not None
            step = next(self._tile) if self.observed else self._grid.unobserved
            self._steps_left -= 1
            if not self._steps_left:
                self._end_tile()
        self._grid.clock(step)
        self._buffer.clock(self.cycle, scores_ready)

        for side, beat in (("q", q), ("k", k)):
            loader = self._loaders[side]
            bank = loader.clock(self.cycle, beat if loader.ready else None)
            if bank is not None:
                self._loaded[side].append((self.cycle + self.BANK_DESCRIBED, bank))
        self.cycle += 1
        for side, loaded in self._loaded.items():
            while loaded and loaded[0][0] <= self.cycle:
                self._banks[side].append(loaded.popleft()[1])
