"""Balanced radix-16 codes: 8 bits cut into signed nibbles, and the scales that give them worth."""

import enum
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dtqatten.configuration.core import CODE_MAX, CODE_MIN
from dtqatten.golden.numerics.gains import GAIN_MAX, Gains, check_sizes, largest_gains, token_gains

__all__ = [
    "CODE_LIMIT",
    "GAIN_MAX",
    "GAIN_ONE",
    "BoolArray",
    "Codes",
    "FloatArray",
    "Granularity",
    "IntArray",
    "apply_gain",
    "at_precision",
    "code_range",
    "dequantize",
    "four_bit",
    "join",
    "quantize",
    "split",
]

IntArray = NDArray[np.integer[Any]]
FloatArray = NDArray[np.floating[Any]]
BoolArray = NDArray[np.bool_]

#: The largest magnitude of a head is quantized to this code.
CODE_LIMIT = CODE_MAX
#: The gain, in units of 1/256, that changes nothing: ports that carry a gain are 9 bits wide.
GAIN_ONE = 256


class Granularity(enum.StrEnum):
    """Values that share one scale: a head's or a token's."""

    #: All tokens of a head.
    HEAD = "head"
    #: One token of a head: the head's scale times an 8-bit gain.
    TOKEN = "token"


@dataclass(frozen=True, eq=False)
class Codes:
    """A quantized tensor, ``x ~ codes * scale`` or ``x ~ codes * scale * gains / 255``.

    Parameters
    ----------
    codes : int8 array ``[..., heads, n, d]``
        Balanced codes in [-128, 119], of a mean square of at most 120**2 a token, also in 4 bits:
        so no score has more bits than such codes of 120 draw.
    scale : float64 array ``[..., heads]``
        Worth of one code, at gain 255 where there are gains.
    gains : int array ``[..., heads, n]``, optional
        Gain of each token, 1 to 255, with a sign even, -254 to 254; None for one scale per head.

    Raises
    ------
    ValueError
        If a code or gain is out of range, a scale is not positive and finite, or shapes disagree.
    """

    codes: IntArray
    scale: FloatArray
    gains: IntArray | None = None

    def __post_init__(self) -> None:
        if self.codes.ndim < 3:
            raise ValueError(f"codes must be [..., heads, n, d], not of shape {self.codes.shape}")
        _check_range("code", self.codes, CODE_MIN, CODE_MAX)
        if self.scale.shape != self.codes.shape[:-2]:
            raise ValueError(
                f"scale has shape {self.scale.shape}, codes {self.codes.shape}: "
                f"give one scale per head, shape {self.codes.shape[:-2]}"
            )
        if not (np.isfinite(self.scale) & (self.scale > 0)).all():
            raise ValueError("every scale must be positive and finite")
        if self.gains is not None:
            if self.gains.shape != self.codes.shape[:-1]:
                raise ValueError(
                    f"gains have shape {self.gains.shape}, codes {self.codes.shape}: "
                    f"give one gain per token of a head, shape {self.codes.shape[:-1]}"
                )
            _check_range("gain", self.gains, -GAIN_MAX, GAIN_MAX)
            if not self.gains.all():
                raise ValueError(f"a gain is 0: give one of 1..{GAIN_MAX}, or its negative")
        check_sizes(self.codes)

    @property
    def unit(self) -> FloatArray:
        """Worth of one code at gain ``GAIN_ONE`` (256/256), the neutral gain of the machine."""
        return self.scale if self.gains is None else self.scale * (GAIN_ONE / GAIN_MAX)

    @property
    def token_scale(self) -> FloatArray:
        """Worth of one code of each token, ``[..., heads, n]``: ``scale * gains / 255``."""
        if self.gains is None:
            return np.broadcast_to(self.scale[..., None], self.codes.shape[:-1])
        return self.scale[..., None] * self.gains / GAIN_MAX

    def take(self, ids: ArrayLike) -> "Codes":
        """Return the tokens ``ids`` only, in that order, at unchanged scales."""
        index = np.asarray(ids, dtype=np.intp)
        gains = None if self.gains is None else self.gains[..., index]
        return Codes(self.codes[..., index, :], self.scale, gains)

    def of_heads(self, heads: ArrayLike | slice) -> "Codes":
        """Return some heads only, in that order."""
        index = heads if isinstance(heads, slice) else np.asarray(heads, dtype=np.intp)
        gains = None if self.gains is None else self.gains[..., index, :]
        return Codes(self.codes[..., index, :, :], self.scale[..., index], gains)


