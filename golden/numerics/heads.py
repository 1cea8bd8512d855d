"""Importance of heads: sums of their outputs, by which layers prune heads for good."""

import numpy as np
from numpy.typing import ArrayLike

from dtqatten.golden.numerics.codes import BoolArray, IntArray
from dtqatten.golden.numerics.importance import IMPORTANCE_MAX, accumulate
from dtqatten.golden.numerics.softmax import Multiplier, fixed_point

__all__ = [
    "HEAD_FRACTION",
    "drawn",
    "head_ranks",
    "head_weight",
    "kept_heads",
    "ranked_heads",
]

#: Fraction bits of a head's importance.
HEAD_FRACTION = 12


def head_weight(output_unit: ArrayLike, d: int) -> Multiplier:
    """Return what a head's magnitudes are multiplied by; the host's work, once per head.

    ``m * 2**-shift ~ 2**12 * output_unit / d``: heads have scales of their own, and their output
    codes can be compared only by what a unit is worth. Importance is then, in units of ``2**-12``,
    the mean magnitude of a query's channels, summed over the queries.

    Parameters
    ----------
    output_unit : float array ``[..., heads]``
        Worth of a unit of the output, as it is written.
    d : int
        Channels of a head.
    """
    return fixed_point(np.asarray(output_unit, np.float64) * (1 << HEAD_FRACTION) / d)


def drawn(output: ArrayLike, weight: Multiplier) -> IntArray:
    """Return what a block adds to the importance of its heads.

    ``min((sum(|o|) * m) >> shift, 2**32 - 1)``, the sum over all queries and channels of a head.

    Parameters
    ----------
    output : int array ``[..., heads, n_q, d]``
        Outputs as they are written, of 16 or 8 bits.
    weight : Multiplier
        Of each head.

    Returns
    -------
    int64 array ``[..., heads]``
    """
    size = np.abs(np.asarray(output, np.int64)).sum((-2, -1))
    return np.minimum((size * weight.m) >> weight.shift, IMPORTANCE_MAX)


def head_ranks(importance: ArrayLike, alive: ArrayLike) -> IntArray:
    """Return how many heads rank before each of those that are left; the others are behind.

    Parameters
    ----------
    importance : int array ``[..., heads]``
    alive : bool array ``[..., heads]``
        Heads that are not pruned yet. Ties go to the lowest head.
    """
    values = np.where(alive, np.asarray(importance, np.int64), -1)
    order = np.argsort(-values, axis=-1, kind="stable")
    return np.argsort(order, axis=-1, kind="stable")


def kept_heads(importance: ArrayLike, alive: ArrayLike, keep: int) -> BoolArray:
    """Return which heads stay: the ``keep`` most important of those that are left.

    Parameters
    ----------
    importance : int array ``[..., heads]``
    alive : bool array ``[..., heads]``
        Heads that are not pruned yet; no other one comes back.
    keep : int
        At least 1. Ties go to the lowest head.
    """
    return np.asarray(alive, bool) & (head_ranks(importance, alive) < keep)


def ranked_heads(
    output: ArrayLike,
    weight: Multiplier,
    alive: BoolArray,
    earlier: IntArray,
    keep: int,
) -> tuple[IntArray, BoolArray]:
    """Return the importance of all heads after a layer, and which of them the next one computes.

    Parameters
    ----------
    output : int array ``[n, n_q, d]``
        Outputs of the ``n`` heads that are left, ascending.
    weight : Multiplier
        Of those.
    alive : bool array ``[heads]``
        Which these are.
    earlier : uint32 array ``[heads]``
        Importance from the layers before; 0 where a chain of layers begins afresh. A sum stays at
        its largest value, ``2**32 - 1``; pruned heads keep theirs.
    keep : int
    """
    added = np.zeros(len(alive), np.int64)
    added[alive] = drawn(output, weight)
    total = accumulate(added, earlier, saturate=True)
    return total, kept_heads(total, alive, keep)
