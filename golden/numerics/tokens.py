"""Lists of tokens, and the importance of a cache's tokens by id.

A layer call has a list of queries and a list of keys. Each names tokens by id, in order: the 4-bit
class first, ids ascending in each class, one boundary. A pruned token is in no list.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dtqatten.golden.numerics.codes import IntArray
from dtqatten.golden.numerics.importance import IMPORTANCE_MAX, accumulate
from dtqatten.golden.numerics.masks import IDS_MAX
from dtqatten.golden.numerics.select import Selection

__all__ = ["CacheImportance", "TokenList"]


@dataclass(frozen=True, eq=False)
class TokenList:
    """Ids of queries or keys, in the order in which a layer computes them.

    Parameters
    ----------
    ids : int array ``[n]``
        16 bits each: places in the cache, and positions in the text.
    four_bit : int
        How many first ones have 4 bits; the rest have 8.

    Raises
    ------
    ValueError
        If an id is out of range or repeated, the boundary is not in the list, or ids do not ascend
        in each class.
    """

    ids: IntArray
    four_bit: int = 0

    def __post_init__(self) -> None:
        if self.ids.ndim != 1 or not np.issubdtype(self.ids.dtype, np.integer):
            raise ValueError("ids must be a vector of integers")
        n = len(self.ids)
        if not 0 <= self.four_bit <= n:
            raise ValueError(f"four_bit is {self.four_bit}, outside 0..{n}: tokens of the list")
        if n and not (self.ids.min() >= 0 and self.ids.max() < IDS_MAX):
            worst = self.ids.min() if self.ids.min() < 0 else self.ids.max()
            raise ValueError(f"id {worst} is outside 0..{IDS_MAX - 1}: ids have 16 bits")
        if len(np.unique(self.ids)) != n:
            raise ValueError("an id is repeated: a token is in a list once")
        for part in (self.ids[: self.four_bit], self.ids[self.four_bit :]):
            if (np.diff(part.astype(np.int64)) < 0).any():
                raise ValueError("ids must ascend in each class, the 4-bit class first")

    @classmethod
    def of(cls, selection: Selection) -> "TokenList":
        """Return what top-k chose as a list."""
        return cls(selection.ids, len(selection.four))

    @classmethod
    def all(cls, n: int, *, start: int = 0) -> "TokenList":
        """Return ``n`` tokens from id ``start`` on, in 8 bits."""
        return cls(np.arange(start, start + n))

    def __len__(self) -> int:
        """How many tokens."""
        return len(self.ids)

    @property
    def bits(self) -> IntArray:
        """Precision of each token, 4 or 8."""
        return np.repeat(np.array([4, 8], np.uint8), [self.four_bit, len(self) - self.four_bit])


@dataclass(frozen=True, eq=False)
class CacheImportance:
    """Importance of the tokens of a cache, 32 bits each, at their ids.

    A layer reads that of its keys by id, adds to it and writes it back by id; what it does not
    compute on stays as it is. Steps add for ever, so sums saturate: a token at 2**32 - 1 ranks
    before all below it, and of several the lowest id is first. 65,537 rows that see nothing else
    take a token there; :meth:`halved` makes room.

    Parameters
    ----------
    values : uint32 array ``[capacity]``
        Up to 65,536.

    Raises
    ------
    ValueError
        If the capacity is out of range, or values are not of 32 bits.
    """

    values: IntArray

    def __post_init__(self) -> None:
        if self.values.dtype != np.uint32 or self.values.ndim != 1:
            raise ValueError(f"values must be a vector of uint32, not {self.values.dtype}")
        if not 1 <= len(self.values) <= IDS_MAX:
            raise ValueError(
                f"capacity is {len(self.values)}, outside 1..{IDS_MAX}: ids are 16 bit"
            )

    @classmethod
    def empty(cls, capacity: int) -> "CacheImportance":
        """Return a cache's importance before the first step."""
        return cls(np.zeros(capacity, np.uint32))

    def read(self, ids: ArrayLike) -> IntArray:
        """Importance of the tokens ``ids``, in their order.

        Raises
        ------
        ValueError
            If an id is beyond the capacity.
        """
        return self.values[self._checked(ids)]

    def written(self, ids: ArrayLike, values: IntArray) -> "CacheImportance":
        """Return the importance with that of the tokens ``ids`` replaced.

        Raises
        ------
        ValueError
            If an id is beyond the capacity or repeated, or a value is beyond 32 bits.
        """
        places = self._checked(ids)
        if len(np.unique(places)) != len(places):
            raise ValueError("an id is repeated: a token has one importance")
        if values.size and not (values.min() >= 0 and values.max() <= IMPORTANCE_MAX):
            raise ValueError(f"importance {values.max()} is outside 0..{IMPORTANCE_MAX}")
        result = self.values.copy()
        result[places] = values
        return CacheImportance(result)

    def added(self, ids: ArrayLike, amounts: IntArray) -> "CacheImportance":
        """Return ``min(held + amount, 2**32 - 1)`` at ``ids``: what a layer does to its keys.

        Raises
        ------
        ValueError
            As :meth:`written`.
        """
        return self.written(ids, accumulate(amounts, self.read(ids), saturate=True))

    def halved(self) -> "CacheImportance":
        """Return half of each value, rounded down: later steps then weigh twice as much.

        No token overtakes another, but two that were a unit apart may tie.
        """
        return CacheImportance(self.values >> np.uint32(1))

    def _checked(self, ids: ArrayLike) -> IntArray:
        places = np.asarray(ids, dtype=np.int64)
        if places.size and not (places.min() >= 0 and places.max() < len(self.values)):
            worst = places.min() if places.min() < 0 else places.max()
            raise ValueError(
                f"id {worst} is outside the cache of {len(self.values)} tokens: "
                "give it a larger capacity"
            )
        return places