def quantize(
    x: ArrayLike,
    granularity: Granularity | str = Granularity.HEAD,
    *,
    scale: ArrayLike | None = None,
    gains: Gains | str = Gains.LARGEST,
    bits: ArrayLike | None = None,
) -> Codes:
    """Quantize Q, K or V to balanced 8-bit codes.

    ``codes = round(x / s)``, ties to even, with ``s = scale`` of the head (granularity ``head``) or
    ``s = scale * g / 255`` of the token (granularity ``token``). ``scale = absmax(head) / 119``
    unless given; ``g = ceil(255 * absmax(token) / (119 * scale))``, at least 1, is rounded up so
    that no token clips, or of the least error (:mod:`~dtqatten.golden.numerics.gains`). A head that
    is all zeros has scale 1 and codes 0.

    Parameters
    ----------
    x : float array ``[..., heads, n, d]``
        Values, all finite.
    granularity : Granularity
        ``head`` or ``token``.
    scale : float array ``[..., heads]``, optional
        Scale fixed beforehand, for tokens that join a cache.
    gains : Gains
        How gains are found.
    bits : int array ``[..., n]``, optional
        Precisions by which errors are those of 4 bits or, if 8, of 8; None is 4 everywhere.

    Raises
    ------
    ValueError
        If ``x`` holds NaN or infinity, has no heads, tokens or channels, or does not fit the range
        that a given ``scale`` leaves.
    """
    if granularity not in tuple(Granularity):
        raise ValueError(f"granularity is {granularity!r}: choose one of {', '.join(Granularity)}")
    kind = Granularity(granularity)
    values = np.asarray(x, dtype=np.float64)
    if values.ndim < 3 or 0 in values.shape:
        raise ValueError(f"x must be a non-empty [..., heads, n, d], not of shape {values.shape}")
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).sum())
        raise ValueError(f"x holds {bad} NaN or infinite values: only finite ones have a code")
    rule = Gains(gains) if kind is Granularity.TOKEN else Gains.LARGEST
    largest = np.abs(values).max(-1)
    head = largest.max(-1)
    if scale is None:
        # The lower limit keeps subnormal heads away from a division by zero.
        unit = np.where(head > 0, np.maximum(head / CODE_LIMIT, np.finfo(np.float64).tiny), 1.0)
    else:
        unit = np.broadcast_to(np.asarray(scale, dtype=np.float64), head.shape).copy()
        if not (np.isfinite(unit) & (unit > 0)).all():
            raise ValueError("every scale must be positive and finite")
    if kind is Granularity.HEAD:
        found = None
        step = unit[..., None, None]
    else:
        # Divide first: the largest token of a head then has gain 255 exactly.
        ratio = largest / (head if scale is None else unit * CODE_LIMIT)[..., None].clip(
            min=np.finfo(np.float64).tiny
        )
        if largest_gains(ratio, Gains.LARGEST).max() > GAIN_MAX:
            raise ValueError(_clips(head, unit))
        found = token_gains(values, unit, ratio, bits, rule)
        step = (unit[..., None] * found / GAIN_MAX)[..., None]
    codes = np.rint(values / step)
    if rule is not Gains.LARGEST:
        codes = codes.clip(CODE_MIN, CODE_MAX)
    elif np.abs(codes).max() > CODE_LIMIT:
        raise ValueError(_clips(head, unit))
    return Codes(codes.astype(np.int8), unit, None if found is None else found.astype(rule.dtype))


def _clips(head: FloatArray, unit: FloatArray) -> str:
    worst = np.unravel_index(np.argmax(head / unit), head.shape)
    return (
        f"x reaches {head[worst]:g}, outside {CODE_LIMIT} * scale = {CODE_LIMIT * unit[worst]:g}: "
        f"use a scale of at least {head[worst] / CODE_LIMIT:g}"
    )


def code_range(planes: int) -> tuple[int, int]:
    """Smallest and largest balanced code of ``planes`` nibbles: (-128, 119) for two.

    Nibbles are in [-8, 7]; the lower ones of the smallest code are 0, so that it has as many bits.

    Raises
    ------
    ValueError
        If ``planes`` is less than 1.
    """
    if planes < 1:
        raise ValueError(f"planes is {planes}: a code has at least 1")
    return -8 * 16 ** (planes - 1), 7 * (16**planes - 1) // 15


