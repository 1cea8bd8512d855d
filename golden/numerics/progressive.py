"""Progressive quantization: keys in 4 bits first, and in 8 where a row's distribution is flat.

SpAtten (HPCA 2021, section III-D) fetches high planes first, and low ones only for rows whose
largest probability is below a threshold: a flat row has its error spread over many keys, a peaked
one does not need the bits. What is shared by a row block is decided for all of its rows: keys pass
the array once for them, so that low planes which one row asks for serve the others, too.

Precisions of queries and values are those of their lists. A key's own says nothing of its scores.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dtqatten.golden.numerics.codes import BoolArray, IntArray
from dtqatten.golden.numerics.softmax import E16_MAX

__all__ = ["FLAT_SUM_MAX", "Trial", "flat_sum", "flat_with_block", "tried"]

#: Largest limit of a row's sum: no row has more, so that none is flat.
FLAT_SUM_MAX = 2**32 - 1


@dataclass(frozen=True, eq=False)
class Trial:
    """Scores of rows of which some are flat.

    Parameters
    ----------
    scores : int array ``[..., heads, n_q, n_k]``
        In 8 bits where ``again``, else in 4.
    flat, again : bool array ``[..., heads, n_q]``
        Rows that are flat in 4 bits; rows of a row block with such a row.
    """

    scores: IntArray
    flat: BoolArray
    again: BoolArray


def flat_sum(threshold: float) -> int:
    """Return the largest sum of exponentials of a row that is not flat.

    The largest of a row's exponentials is 65535, so its probability is below the threshold if the
    sum is above ``65535 / threshold``; 0 stands for a limit that no sum reaches.

    Raises
    ------
    ValueError
        If the threshold is no probability.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}, outside 0..1: give a probability")
    if threshold * FLAT_SUM_MAX <= E16_MAX:
        return FLAT_SUM_MAX
    return int(E16_MAX / threshold)


def tried(
    narrow: IntArray,
    wide: IntArray,
    limit: int,
    blocks: IntArray,
    exponentials: Callable[[IntArray], IntArray],
) -> Trial:
    """Take scores in 4 bits, but in 8 for the row blocks that have a flat row.

    A row is flat if its exponentials sum to more than ``limit``; a sink is none of them. A row that
    sees no key is not flat.

    Parameters
    ----------
    narrow, wide : int array ``[..., heads, n_q, n_k]``
        Scores of all keys in 4 bits, and in 8.
    limit : int
        As of :func:`flat_sum`.
    blocks : int array ``[..., heads, n_q]``
        As of :class:`~dtqatten.golden.numerics.local_values.Tiling`.
    exponentials : callable
        Of scores.
    """
    flat = exponentials(narrow).sum(-1) > limit
    again = flat_with_block(flat, blocks)
    return Trial(np.where(again[..., None], wide, narrow), flat, again)


def flat_with_block(flat: BoolArray, blocks: IntArray) -> BoolArray:
    """Return which rows have a flat one in their row block; a row of no block decides alone.

    Parameters
    ----------
    flat, blocks : array ``[..., heads, n_q]``
    """
    result = np.array(flat, bool)
    for at in np.ndindex(flat.shape[:-2]):
        own, of = flat[at], blocks[at]
        result[at] = own | (np.isin(of, of[own]) & (of >= 0))
    return result
