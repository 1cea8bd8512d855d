"""Exact products of integers: scores ``Q x K^T`` and weighted sums ``P x V``."""

import numpy as np

from dtqatten.configuration.core import CODE_MIN
from dtqatten.golden.numerics.codes import IntArray, at_precision
from dtqatten.golden.numerics.weights import WeightCode

__all__ = ["CHANNELS_MAX", "scores", "weighted_sum"]

#: Most channels of a head: widths of scores hold up to there.
CHANNELS_MAX = 256


def scores(
    q: IntArray,
    k: IntArray,
    q_bits: IntArray | None = None,
    k_bits: IntArray | None = None,
) -> IntArray:
    """Exact dot products ``sum(q * k)`` over the channels, each token at its precision.

    Parameters
    ----------
    q, k : int array ``[..., heads, n_q, d]``, ``[..., heads, n_k, d]``
        Balanced codes.
    q_bits, k_bits : int array ``[..., n_q]``, ``[..., n_k]``, optional
        Precisions.

    Returns
    -------
    int64 array ``[..., heads, n_q, n_k]``
        At most 23 bits for 256 channels.

    Raises
    ------
    ValueError
        If a code or precision is out of range.
    """
    left, right = at_precision(q, _per_token(q_bits)), at_precision(k, _per_token(k_bits))
    return _matmul(left, right.swapaxes(-1, -2), q.shape[-1] * CODE_MIN**2)


def weighted_sum(p: IntArray, v: IntArray, v_bits: IntArray | None = None) -> IntArray:
    """Exact P x V: ``sum(p * v)`` over the keys, V at each token's precision.

    Returns
    -------
    int64 array ``[..., heads, n_q, d]``
        At most 25 bits for 1024 keys, 29 with weights of three planes, one more if unsigned, and
        three more where tiles have exponents.

    Raises
    ------
    ValueError
        If a code or precision is out of range.
    """
    widest = WeightCode(3, unsigned=True, exponents=True)
    bound = p.shape[-1] * (widest.top << widest.fraction) * -CODE_MIN
    return _matmul(p, at_precision(v, _per_token(v_bits)), bound)


def _per_token(bits: IntArray | None) -> IntArray | None:
    return None if bits is None else np.asarray(bits)[..., None, :, None]


def _matmul(a: IntArray, b: IntArray, bound: int) -> IntArray:
    """Exact integer matrix product through floating point, whose BLAS is far faster.

    Every partial sum is an integer of magnitude ``bound`` at most, which float32 holds exactly up
    to ``2**24`` and float64 up to ``2**53``, in any order of summation.
    """
    kind = np.float32 if bound < 2**24 else np.float64
    return np.rint(a.astype(kind) @ b.astype(kind)).astype(np.int64)
