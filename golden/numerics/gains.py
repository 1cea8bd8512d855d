"""Gains of tokens: by the largest magnitude, or by least squared error, with a sign or without.

A token has 8-bit codes of which 4 bits may be used. Its largest magnitude needs a gain that no
other channel needs; a smaller one clips that channel, and rounds all others finer. A negative gain
mirrors the codes, whose range reaches further down: the largest magnitude can fall on nibble -8.
"""

import enum
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from dtqatten.configuration.core import CODE_MAX, CODE_MIN, CODE_NORM, Config

__all__ = [
    "FACTORS",
    "GAIN_MAX",
    "SIGNED_STEP",
    "Gains",
    "check_signs",
    "check_sizes",
    "largest_gains",
    "least_error",
    "token_gains",
]

#: Largest stored gain of a token (8 bits, never 0).
GAIN_MAX = 255
#: Gains with a sign are even: their byte has a bit less for them.
SIGNED_STEP = 2
#: Gains that are tried, in those by the largest magnitude.
FACTORS: tuple[float, ...] = tuple(x / 50 for x in range(32, 51))

_Floats = NDArray[np.floating[Any]]


class Gains(enum.StrEnum):
    """How the gains of tokens are found."""

    #: The largest magnitude has code 119.
    LARGEST = "largest"
    #: The token's squared error is the least.
    LEAST_ERROR = "least-error"
    #: The same, and gains may be negative. Those of V never are: weights of P x V have no sign.
    SIGNED = "signed"

    @classmethod
    def served(cls, config: Config, role: str) -> "Gains":
        """Return the kind that a machine takes for ``q``, ``k`` or ``v``, plain where it can."""
        return cls.SIGNED if config.signed_gains and role != "v" else cls.LARGEST

    @property
    def step(self) -> int:
        """Unit of the gains."""
        return SIGNED_STEP if self is Gains.SIGNED else 1

    @property
    def most(self) -> int:
        """Largest magnitude of a gain."""
        return GAIN_MAX // self.step * self.step

    @property
    def dtype(self) -> type[np.integer[Any]]:
        """Of arrays of gains."""
        return np.int16 if self is Gains.SIGNED else np.uint8

    @property
    def of_values(self) -> "Gains":
        """The same for V."""
        return Gains.LEAST_ERROR if self is Gains.SIGNED else self


def largest_gains(ratio: _Floats, gains: Gains) -> _Floats:
    """Return gains by the largest magnitude, rounded up so that nothing clips.

    ``g = ceil(255 * ratio)``, to the next even number with a sign, at least the step.

    Parameters
    ----------
    ratio : float array
        Largest magnitude of each token, in that which gain 255 holds.
    gains : Gains
    """
    return np.maximum(np.ceil(ratio * (GAIN_MAX / gains.step)), 1) * gains.step


def token_gains(
    values: _Floats, unit: _Floats, ratio: _Floats, bits: ArrayLike | None, gains: Gains
) -> _Floats:
    """Return gains ``[..., heads, n]`` by a rule.

    Parameters
    ----------
    values : float array ``[..., heads, n, d]``
    unit : float array ``[..., heads]``
        Worth of a code at gain 255.
    ratio : float array ``[..., heads, n]``
        As of :func:`largest_gains`.
    bits : int array ``[..., n]``, optional
        Precisions by which errors count: of 8 bits, or else of 4; None is 4 everywhere.
    gains : Gains
    """
    if gains is Gains.LARGEST:
        return largest_gains(ratio, gains)
    eight = np.zeros((1, 1), bool) if bits is None else np.asarray(bits)[..., None, :] == 8
    return least_error(values, unit[..., None], ratio, eight, gains)


