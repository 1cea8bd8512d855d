"""The output of a row: one division, and 8-bit codes if wanted."""

import numpy as np

from dtqatten.configuration.core import CODE_MAX, OUTPUT_CODE_MIN
from dtqatten.golden.numerics import softmax
from dtqatten.golden.numerics.codes import IntArray
from dtqatten.golden.numerics.narrowing import DIVISOR_FRACTION, Narrowed

__all__ = ["OUTPUT_FRACTION", "normalize", "requantize"]

#: Fraction bits of the 16-bit output, in units of one code of V.
OUTPUT_FRACTION = 8


def normalize(sums: IntArray, weights: Narrowed) -> IntArray:
    """Divide each row once: 16-bit outputs with 8 fraction bits, in codes of V.

    With ``R, z`` the reciprocal of the row's divisor,
    ``o = (N * R + (1 << (z + lead + 3))) >> (z + lead + 4)``, round half up, saturated to int16.
    Below 1 unit of error: 1/2 from rounding, less than 15/32 from the reciprocal. Saturation needs
    V gains and weights that were nearly all rounded up; without gains ``|o| <= 120 * 256``.

    Parameters
    ----------
    sums : int array ``[..., heads, n_q, d]``
        P x V.
    weights : Narrowed
        The weights that went into it.
    """
    r, z = softmax.reciprocal(weights.divisor)
    # sum(p*c) / (D/16) in units of 1/256: 256 * 16 / 2**(z + 16) = 2**-(z + 4).
    shift = (z + weights.lead + (softmax.RECIPROCAL_BITS - 1) - DIVISOR_FRACTION - OUTPUT_FRACTION)[
        ..., None
    ]
    quotient = (sums * r[..., None] + (np.int64(1) << (shift - 1))) >> shift
    return np.clip(quotient, -(2**15), 2**15 - 1).astype(np.int16)


def requantize(output: IntArray, shift: int = 0) -> IntArray:
    """Round 16-bit outputs to balanced 8-bit codes, half up, saturated to [-120, 119].

    ``c = (o + (1 << (7 - shift))) >> (8 - shift)``, in units ``2**shift`` smaller than V's.
    """
    drop = OUTPUT_FRACTION - shift
    rounded = (output.astype(np.int64) + (1 << (drop - 1))) >> drop
    return np.clip(rounded, OUTPUT_CODE_MIN, CODE_MAX).astype(np.int8)
