"""What is done to scores before softmax: soft-capping, and a bias of each pair or of each key.

All need scores in a unit that does not depend on the row, which the block's integer products are
not: so scores are brought to the exponent's domain first, 1/256 octaves, as sinks are
(:mod:`~dtqatten.golden.numerics.sinks`). From there on the block is the same: distances from a
row's maximum are whole 1/256 octaves, whose scale is ``2**-3`` in every row. The machine has biases
of keys, one a key and query head; only the golden model has the others.
"""

import numpy as np
from numpy.typing import ArrayLike

from dtqatten.configuration.core import Config
from dtqatten.golden.numerics.codes import IntArray
from dtqatten.golden.numerics.segments import MERGE_FRACTION, RowScale
from dtqatten.golden.numerics.softmax import FRACTION_BITS

__all__ = [
    "KEY_BIAS_BITS",
    "OCTAVE_BITS",
    "TERM_BITS",
    "biased",
    "capped",
    "in_octaves",
    "int16_of",
    "no_biases",
    "quantize_bias",
    "quantize_key_bias",
    "quantize_softcap",
]

#: Bits of a key's bias, signed: 88.7 nats either way.
KEY_BIAS_BITS = 16
#: Bits of a score in 1/256 octaves that has a key's bias, signed: 354.9 nats either way.
OCTAVE_BITS = 18
#: Bits of a bias, signed, and of a cap and its sign: 22,713 nats either way.
TERM_BITS = 24
#: What to do about a term that does not fit these.
WAY_OUT = "give -22713..22713 nats, and hide a key by a mask"
#: Steps of the table of the hyperbolic tangent for each 1 of its argument.
_STEPS = 1 << 7
#: From this argument on the tangent is 1, to 2.3e-7.
_END = 8
#: Fraction bits of argument and tangent.
_FRACTION = 16
#: ``TANH[i] = round(2**16 * tanh(i / 128))``, up to 8.
TANH: IntArray = np.rint(np.tanh(np.arange(_END * _STEPS + 1) / _STEPS) * (1 << _FRACTION)).astype(
    np.int64
)
TANH.flags.writeable = False


def _octaves(nats: ArrayLike, what: str, bits: int, way_out: str) -> IntArray:
    """Turn nats into integers of 1/256 octaves: ``round(x * 256 * log2(e))``, ties to even."""
    values = np.asarray(nats, dtype=np.float64)
    found = np.rint(values * np.log2(np.e) * (1 << MERGE_FRACTION))
    bad = ~(np.abs(found) < 1 << (bits - 1))
    if bad.any():
        raise ValueError(
            f"{what.format(values[bad].flat[0])} does not fit {bits} bits of 1/256 octaves: "
            f"{way_out}"
        )
    return found.astype(np.int64)


def quantize_bias(nats: ArrayLike) -> IntArray:
    """Turn biases in nats into integers: ``b = round(bias * 256 * log2(e))``, ties to even.

    Parameters
    ----------
    nats : float array ``[..., heads, n_q, n_k]``

    Returns
    -------
    int64 array of the same shape
        In 1/256 octaves, 24 bits. Half a unit is 0.14 % of a weight.

    Raises
    ------
    ValueError
        If a bias is NaN or beyond 22,713 nats.
    """
    return _octaves(nats, "bias {}", TERM_BITS, WAY_OUT)


def quantize_key_bias(nats: ArrayLike) -> IntArray:
    """Turn biases of keys in nats into integers, as :func:`quantize_bias`, of 16 bits.

    Parameters
    ----------
    nats : float array ``[..., heads, n_k]``

    Returns
    -------
    int16 array of the same shape

    Raises
    ------
    ValueError
        If a bias is NaN or beyond 88.7 nats.
    """
    way_out = "give -88.7..88.7 nats, less what all keys of the head have in common"
    return _octaves(nats, "bias {} of a key", KEY_BIAS_BITS, way_out).astype(np.int16)


def quantize_softcap(nats: float) -> int:
    """Turn a cap of the scores in nats into an integer, as :func:`quantize_bias`; at least 1.

    Raises
    ------
    ValueError
        If it is not in 0.0014..22,713 nats.
    """
    cap = int(_octaves(nats, "softcap {}", TERM_BITS, WAY_OUT))
    if cap < 1:
        raise ValueError(
            f"softcap {nats} is less than half of 1/256 octaves: give 0.0014 nats or more"
        )
    return cap


