"""Cycle model of the quick-select search: pivots, partitions, passes and their rows."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Partitioning", "pivots", "quick_select"]


@dataclass(frozen=True)
class Partitioning:
    """Outcome of a search: thresholds of the kept and of the 8-bit tokens, and what they took.

    ``rows``: of the partition that each pass after the first reads, the first being the loading;
    ``bisections``: the last so many passes had no score as pivot, but the middle of the range.
    """

    thresholds: tuple[int, int]
    rows: tuple[int, ...]
    bisections: int


@dataclass(frozen=True, eq=False)
class _Partition:
    """Scores in token order, all in ``lowest..ceiling - 1``, and the ranks looked for in them."""

    scores: NDArray[np.uint64]
    lowest: int
    ceiling: int
    ranks: dict[int, int]


def pivots(capacity: int) -> int:
    """Return the passes whose pivot is a score, after the first: ``2 * ceil(log2(capacity))``."""
    return 2 * (capacity - 1).bit_length()


def quick_select(
    scores: ArrayLike, k0: int, k1: int, lanes: int, *, capacity: int, width: int = 32
) -> Partitioning:
    """Find both thresholds as the engine does, pass by pass.

    Parameters
    ----------
    scores : array ``[n]``
        Unsigned scores.
    k0, k1 : int
        ``1 <= k0 <= n``, ``0 <= k1 <= k0``.
    lanes, capacity, width : int
        Of the engine: scores of a row, tokens that fit, bits of a score.
    """
    values = np.asarray(scores, dtype=np.uint64)
    thresholds = [0, 0]
    now: _Partition | None = _Partition(values, 0, 1 << width, {0: k0, 1: k1 or k0})
    waits: _Partition | None = None
    left, bisections = pivots(capacity), 0
    rows: list[int] = []
    pivot = int(values[0])
    while now is not None:
        above = now.scores[now.scores > pivot]
        below = now.scores[now.scores < pivot]
        reached = len(now.scores) - len(below)
        upper = {t: rank for t, rank in now.ranks.items() if rank < len(above)}
        lower = {t: rank - reached for t, rank in now.ranks.items() if rank > reached}
        for t in now.ranks.keys() - upper.keys() - lower.keys():
            thresholds[t] = pivot
        sides = [
            _Partition(part, lowest, ceiling, ranks)
            for part, lowest, ceiling, ranks in (
                (above, pivot + 1, now.ceiling, upper),
                (below, now.lowest, pivot, lower),
            )
            if ranks
        ]
        # Thresholds part at most once: of two sides the lower one waits.
        if len(sides) == 2:
            waits = sides.pop()
        if not sides:
            sides, waits = [waits] if waits else [], None
        now = sides[0] if sides else None
        if now is not None:
            rows.append(-(-len(now.scores) // lanes))
            if left:
                left -= 1
                pivot = int(now.scores[len(now.scores) // 2])
            else:
                bisections += 1
                pivot = (now.lowest + now.ceiling) // 2
    return Partitioning((thresholds[0], thresholds[1]), tuple(rows), bisections)
