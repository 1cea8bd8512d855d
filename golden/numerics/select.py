"""Two-level top-k: which tokens stay, and which of those stay in 8 bits."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dtqatten.files.errors import UsageError
from dtqatten.golden.numerics.codes import BoolArray, IntArray

__all__ = ["PAPER_SHARES", "Selection", "counts", "protected", "select", "top"]

#: Average shares of 0, 4 and 8-bit tokens on BERT (DTQAtten, DATE 2022).
PAPER_SHARES = (0.28, 0.414, 0.306)


@dataclass(frozen=True, eq=False)
class Selection:
    """Tokens that remain.

    Parameters
    ----------
    four, eight : int64 array
        Ids of the 4-bit and of the 8-bit tokens, each ascending.
    """

    four: IntArray
    eight: IntArray

    @property
    def ids(self) -> IntArray:
        """All remaining ids, 4-bit class first: the order in which the machine fetches them."""
        return np.concatenate([self.four, self.eight])

    @property
    def bits(self) -> IntArray:
        """Precision, 4 or 8, of each of ``ids``."""
        return np.repeat(np.array([4, 8], np.uint8), [len(self.four), len(self.eight)])

    def precision(self, n: int) -> IntArray:
        """Precision, 0, 4 or 8, of each of ``n`` tokens in the original order."""
        result = np.zeros(n, np.uint8)
        result[self.ids] = self.bits
        return result

    def queries(self, ids: ArrayLike) -> "Selection":
        """Return the tokens ``ids`` as queries that outlive their keys.

        Kept tokens keep their precision, pruned ones go on in 4 bits.

        Raises
        ------
        ValueError
            If an id is repeated, or a kept token is not among them.
        """
        everyone = np.sort(np.asarray(ids, dtype=np.int64))
        if (np.diff(everyone) == 0).any():
            raise ValueError("an id is repeated: a token is one query")
        if not np.isin(self.ids, everyone).all():
            raise ValueError("a kept token is not among the queries: name all that go on")
        return Selection(np.setdiff1d(everyone, self.eight, assume_unique=True), self.eight)


def counts(n: int, shares: tuple[float, float, float]) -> tuple[int, int]:
    """Turn shares of 0, 4 and 8-bit tokens into ``(k0, k1)``: kept, and of these in 8 bits.

    ``k0 = n - round(n * share_0)``, at least 1; ``k1 = round(n * share_8)``, at most ``k0``.

    Raises
    ------
    UsageError
        If ``n`` is less than 1, or the shares are not three numbers in [0, 1] with sum 1.
    """
    if n < 1:
        raise UsageError(f"n is {n}: a sequence has at least 1 token")
    if len(shares) != 3 or not all(0 <= s <= 1 for s in shares) or abs(sum(shares) - 1) > 1e-6:
        raise UsageError(
            f"shares are {shares}: give those of 0, 4 and 8-bit tokens, each in 0..1, sum 1"
        )
    kept = max(1, n - round(n * shares[0]))
    return kept, min(kept, round(n * shares[2]))


def top(importance: ArrayLike, k: int) -> IntArray:
    """Ids of the ``k`` most important tokens, ascending; of equals the lowest id wins.

    Parameters
    ----------
    importance : array ``[n]``
        Importance of each token.
    k : int
        How many, 0 to ``n``.

    Raises
    ------
    ValueError
        If ``k`` is out of range, or ``importance`` is not a vector of numbers that can be ordered.
    """
    values = np.asarray(importance)
    if values.ndim != 1 or (np.issubdtype(values.dtype, np.floating) and np.isnan(values).any()):
        raise ValueError("importance must be a vector without NaN")
    if not 0 <= k <= len(values):
        raise ValueError(f"k is {k}, outside 0..{len(values)}: there are {len(values)} tokens")
    # Ascending stable sort of the reversed vector, reversed again: equals keep the order of ids,
    # and no value is negated, which unsigned ones would not survive.
    descending = len(values) - 1 - np.argsort(values[::-1], kind="stable")[::-1]
    return np.sort(descending[:k])


def protected(
    ids: ArrayLike, *, first: int = 0, last: int = 0, listed: ArrayLike = ()
) -> BoolArray:
    """Which tokens no pruning may take: by position, and by name.

    ``id < first``, ``id > latest - last`` with the latest position among ``ids``, or in ``listed``.
    Positions are compared, so where some were pruned before, fewer than ``first`` or ``last``
    tokens are protected.

    Parameters
    ----------
    ids : int array ``[n]``
        Positions of the tokens, in any order.
    first, last : int
        Positions from the start and from the latest one, 0 or more.
    listed : int array
        Ids of further tokens; those not among ``ids`` do not matter.

    Returns
    -------
    bool array ``[n]``

    Raises
    ------
    ValueError
        If ``first`` or ``last`` is negative.
    """
    if min(first, last) < 0:
        raise ValueError(f"first is {first} and last {last}: protect 0 positions or more")
    places = np.asarray(ids, dtype=np.int64)
    edge = places.max(initial=-1) - last
    found: BoolArray = (places < first) | (places > edge) | np.isin(places, np.asarray(listed))
    return found


def select(
    importance: ArrayLike,
    k0: int,
    k1: int,
    *,
    ids: ArrayLike | None = None,
    protected: ArrayLike | None = None,
) -> Selection:
    """Keep the ``k0`` most important tokens, the ``k1`` most important of those in 8 bits.

    Protected tokens rank before all others, so they are kept, and are the first to have 8 bits;
    among themselves, as among the others, importance ranks.

    Parameters
    ----------
    importance : array ``[n]``
        Importance of each token; ties go to the lowest id.
    k0, k1 : int
        ``0 <= k1 <= k0``, ``1 <= k0 <= n``.
    ids : int array ``[n]``, optional
        Id of each token, none twice; places in the list if None.
    protected : bool array ``[n]``, optional
        Tokens that rank first, at most ``k0``.

    Raises
    ------
    ValueError
        If ``k0`` or ``k1`` is out of range, ``k0`` is below the number of protected tokens, or ids
        are repeated; the message names value, limit and way out.
    """
    n = np.size(importance)
    if k0 < 1:
        raise ValueError(f"k0 is {k0}, less than 1: keep at least one token")
    if k0 > n:
        raise ValueError(f"k0 is {k0}, more than the {n} tokens there are: use at most {n}")
    if not 0 <= k1 <= k0:
        raise ValueError(f"k1 is {k1}, outside 0..k0 = {k0}: 8-bit tokens are among the kept")
    names = np.arange(n) if ids is None else np.asarray(ids, dtype=np.int64)
    first = np.zeros(n, bool) if protected is None else np.asarray(protected, dtype=bool)
    for what, array in (("ids", names), ("protected", first)):
        if array.shape != (n,):
            raise ValueError(f"{what} has shape {array.shape}, but there are {n} tokens")
    if first.sum() > k0:
        raise ValueError(f"k0 is {k0}, but {first.sum()} tokens are protected: keep those at least")
    order = np.argsort(names, kind="stable")
    names, first, values = names[order], first[order], np.asarray(importance)[order]
    if (np.diff(names) == 0).any():
        raise ValueError("an id is repeated: a token has one importance")
    eight = _first(values, first, k1)
    four = np.setdiff1d(_first(values, first, k0), eight, assume_unique=True)
    return Selection(names[four], names[eight])


def _first(importance: IntArray, protected: BoolArray, k: int) -> IntArray:
    """Places of the ``k`` tokens that rank first, ascending."""
    safe, others = np.flatnonzero(protected), np.flatnonzero(~protected)
    some = min(k, len(safe))
    chosen = safe[top(importance[safe], some)], others[top(importance[others], k - some)]
    return np.sort(np.concatenate(chosen))