def capped(octaves: IntArray, cap: int) -> IntArray:
    """Cap scores softly: ``cap * tanh(octaves / cap)`` by a table of 1025 entries.

    ``x = (min(|octaves|, 8*cap) << 16) // cap`` with 16 bits of fraction; then, with ``i = x >> 9``
    and ``r = x & 511``, ``h = TANH[i] + (((TANH[i+1] - TANH[i]) * r) >> 9)``, and the magnitude is
    ``(cap*h + 2**15) >> 16``. It differs from the real function by at most ``0.5 + cap * 2**-14``,
    1.6 units for a cap of 50 nats.

    Parameters
    ----------
    octaves : int64 array
        Scores, in 1/256 octaves.
    cap : int
        1 to ``2**23 - 1``, in 1/256 octaves.

    Raises
    ------
    ValueError
        If the cap is out of range.
    """
    most = (1 << (TERM_BITS - 1)) - 1
    if not 1 <= cap <= most:
        raise ValueError(f"cap is {cap}, outside 1..{most}: make one with quantize_softcap")
    x = (np.minimum(np.abs(octaves), _END * cap) << _FRACTION) // cap
    drop = _FRACTION - (_STEPS.bit_length() - 1)
    step = np.minimum(x >> drop, len(TANH) - 2)
    rise = TANH[step + 1] - TANH[step]
    tangent = TANH[step] + ((rise * (x - (step << drop))) >> drop)
    size = (cap * tangent + (1 << (_FRACTION - 1))) >> _FRACTION
    return np.where(octaves < 0, -size, size)


def in_octaves(
    scores: IntArray, scale: RowScale, softcap: int | None, bias: IntArray | None
) -> tuple[IntArray, RowScale]:
    """Bring scores to 1/256 octaves, cap them, and add a bias to each.

    ``octaves = (s * M_i << 3) >> shift``, rounded down; then :func:`capped`; then the bias is
    added.

    Parameters
    ----------
    scores : int64 array ``[..., heads, n_q, n_k]``
        Gained scores.
    scale : RowScale
        Of the rows.
    softcap : int, optional
    bias : int array ``[..., heads, n_q, n_k]``, optional

    Returns
    -------
    octaves : int64 array ``[..., heads, n_q, n_k]``
    scale : RowScale
        Turns differences of these into exponents of 1/32 octaves: 1 and a shift of 3.
    """
    more = MERGE_FRACTION - FRACTION_BITS
    octaves: IntArray = ((scores * scale.factor[..., None]) << more) >> scale.shift[..., None, None]
    if softcap is not None:
        octaves = capped(octaves, softcap)
    if bias is not None:
        octaves = octaves + np.asarray(bias, np.int64)
    return octaves, RowScale(np.ones_like(scale.factor), np.full_like(scale.shift, more))


def int16_of(values: ArrayLike, what: str, how: str) -> IntArray:
    """Return integers of 16 bits as int64.

    Parameters
    ----------
    values : int array
    what, how : str
        For the message: their name, and the function that makes them.

    Raises
    ------
    ValueError
        If one is no integer of 16 bits.
    """
    found = np.asarray(values)
    if (
        not np.issubdtype(found.dtype, np.integer)
        or (np.abs(found.astype(np.int64) + 0.5) > 1 << 15).any()
    ):
        raise ValueError(f"{what} must be integers of 16 bits: see {how}")
    return found.astype(np.int64)


def biased(scores: IntArray, scale: RowScale, bias: IntArray) -> tuple[IntArray, RowScale]:
    """Bring scores to 1/256 octaves, and add the bias of their key.

    ``x = clip(s * M_i << 3 >> shift)``, rounded down; ``s = clip(x + b)``. Both stay within 18
    bits, and above the lowest number of these, which stands for a key that is not seen.

    Parameters
    ----------
    scores : int64 array ``[..., heads, n_q, n_k]``
        Gained scores.
    scale : RowScale
        Of the rows.
    bias : int array ``[..., heads, n_k]``
        As of :func:`quantize_key_bias`.

    Returns
    -------
    octaves : int64 array ``[..., heads, n_q, n_k]``
    scale : RowScale
        As of :func:`in_octaves`.

    Raises
    ------
    ValueError
        If a bias is no integer of 16 bits.
    """
    added = int16_of(bias, "biases of keys", "quantize_key_bias")
    most = (1 << (OCTAVE_BITS - 1)) - 1
    octaves, to_exponents = in_octaves(scores, scale, None, None)
    octaves = np.clip(octaves, -most, most) + added[..., None, :]
    return np.clip(octaves, -most, most), to_exponents


def no_biases(config: Config, heads: int, keys: int) -> IntArray | None:
    """Biases of a layer without any: 0 on a machine that adds them, which rounds scores there."""
    return np.zeros((heads, keys), np.int16) if config.bias_heads else None
