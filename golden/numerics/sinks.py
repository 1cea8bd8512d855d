"""Sinks: a logit of each head that joins a row's sum, and has neither a value nor an importance.

A sink and the scores have the exponent's domain in common: a sink is a signed number of 1/256
octaves, and a row's maximum is at ``m * M_i * 2**-shift`` 1/32 octaves there. The sink joins once,
when a row is complete, in one segment or in many. Only sum and divisor take it in: exponentials,
weights and P x V stay relative to the largest score, and keep their resolution below a large sink.
"""

import numpy as np
from numpy.typing import ArrayLike

from dtqatten.golden.numerics.codes import IntArray
from dtqatten.golden.numerics.narrowing import DIVISOR_FRACTION
from dtqatten.golden.numerics.score_terms import int16_of
from dtqatten.golden.numerics.segments import MERGE_FRACTION, POWERS, RowScale
from dtqatten.golden.numerics.softmax import FRACTION_BITS
from dtqatten.golden.numerics.weights import BALANCED, WeightCode

__all__ = ["NO_SINK", "SINK_OCTAVES", "quantize_sinks", "sink_weight"]

#: The sink, of 16 bits, that takes no share of any row.
NO_SINK = -(2**15)
#: A sink counts as at most this many octaves above a row's maximum: outputs are 0 before, unless
#: more than 8192 keys are all near the maximum.
SINK_OCTAVES = 29


def quantize_sinks(logits: ArrayLike) -> IntArray:
    """Turn sinks in nats into integers: ``a = round(logit * 256 * log2(e))``, ties to even.

    Parameters
    ----------
    logits : float array ``[..., heads]``
        -inf: the head has none.

    Returns
    -------
    int16 array ``[..., heads]``
        In 1/256 octaves; ``NO_SINK`` for -inf.

    Raises
    ------
    ValueError
        If a logit is NaN, or beyond 88.7 nats, which 16 bits hold.
    """
    values = np.asarray(logits, dtype=np.float64)
    none = np.isneginf(values)
    found = np.rint(np.where(none, 0.0, values) * np.log2(np.e) * 2**MERGE_FRACTION)
    bad = ~(np.abs(found) < 2**15)
    if bad.any():
        raise ValueError(
            f"sink logit {values[bad].flat[0]} does not fit 16 bits of 1/256 octaves: "
            "use -inf for no sink, or logits in -88.7..88.7"
        )
    return np.where(none, NO_SINK, found).astype(np.int16)


def sink_weight(
    sinks: IntArray, maximum: IntArray, scale: RowScale, code: WeightCode = BALANCED
) -> tuple[IntArray, IntArray]:
    """What a sink adds to each row's sum and divisor.

    ``u = ((m * M_i << 3) >> shift) - a``, rounded down, is how far the sink is below the row's
    maximum, in 1/256 octaves; negative above it, where it is cut at 29 octaves. Then
    ``e = POWERS[u & 255] >> (u >> 8)``, a left shift where ``u`` is negative, and
    ``D = (top*e + 2**11) >> 12`` with the weights' ``top``, in 1/16 of a code as all divisors.

    Parameters
    ----------
    sinks : int array ``[..., heads]``
        As of :func:`quantize_sinks`.
    maximum : int array ``[..., heads, n_q]``
        Largest gained score of each row.
    scale : RowScale
    code : WeightCode
        Of the weights.

    Returns
    -------
    e, divisor : int64 arrays ``[..., heads, n_q]``
        46 bits; 41 bits, 45 with three planes.

    Raises
    ------
    ValueError
        If a sink is no integer of 16 bits.
    """
    kept = int16_of(sinks, "sinks", "quantize_sinks")
    octaves = (maximum * scale.factor) << (MERGE_FRACTION - FRACTION_BITS) >> scale.shift[..., None]
    a = kept[..., None]
    u = np.maximum(octaves - a, -SINK_OCTAVES << MERGE_FRACTION)
    fraction = POWERS[u & ((1 << MERGE_FRACTION) - 1)]
    # From 17 octaves below nothing is left; the shift itself stays in range.
    octave = np.minimum(u >> MERGE_FRACTION, 32)
    e = np.where(octave < 0, fraction << np.maximum(-octave, 0), fraction >> np.maximum(octave, 0))
    e = np.where(a == NO_SINK, 0, e)
    drop = 16 - DIVISOR_FRACTION
    return e, (e * code.top + (1 << (drop - 1))) >> drop
