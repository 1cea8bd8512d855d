"""Cycle model of the top-k engine: every handshake, id and threshold, in every cycle."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dtqatten.configuration.choices import TopKEngine
from dtqatten.golden.cycles.quick_select import quick_select
from dtqatten.golden.numerics.select import select

__all__ = ["IdBeat", "ScoreBeat", "Search", "TopKModel", "score_beats", "search"]


@dataclass(frozen=True, eq=False)
class ScoreBeat:
    """Beat of scores, in token order; ``k0`` and ``k1`` count with the last one."""

    scores: NDArray[np.uint64]
    last: bool
    k0: int = 0
    k1: int = 0


def score_beats(scores: ArrayLike, k0: int, k1: int, lanes: int) -> list[ScoreBeat]:
    """Cut a run of scores, one or more, into beats of ``lanes``, the last part-filled.

    Parameters
    ----------
    scores : array ``[n]``
        Unsigned scores.
    k0, k1 : int
        Tokens to keep, and of those in 8 bits; every beat has them.
    lanes : int
        Scores of a beat.
    """
    values = np.asarray(scores, dtype=np.uint64)
    starts = range(0, len(values), lanes)
    return [ScoreBeat(values[i : i + lanes], i == starts[-1], k0, k1) for i in starts]


@dataclass(frozen=True)
class IdBeat:
    """Beat of ids of one class."""

    ids: tuple[int, ...]
    wide: bool
    last: bool


@dataclass(frozen=True)
class Search:
    """Outcome of a search: thresholds of the kept and of the 8-bit tokens, and what they took.

    ``passes`` counts those over the tokens after the first, which is the loading;
    ``recalibrated``: one of them repeated the first with another window.
    """

    thresholds: tuple[int, int]
    passes: int
    recalibrated: bool


class _Threshold:
    """The range that a threshold is known to be in: scores that equal ``low`` above ``bits``."""

    def __init__(self, scores: NDArray[np.uint64], rank: int) -> None:
        self.rank = rank
        self.low, self.inside = 0, scores
        self.done = False

    def refine(self, shift: int) -> int:
        """Resolve all bits from ``shift`` up and return the highest of them."""
        ranked = np.sort(self.inside)[::-1]
        prefix = int(ranked[self.rank - 1]) >> shift
        prefixes = self.inside >> np.uint64(shift)
        self.rank -= int((prefixes > prefix).sum())
        self.inside = self.inside[prefixes == prefix]
        self.low = prefix << shift
        self.done = self.rank == len(self.inside) or shift == 0
        return prefix


def search(scores: ArrayLike, k0: int, k1: int, lanes: int, *, index_bits: int = 6) -> Search:
    """Find both thresholds as the engine does, pass by pass.

    Parameters
    ----------
    scores : array ``[n]``
        Unsigned scores.
    k0, k1 : int
        ``1 <= k0 <= n``, ``0 <= k1 <= k0``.
    lanes, index_bits : int
        Of the engine: the first beat has ``lanes`` scores, a pass resolves ``index_bits`` bits,
        of each threshold one less after they have parted.
    """
    values = np.asarray(scores, dtype=np.uint64)
    # The window's top is the highest bit of the first beat's scores.
    shift = max(int(values[:lanes].max()).bit_length() - index_bits, 0)
    passes = 0
    largest_index = (1 << index_bits) - 1
    ranked = np.sort(values)[::-1]
    eighth = int(ranked[(k1 or k0) - 1])
    exceeded = int(ranked[0]) >> shift > largest_index
    recalibrated = exceeded and eighth >> shift >= largest_index
    if recalibrated:
        passes = 1
        shift = int(ranked[0]).bit_length() - index_bits
    kept, wide = _Threshold(values, k0), _Threshold(values, k1 or k0)
    parted = False
    while True:
        prefixes = [None if t.done else t.refine(shift) for t in (kept, wide)]
        if kept.done and wide.done:
            return Search((kept.low, wide.low), passes, recalibrated)
        parted = not (kept.done or wide.done) and prefixes[0] != prefixes[1]
        shift = max(shift - (index_bits - parted), 0)
        passes += 1


class TopKModel:
    """Predict :class:`dtqatten.hw.ranking.topk.TopK` on every clock edge.

    Between two calls of :meth:`clock` the attributes hold what the ports show in that cycle.
    Bit-exact and cycle-exact for every pattern of ``valid`` and ``ready``.

    Parameters
    ----------
    lanes, n_max, index_bits : int
        Sizes of the engine.
    slow_logic : bool
        Each search for ranks takes a cycle more; not with quick-select.
    engine : TopKEngine
    score_width : int
        Bits of a score; matters to quick-select only.

    Attributes
    ----------
    cycle : int
        Cycles since reset.
    scores_ready : bool
    ids : IdBeat or None
        The beat on offer.
    thresholds : tuple of int or None
        Of the kept and of the 8-bit tokens, while known.
    """

    # Cycles from the last beat to the thresholds, from a pass's end to the next one's, less rows,
    # and from the issue of a row's slot to the beat that it completes, less one.
    LOADED, PASS, FILTER = 12, 10, 6
    # The first two of quick-select.
    PARTITIONED, PARTITION = 8, 7

    def __init__(
        self,
        lanes: int,
        n_max: int,
        *,
        index_bits: int = 6,
        slow_logic: bool = False,
        engine: TopKEngine = TopKEngine.COUNTING,
        score_width: int = 32,
    ) -> None:
        self.lanes, self.rows, self.index_bits = lanes, -(-n_max // lanes), index_bits
        self.engine, self.score_width = engine, score_width
        self._slow = slow_logic
        self.cycle = 0
        self.scores_ready = True
        self.ids: IdBeat | None = None
        self.thresholds: tuple[int, int] | None = None
        self._beats: list[NDArray[np.uint64]] = []
        self._known_at = -1
        self._found = (0, 0)
        self._slots: Iterator[tuple[list[int], bool]] = iter(())
        self._pipeline: deque[tuple[list[int], bool]] = deque()
        self._waiting: list[int] = []
        self._left = [0, 0]

    def clock(self, beat: ScoreBeat | None, ids_ready: bool) -> None:
        """Pass a clock edge.

        Parameters
        ----------
        beat : ScoreBeat or None
            Beat valid at the input; taken if ready.
        ids_ready : bool
            The consumer takes a beat of ids.
        """
        self.cycle += 1
        if self.thresholds is not None:
            self._emit(ids_ready)
        elif self.scores_ready and beat is not None:
            self._beats.append(beat.scores)
            if beat.last or len(self._beats) == self.rows:
                self._loaded(beat.k0, beat.k1)
        elif self.cycle == self._known_at:
            self.thresholds = self._found

    def _loaded(self, k0: int, k1: int) -> None:
        values = np.concatenate(self._beats)
        rows, self._beats = len(self._beats), []
        k0 = min(max(k0, 1), len(values))
        k1 = min(k1, k0)
        self.scores_ready = False
        self._found, cycles = self._searched(values, k0, k1)
        self._known_at = self.cycle - 1 + cycles

        chosen = select(values, k0, k1)
        self._left = [len(chosen.four), len(chosen.eight)]
        slots = []
        for wide, ids in ((False, chosen.four), (True, chosen.eight)):
            if len(ids):
                row_of = ids // self.lanes
                slots += [(ids[row_of == row].tolist(), wide) for row in range(rows)]
                slots.append(([], wide))
        self._slots = iter(slots)
        # None: no slot in that stage.
        self._pipeline = deque([([], False)] * self.FILTER)

    def _searched(
        self, values: NDArray[np.uint64], k0: int, k1: int
    ) -> tuple[tuple[int, int], int]:
        """Return the thresholds, and the cycles from the last beat to them."""
        if self.engine is TopKEngine.QUICK_SELECT:
            sizes = {"capacity": self.rows * self.lanes, "width": self.score_width}
            parts = quick_select(values, k0, k1, self.lanes, **sizes)
            cycles = self.PARTITIONED + sum(rows + self.PARTITION for rows in parts.rows)
            return parts.thresholds, cycles
        found = search(values, k0, k1, self.lanes, index_bits=self.index_bits)
        a_pass = -(-len(values) // self.lanes) + self.PASS + self._slow
        return found.thresholds, self.LOADED + self._slow + found.passes * a_pass

    def _emit(self, ids_ready: bool) -> None:
        if self.ids is not None:
            if not ids_ready:
                return
            last, self.ids = self.ids.last, None
            if last:
                self.scores_ready, self.thresholds = True, None
                return
        self._pipeline.append(next(self._slots, ([], False)))
        new, wide = self._pipeline.popleft()
        self._waiting += new
        left = self._left[wide]
        if left and len(self._waiting) >= min(left, self.lanes):
            out, self._waiting = self._waiting[: self.lanes], self._waiting[self.lanes :]
            self._left[wide] -= len(out)
            self.ids = IdBeat(tuple(out), wide, last=self._left == [0, 0])
