"""Weights of P x V from exponentials, and what rows are divided by."""

from dataclasses import dataclass

import numpy as np

from dtqatten.configuration.limits import EXPONENT_MAX
from dtqatten.golden.numerics.codes import GAIN_ONE, IntArray
from dtqatten.golden.numerics.weights import BALANCED, WeightCode

__all__ = ["DIVISOR_FRACTION", "WEIGHT_BITS", "Narrowed", "narrow", "tile_exponents"]

#: Fraction bits of the output divisor, in units of one narrowed weight.
DIVISOR_FRACTION = 4
#: Bits of an exponential times a gain.
WEIGHT_BITS = 24


@dataclass(frozen=True, eq=False)
class Narrowed:
    """Weights of a row for P x V and what to divide by.

    Parameters
    ----------
    p : int64 array
        Codes in [0, top] of their :class:`~dtqatten.golden.numerics.weights.WeightCode`; where
        tiles have exponents, in 1/8 of a code: ``code << (3 - exponent)``.
    lead : int64 array ``[..., heads, n_q]``
        Left shift of the weights: 0 to 8, which brought the row's largest one to 24 bits, or 0
        without V gains; where tiles have exponents 3 more.
    divisor : int64 array ``[..., heads, n_q]``
        Sum of weights at ``lead`` 0, in units of 1/16 of a code; at most 26 bits.
    exponents : int64 array ``[..., heads, n_q, n_k]``, optional
        Where tiles have them, that of each key's tile.
    """

    p: IntArray
    lead: IntArray
    divisor: IntArray
    exponents: IntArray | None = None


def narrow(
    e16: IntArray,
    gains: IntArray | None = None,
    *,
    code: WeightCode = BALANCED,
    bits: IntArray | None = None,
    query_bits: IntArray | None = None,
    tiles: IntArray | None = None,
) -> Narrowed:
    """Narrow exponentials to codes, relative to the row maximum.

    With V's gains ``w = e16 * g`` (24 bits) and ``lead`` is the number of leading zeros of the
    row's largest ``w`` in 24 bits; without, ``g = 256`` and ``lead = 0``. Then
    ``p = ((w << lead) * top + 2**23) >> 24`` with the ``top`` of the code: round half up, once.

    Where tiles have exponents, the exponent ``x`` of a row's tile is the number of leading zeros of
    the tile's largest ``w << lead`` in 24 bits, at most 3, and
    ``p = ((w << lead + x) * top + 2**23) >> 24`` counts ``2**-x``: ``p << 3 - x`` in 1/8 of a code.

    The divisor leaves the gains out. Without gains it is ``16 * sum(p)``, so that the weights sum
    to one exactly; with gains ``(top * sum(e16) + 2**11) >> 12``, the sum before narrowing, which
    has the smallest measured error of all divisors without gains (docs/numerics.md).

    Parameters
    ----------
    e16 : int array
        Exponentials, 0 where not visible.
    gains : int array ``[..., heads, n_k]``, optional
        Gains of V's tokens, 1 to 256.
    code : WeightCode
    bits : int array ``[..., n_k]``, optional
        If given, a weight keeps only its highest plane where its token has 4 bits.
    query_bits : int array ``[..., n_q]``, optional
        If given, also where its query has 4 bits.
    tiles : int array ``[..., n_k]``, optional
        Where tiles have exponents: the tile of each key.

    Raises
    ------
    ValueError
        If tiles have exponents and nothing says which they are.
    """
    top = code.top
    weights = e16 * GAIN_ONE
    lead: IntArray = np.zeros(e16.shape[:-1], dtype=np.int64)
    if gains is not None:
        weights = e16 * gains.astype(np.int64)[..., None, :]
        largest = weights.max(-1)
        lead = np.where(largest > 0, WEIGHT_BITS - np.frexp(largest.astype(np.float64))[1], 0)
    weights <<= lead[..., None]
    exponents = None
    if code.exponents:
        if tiles is None:
            raise ValueError("tiles of keys have exponents: say which keys share one (tiles)")
        exponents = tile_exponents(weights, tiles)
        weights <<= exponents
    half = 1 << (WEIGHT_BITS - 1)
    p: IntArray = (weights * top + half) >> WEIGHT_BITS
    # A weight of a token without V bits meets zeros only: its planes are of no consequence.
    low = np.zeros(1, dtype=bool)
    if bits is not None:
        low = low | (bits == 4)[..., None, None, :]
    if query_bits is not None:
        low = low | (query_bits == 4)[..., None, :, None]
    if low.any():
        p = np.where(low, code.highest(p), p)
    if exponents is not None:
        p <<= code.fraction - exponents
    if gains is None:
        divisor = p.sum(-1) << (DIVISOR_FRACTION - code.fraction)
    else:
        drop = 16 - DIVISOR_FRACTION
        divisor = (e16.sum(-1) * top + (1 << (drop - 1))) >> drop
    return Narrowed(p, lead + code.fraction, divisor, exponents)


def tile_exponents(weights: IntArray, tiles: IntArray) -> IntArray:
    """Exponent of each key's tile: leading zeros of the tile's largest weight, at most 3.

    Parameters
    ----------
    weights : int array ``[..., heads, n_q, n_k]``
        Of 24 bits.
    tiles : int array ``[..., n_k]``
        Numbers of the keys' tiles, in any order.
    """
    result = np.empty_like(weights)
    for at in np.ndindex(tiles.shape[:-1]):
        own = result[at]
        for number in np.unique(tiles[at]):
            keys = tiles[at] == number
            largest = weights[at][..., keys].max(-1, keepdims=True)
            zeros = WEIGHT_BITS - np.frexp(largest.astype(np.float64))[1]
            own[..., keys] = np.minimum(zeros, EXPONENT_MAX)
    return result
