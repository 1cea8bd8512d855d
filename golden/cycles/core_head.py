"""A head as the core computes it: rows of queries against a segment of keys."""

from dataclasses import dataclass

__all__ = ["CoreHead"]


@dataclass(frozen=True)
class CoreHead:
    """A head as the core computes it: some rows of one head of K and V against some of its keys.

    Parameters
    ----------
    own : int
        Head of K and V.
    rows : list of tuple of int
        Query head and query of each row.
    span : slice
        Places of the keys.
    first_segment, last_segment, restart : bool
        As of :class:`~dtqatten.golden.cycles.softmax_beats.HeadFactor`.
    """

    own: int
    rows: list[tuple[int, int]]
    span: slice
    first_segment: bool = True
    last_segment: bool = True
    restart: bool = True