def least_error(
    values: _Floats, unit: _Floats, ratio: _Floats, eight: NDArray[np.bool_], gains: Gains
) -> _Floats:
    """Return the gains of the least squared error.

    Tried are that by the largest magnitude, then :data:`FACTORS` times it, rounded to the nearest,
    each with a sign also negative; of equal errors the first stays. Errors are those of the token's
    own precision. A gain whose codes, of 8 or of 4 bits, have a mean square above
    :data:`~dtqatten.configuration.core.CODE_NORM` is passed over: no score is too wide then.

    Parameters
    ----------
    values : float array ``[..., n, d]``
    unit : float array, broadcasts to ``[..., n]``
        Worth of a code at gain 255.
    ratio : float array ``[..., n]``
        As of :func:`largest_gains`.
    eight : bool array, broadcasts to ``[..., n]``
        Tokens of 8 bits; others have 4.
    gains : Gains
        ``least-error`` or ``signed``.
    """
    chosen = np.minimum(largest_gains(ratio, gains), gains.most).astype(values.dtype)
    least = _error(values, unit * chosen / GAIN_MAX, eight)
    for factor in FACTORS:
        size = np.rint(ratio * (factor * GAIN_MAX / gains.step)).clip(1) * gains.step
        for sign in (1, -1)[: gains.step]:
            tried = (sign * np.minimum(size, gains.most)).astype(values.dtype)
            error = _error(values, unit * tried / GAIN_MAX, eight)
            chosen = np.where(error < least, tried, chosen)
            least = np.minimum(error, least)
    return chosen


def _error(values: _Floats, steps: _Floats, eight: NDArray[np.bool_]) -> _Floats:
    """Squared errors of tokens whose codes are worth ``steps``; infinite of codes too large."""
    codes = np.rint(values / steps[..., None]).clip(CODE_MIN, CODE_MAX)
    worth = np.where(eight[..., None], codes, _four(codes)) if eight.any() else _four(codes)
    error = _squares(worth * steps[..., None] - values)
    return np.where(_sizes(codes) <= values.shape[-1] * CODE_NORM, error, np.inf)


def _four(codes: _Floats) -> _Floats:
    """Worth of the high nibbles, as :func:`dtqatten.golden.numerics.codes.four_bit`."""
    return np.floor((codes + 8) * (1 / 16)) * 16


def _sizes(codes: _Floats) -> _Floats:
    """Sum of squares of a token's codes, the larger one of those of 8 and of 4 bits."""
    return np.maximum(_squares(codes), _squares(_four(codes)))


def _squares(values: _Floats) -> _Floats:
    found: _Floats = np.einsum("...d,...d->...", values, values)
    return found


def check_sizes(codes: NDArray[np.integer[Any]]) -> None:
    """Refuse tokens whose codes could draw a score of too many bits.

    Raises
    ------
    ValueError
        If a mean square is above :data:`~dtqatten.configuration.core.CODE_NORM`.
    """
    if not codes.size or codes.min() >= -CODE_MAX - 1:
        return
    mean = float(_sizes(codes.astype(np.float64)).max()) / codes.shape[-1]
    if mean > CODE_NORM:
        raise ValueError(
            f"a token's codes have a mean square of {mean:g}, above {CODE_NORM}, and could draw "
            "scores of too many bits: quantize it with a larger gain"
        )


def check_signs(name: str, gains: NDArray[np.integer[Any]] | None, signed: bool) -> None:
    """Refuse gains that are not of a block's kind.

    Parameters
    ----------
    name : str
        For the message: of which tensor.
    gains : int array, optional
    signed : bool
        Gains are even, and may be negative.

    Raises
    ------
    ValueError
        If one is not.
    """
    if gains is None:
        return
    if signed and (gains % SIGNED_STEP).any():
        raise ValueError(
            f"a gain of {name} is {gains[gains % SIGNED_STEP > 0].flat[0]} with signed_gains, "
            f"which are even: quantize with gains {Gains.SIGNED}"
        )
    if not signed and (gains < 0).any():
        raise ValueError(
            f"a gain of {name} is {gains.min()} without signed_gains: set them, or quantize with "
            f"gains {Gains.LEAST_ERROR}"
        )
