"""Base-2 integer softmax: scores to exponentials and 16-bit probabilities.

Every step is a fixed-width integer operation; the widths hold for ``d_head`` up to 256 and rows of
up to ``KEYS_MAX`` keys. Shapes are ``[..., heads, n_q, n_k]`` unless stated.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dtqatten.golden.numerics.codes import (
    GAIN_ONE,
    BoolArray,
    FloatArray,
    IntArray,
    apply_gain,
)

__all__ = [
    "E16_MAX",
    "FRACTION_BITS",
    "KEYS_MAX",
    "LUT32",
    "MULTIPLIER_BITS",
    "RECIPROCAL_BITS",
    "SHIFT_MAX",
    "Multiplier",
    "exponent",
    "exponential",
    "fixed_point",
    "multiplier",
    "normalized",
    "octave_table",
    "reciprocal",
    "row_multiplier",
]

#: Fraction bits of the base-2 exponent ``t``.
FRACTION_BITS = 5
#: Bits of the multiplier ``M``: its top bit is set unless the shift is at its limit.
MULTIPLIER_BITS = 16
#: Largest right shift after the multiplication (6 bits): beyond it every ``t`` is 0.
SHIFT_MAX = 40
#: Exponential of the row maximum.
E16_MAX = 65535
#: Bits of a reciprocal.
RECIPROCAL_BITS = 17
#: Most keys of a row.
KEYS_MAX = 1024


def octave_table(one: int, fraction_bits: int) -> IntArray:
    """Exponentials of one octave, at the middle of each step.

    ``table[i] = round(one * 2**(-(i + 0.5) / steps))``, but ``table[0] = one``. Exponents are
    rounded down, so an entry stands for those in [i, i+1) and holds the value of their middle.
    Entry 0 stands for distance 0 too, which is never rounded and the rule for a row's maximum, and
    is exact. This halves the error of a probability and costs no gate.

    Parameters
    ----------
    one : int
        Entry 0.
    fraction_bits : int
        The table has ``2**fraction_bits`` steps.
    """
    steps = np.arange(1 << fraction_bits)
    table = np.rint(one * np.exp2(-(steps + 0.5) / len(steps))).astype(np.int64)
    table[0] = one
    table.flags.writeable = False
    return table


#: ``LUT32[i] = round(65535 * 2**(-(i + 0.5)/32))``, but ``LUT32[0] = 65535``; 16 bits each.
LUT32 = octave_table(E16_MAX, FRACTION_BITS)


@dataclass(frozen=True, eq=False)
class Multiplier:
    """Factor from scores to exponents, ``m * 2**-shift``, one per head.

    Parameters
    ----------
    m : int array ``[..., heads]``
        16-bit mantissa; in [2**15, 2**16) unless ``shift`` is 0 or ``SHIFT_MAX``.
    shift : int array ``[..., heads]``
        Right shift, 0 to ``SHIFT_MAX``.
    """

    m: IntArray
    shift: IntArray


def multiplier(score_unit: ArrayLike, d: int, softmax_scale: float | None = None) -> Multiplier:
    """Derive the multiplier of a head from its scales; the host's work, once per head.

    ``m * 2**-shift ~ 32 * log2(e) * score_unit * softmax_scale``, ``m`` rounded to nearest. Below
    ``2**-25`` the shift stays at 40 and ``m`` loses bits, down to 0: no score of 256 channels
    reaches ``t = 1`` there. Above ``2**16`` ``m`` saturates: a score one below the maximum has
    exponential 0 either way.

    Parameters
    ----------
    score_unit : float array ``[..., heads]``
        Worth of one unit of score: product of the units of Q and K.
    d : int
        Channels of a head.
    softmax_scale : float, optional
        Factor of the scores before softmax; ``1/sqrt(d)`` if None.

    Raises
    ------
    ValueError
        If the factor is negative or not finite, or ``d`` is less than 1.
    """
    if d < 1:
        raise ValueError(f"d is {d}: a head has at least 1 channel")
    scale = 1 / np.sqrt(d) if softmax_scale is None else softmax_scale
    factor = np.asarray(score_unit, dtype=np.float64) * scale * np.log2(np.e) * 2**FRACTION_BITS
    return fixed_point(factor)


def fixed_point(factor: FloatArray) -> Multiplier:
    """Return ``m * 2**-shift`` nearest to a factor: ``m`` of 16 bits, ``shift`` up to 40.

    Below ``2**-25`` ``m`` loses bits, down to 0; from ``2**16`` on it saturates.

    Raises
    ------
    ValueError
        If a factor is negative or not finite.
    """
    if not (np.isfinite(factor) & (factor >= 0)).all():
        raise ValueError(f"a factor must be finite and not negative, not {factor!r}")
    # frexp: factor = mantissa * 2**power, mantissa in [0.5, 1), so m has exactly 16 bits.
    power = np.frexp(factor)[1]
    shift = np.clip(MULTIPLIER_BITS - power, 0, SHIFT_MAX)
    m = np.rint(np.ldexp(factor, shift))
    # Rounded up to 2**16: halve both.
    carry = (m == 2**MULTIPLIER_BITS) & (shift > 0)
    m = np.where(carry, m / 2, m)
    m = np.minimum(m, 2**MULTIPLIER_BITS - 1)
    return Multiplier(m.astype(np.int64), (shift - carry).astype(np.int64))


def row_multiplier(factor: Multiplier, gains: IntArray | None, rows: int) -> IntArray:
    """Join each query's gain to the multiplier: ``(m * abs(g) + 128) >> 8``, 16 bits.

    Parameters
    ----------
    factor : Multiplier
        Multiplier of each head.
    gains : int array ``[..., heads, n_q]``, optional
        Gains of the queries; None leaves ``m`` as it is.
    rows : int
        Queries.

    Returns
    -------
    int array ``[..., heads, n_q]``
    """
    joined = apply_gain(factor.m[..., None], GAIN_ONE if gains is None else np.abs(gains))
    return np.broadcast_to(joined, (*factor.m.shape, rows))


def exponent(
    scores: IntArray, factor: IntArray, shift: IntArray, visible: BoolArray
) -> tuple[IntArray, IntArray]:
    """Distance of each score from its row's maximum, in 1/32 octaves.

    ``t = ((max - s) * M) >> shift``, rounded down; the difference has 23 bits, the product 39.

    Parameters
    ----------
    scores : int array
        Scores, already multiplied by the keys' gains.
    factor : int array ``[..., heads, n_q]``
        Multiplier of each row, 16 bits.
    shift : int array ``[..., heads]``
        Right shift of each head.
    visible : bool array, broadcastable to ``scores``
        Which keys a query sees.

    Returns
    -------
    t : int64 array
        Exponents; without meaning where not visible.
    maximum : int64 array ``[..., heads, n_q]``
        Maximum over the visible keys; 0 where there is none.
    """
    lowest = np.iinfo(np.int64).min
    maximum = np.max(scores, axis=-1, where=visible, initial=lowest)
    maximum = np.where(maximum == lowest, 0, maximum)
    difference = np.where(visible, maximum[..., None] - scores, 0)
    return (difference * factor[..., None]) >> shift[..., None, None], maximum


def exponential(t: IntArray, visible: BoolArray) -> IntArray:
    """Compute ``e16 = LUT32[t & 31] >> (t >> 5)``: 16 bits, 0 from ``t = 512`` on or if invisible.

    Raises
    ------
    ValueError
        If an exponent is negative.
    """
    if t.size and t.min() < 0:
        raise ValueError(f"exponent {t.min()} is negative: it is a distance from the maximum")
    octave = np.minimum(t >> FRACTION_BITS, 16)
    return np.where(visible, LUT32[t & ((1 << FRACTION_BITS) - 1)] >> octave, 0)


def reciprocal(divisor: IntArray) -> tuple[IntArray, IntArray]:
    """Reciprocal of a positive integer as 17 bits and an exponent.

    ``z = bit_length(D)`` and ``R = floor((2**(z + 16) - 1) / D)``, in [2**16, 2**17): a restoring
    divider yields one of the 17 quotient bits a step. ``1/D ~ R * 2**-(z + 16)``, never above and
    less than ``2**-16`` of itself below. ``D = 0`` (a row without keys) gives ``R = z = 0``.

    Parameters
    ----------
    divisor : int array
        At most 46 bits.

    Raises
    ------
    ValueError
        If a divisor is negative.
    """
    if divisor.size and divisor.min() < 0:
        raise ValueError(f"divisor {divisor.min()} is negative: sums of weights are not")
    length = np.frexp(divisor.astype(np.float64))[1].astype(np.int64)
    top = (np.int64(1) << (length + RECIPROCAL_BITS - 1)) - 1
    return np.where(divisor > 0, top // np.maximum(divisor, 1), 0), length


def normalized(e16: IntArray, total: IntArray | None = None) -> IntArray:
    """Probabilities in 16 bits, the addends of the importance.

    ``q = min((e16 * R + (1 << z >> 1)) >> z, 65535)`` with ``R, z`` the reciprocal of the row's sum
    of ``e16`` (26 bits): round half up, in units of ``2**-16``. Half a unit of error from rounding,
    less than ``2**-16`` of ``q`` from the reciprocal. A row without keys is all 0.

    Parameters
    ----------
    e16 : int array
        Exponentials.
    total : int array ``[..., heads, n_q]``, optional
        What the row's exponentials sum to, where a sink or rounding adds to it; up to 46 bits.
    """
    sums = e16.sum(-1) if total is None else total
    r, z = reciprocal(sums[..., None])
    return np.minimum((e16 * r + ((np.int64(1) << z) >> 1)) >> z, E16_MAX)