def split(codes: ArrayLike, planes: int = 2) -> tuple[IntArray, ...]:
    """Cut codes into signed nibbles, highest plane first.

    With two planes ``h = (c + 8) >> 4`` and ``l = c - 16 * h``: both in [-8, 7].

    Raises
    ------
    ValueError
        If a code is not an integer in ``code_range(planes)``.
    """
    rest = _integers("code", codes)
    _check_range("code", rest, *code_range(planes))
    nibbles = []
    for _ in range(planes - 1):
        carry = (rest + 8) >> 4
        nibbles.append((rest - 16 * carry).astype(np.int8))
        rest = carry
    return (rest.astype(np.int8), *reversed(nibbles))


def join(*planes: ArrayLike) -> IntArray:
    """Undo :func:`split`: ``16 * h + l`` for two planes, highest first.

    Raises
    ------
    ValueError
        If there is no plane, or a nibble is outside [-8, 7].
    """
    if not planes:
        raise ValueError("join needs at least one plane")
    code: IntArray = np.zeros((), dtype=np.int64)
    for plane in planes:
        nibble = _integers("nibble", plane)
        _check_range("nibble", nibble, -8, 7)
        code = 16 * code + nibble
    return code


def four_bit(codes: ArrayLike, planes: int = 2) -> IntArray:
    """Worth of codes of which only the highest plane is fetched: ``16 * h`` for two planes.

    ``h`` is the round-to-nearest 4-bit code, so nothing is quantized a second time.

    Raises
    ------
    ValueError
        If a code is not an integer in ``code_range(planes)``.
    """
    return split(codes, planes)[0].astype(np.int64) << 4 * (planes - 1)


def at_precision(codes: ArrayLike, bits: ArrayLike | None, planes: int = 2) -> IntArray:
    """Worth of each token's codes at the token's precision.

    Parameters
    ----------
    codes : int array
        Balanced codes.
    bits : int array, optional
        0, 4 or 8, of a shape that broadcasts to ``codes``; None is 8 everywhere. A token of 0 bits
        is worth 0, one of 4 bits ``16 * h``, one of 8 bits its whole code, all planes of it.
    planes : int
        Nibbles of a code.

    Raises
    ------
    ValueError
        If a precision is not 0, 4 or 8, or a code is out of range.
    """
    whole = _integers("code", codes)
    if bits is None:
        _check_range("code", whole, *code_range(planes))
        return whole
    precision = np.asarray(bits)
    if not np.isin(precision, (0, 4, 8)).all():
        odd = precision[~np.isin(precision, (0, 4, 8))].flat[0]
        raise ValueError(f"precision is {odd!r}: a token has 0, 4 or 8 bits")
    return np.where(
        precision == 8, whole, np.where(precision == 4, four_bit(whole, planes), np.int64(0))
    )


def apply_gain(values: ArrayLike, gains: ArrayLike) -> IntArray:
    """Multiply integers by gains in 1/256 and round half up: ``(values * gains + 128) >> 8``.

    A gain of ``GAIN_ONE`` changes nothing. Used for row multipliers, scores and probabilities.
    """
    product = np.asarray(values, dtype=np.int64) * np.asarray(gains, dtype=np.int64)
    return (product + 128) >> 8


def dequantize(codes: Codes, bits: ArrayLike | None = None) -> FloatArray:
    """Return the float64 values that codes stand for, ``[..., heads, n, d]``.

    Parameters
    ----------
    codes : Codes
        Quantized tensor.
    bits : int array ``[..., n]``, optional
        Precision of each token, 0, 4 or 8.

    Raises
    ------
    ValueError
        If a precision is not 0, 4 or 8.
    """
    precision = None if bits is None else np.asarray(bits)[..., None, :, None]
    return at_precision(codes.codes, precision) * codes.token_scale[..., None]


def _integers(name: str, values: ArrayLike) -> NDArray[np.int64]:
    array = np.asarray(values)
    if not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name}s must be integers, not {array.dtype}")
    return array.astype(np.int64)


def _check_range(name: str, values: IntArray, low: int, high: int) -> None:
    """Refuse values out of range.

    Parameters
    ----------
    name : str
        What the values are.
    values : int array
    low, high : int
        Smallest and largest value.
    """
    if values.size and (values.min() < low or values.max() > high):
        worst = values.min() if values.min() < low else values.max()
        raise ValueError(f"{name} {worst} is outside {low}..{high}")
