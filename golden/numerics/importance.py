"""Importance of tokens: column sums of probabilities, in 32 bits."""

import numpy as np

from dtqatten.golden.numerics import softmax
from dtqatten.golden.numerics.codes import IntArray

__all__ = ["IMPORTANCE_MAX", "accumulate", "check_room", "importance"]

#: Largest value of the 32-bit importance accumulator.
IMPORTANCE_MAX = 2**32 - 1


def importance(probability: IntArray, seen: IntArray | None = None) -> IntArray:
    """Sum 16-bit probabilities over queries and heads.

    Parameters
    ----------
    probability : int array ``[..., heads, n_q, n_k]``
        Normalized 16-bit probabilities.
    seen : int array ``[..., n_k]``, optional
        How many queries saw each key; the sum is divided by it, rounded down. A key that nobody saw
        has importance 0.

    Returns
    -------
    int64 array ``[..., n_k]``
    """
    total: IntArray = probability.sum(axis=(-3, -2))
    return total if seen is None else total // np.maximum(seen, 1)


def accumulate(
    current: IntArray, earlier: IntArray | None = None, *, saturate: bool = False
) -> IntArray:
    """Add a block's importance to that of earlier blocks, in 32 bits.

    Parameters
    ----------
    current : int array ``[..., n_k]``
    earlier : int array ``[..., n_k]``, optional
    saturate : bool
        A sum beyond 32 bits is ``IMPORTANCE_MAX``, ``min(current + earlier, 2**32 - 1)``.

    Raises
    ------
    ValueError
        If a sum exceeds 32 bits and is not to saturate.
    """
    total = current if earlier is None else current + np.asarray(earlier, dtype=np.int64)
    if saturate:
        total = np.minimum(total, IMPORTANCE_MAX)
    if total.size and total.max() > IMPORTANCE_MAX:
        raise ValueError(f"importance {total.max()} exceeds {IMPORTANCE_MAX}: start a new sum")
    return total.astype(np.uint32)


def check_room(rows: int, earlier: IntArray | None) -> None:
    """Refuse more rows than certainly fit the importance, beside what is in it.

    Raises
    ------
    ValueError
        If their sum could exceed 32 bits.
    """
    held = int(np.max(earlier, initial=0)) if earlier is not None else 0
    room = (IMPORTANCE_MAX - held) // softmax.E16_MAX
    if rows > room:
        raise ValueError(
            f"heads * queries is {rows}, but the 32-bit importance has room for {room} rows: "
            + ("start a new sum" if held else "use fewer heads or queries a block")
        )
