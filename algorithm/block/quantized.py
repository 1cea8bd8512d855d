"""Codes of Q, K and V: made in PyTorch, by the golden model, and again at other scales.

Shapes are those of transformers: ``[batch, heads, tokens, channels]``.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dtqatten.algorithm.block.rounding import four_bit, rounded
from dtqatten.configuration.core import CODE_MAX, CODE_MIN
from dtqatten.golden.numerics import codes as golden_codes
from dtqatten.golden.numerics.codes import GAIN_MAX
from dtqatten.golden.numerics.gains import Gains, least_error

__all__ = ["Quantized", "Rule", "least_scale", "quantize", "quantize_exactly", "rescaled"]


@dataclass(frozen=True, eq=False)
class Rule:
    """How a tensor is quantized.

    Parameters
    ----------
    gains : Gains, optional
        How tokens get gains; None is one scale a head.
    bits : tensor ``[batch, n]``, optional
        Precisions by which errors count, as of :func:`dtqatten.golden.numerics.codes.quantize`.
    """

    gains: Gains | None = None
    bits: Tensor | None = None

    @property
    def of_values(self) -> "Rule":
        """The same for V."""
        return self if self.gains is None else Rule(self.gains.of_values, self.bits)

    @property
    def step(self) -> int:
        """Unit of the gains."""
        return 1 if self.gains is None else self.gains.step


@dataclass(frozen=True, eq=False)
class Quantized:
    """Balanced codes of Q, K or V.

    Parameters
    ----------
    codes : float tensor ``[batch, heads, n, d]``
        Whole numbers in [-128, 119].
    scale : tensor ``[batch, heads]``
        Worth of one code, at gain 255 where there are gains.
    gains : tensor ``[batch, heads, n]``, optional
        Gain of each token.
    """

    codes: Tensor
    scale: Tensor
    gains: Tensor | None

    @property
    def step(self) -> Tensor:
        """Worth of one code of each token, ``[batch, heads, n or 1, 1]``."""
        unit = self.scale.to(self.codes.dtype)[..., None, None]
        return unit if self.gains is None else unit * (self.gains[..., None] / GAIN_MAX)

    def worth(self, bits: Tensor | None) -> Tensor:
        """Codes at precision 4 or 8 (``[batch, n]``); None is 8 everywhere."""
        if bits is None:
            return self.codes
        eight = bits == 8
        if eight.all():
            return self.codes
        four = four_bit(self.codes)
        return four if not eight.any() else torch.where(eight[:, None, :, None], self.codes, four)

    def part(self, row: slice, heads: slice) -> "Quantized":
        """Codes of some sequences and heads."""
        gains = None if self.gains is None else self.gains[row, heads]
        return Quantized(self.codes[row, heads], self.scale[row, heads], gains)

    def numpy(self, heads: int) -> golden_codes.Codes:
        """Codes for the golden block, heads repeated to ``heads``."""

        def spread(x: Tensor) -> np.ndarray:
            return np.repeat(x.detach().cpu().numpy(), heads // x.shape[1], axis=1)

        return golden_codes.Codes(
            spread(self.codes).astype(np.int8),
            spread(self.scale).astype(np.float64),
            None if self.gains is None else spread(self.gains).astype(np.int16),
        )


def least_scale(dtype: torch.dtype) -> float:
    """Smallest scale: small enough to round nothing that matters, and its inverse is finite.

    A token's step is at least a 255th of it.
    """
    return torch.finfo(dtype).tiny * (GAIN_MAX + 1)


def quantize(x: Tensor, keep: Tensor | None, rule: Rule, scale: Tensor | None = None) -> Quantized:
    """Quantize as :func:`dtqatten.golden.numerics.codes.quantize`, in the tensor's own precision.

    Parameters
    ----------
    x : tensor ``[batch, heads, n, d]``
        Values.
    keep : bool tensor ``[batch, n]``, optional
        Tokens that the scale must hold; the others' codes are clipped and without meaning.
    rule : Rule
        How gains are found.
    scale : tensor ``[batch, heads]``, optional
        Scale fixed beforehand; what does not fit is clipped.
    """
    lowest = -CODE_MAX
    with torch.no_grad():
        largest = x.abs().amax(-1)
        if keep is not None:
            largest = largest * keep[:, None, :]
        if scale is None:
            head = largest.amax(-1)
            least = least_scale(x.dtype)
            scale = torch.where(head > 0, (head / CODE_MAX).clamp_min(least), 1.0)
        gains = None
        step = scale[..., None]
        if rule.gains is not None:
            ratio = largest / (scale * CODE_MAX)[..., None]
            if rule.gains is Gains.LARGEST:
                # The quotient of equals is 1 exactly only up to rounding of the division by 119.
                gains = (ratio * (GAIN_MAX * (1 - 1e-6))).ceil().clamp_(1, GAIN_MAX)
            else:
                gains, lowest = _least_error(x, scale, ratio, rule), CODE_MIN
            step = step * (gains / GAIN_MAX)
        inverse = step.reciprocal()[..., None]
    return Quantized(rounded(x * inverse).clamp(lowest, CODE_MAX), scale, gains)


def _least_error(x: Tensor, scale: Tensor, ratio: Tensor, rule: Rule) -> Tensor:
    """Return gains ``[batch, heads, n]`` by the golden model's search, in the tensor's type."""
    assert rule.gains is not None
    values, unit, of_largest = (y.detach().cpu().numpy() for y in (x, scale[..., None], ratio))
    eight = np.zeros((1, 1, 1), bool)
    if rule.bits is not None:
        eight = (rule.bits == 8)[:, None].cpu().numpy()
    found = least_error(values, unit, of_largest, eight, rule.gains)
    return torch.from_numpy(found).to(x)


def quantize_exactly(
    x: Tensor, keep: Tensor | None, rule: Rule, scale: Tensor | None = None
) -> Quantized:
    """Quantize with the golden model; the same contract as :func:`quantize`.

    Parameters
    ----------
    x, keep, rule, scale
        As of :func:`quantize`.
    """
    token, head = golden_codes.Granularity.TOKEN, golden_codes.Granularity.HEAD
    values = x if keep is None else x * keep[:, None, :, None]
    if scale is not None:
        limit = (scale * CODE_MAX)[..., None, None]
        values = values.clamp(-limit, limit)
    made = golden_codes.quantize(
        values.detach().cpu().double().numpy(),
        head if rule.gains is None else token,
        scale=None if scale is None else scale.cpu().double().numpy(),
        gains=rule.gains or Gains.LARGEST,
        bits=None if rule.bits is None else rule.bits.cpu().numpy(),
    )
    return Quantized(
        torch.from_numpy(made.codes.astype(np.float32)).to(x.device),
        torch.from_numpy(np.array(made.scale)).to(x.device),
        None
        if made.gains is None
        else torch.from_numpy(made.gains.astype(np.float32)).to(x.device),
    )


def rescaled(held: Quantized, scale: Tensor, unit: int = 1) -> Quantized:
    """Codes at scales that are as large or larger, for a cache that a larger token joins.

    Magnitudes of gains become ``ceil(gain * old / new)``, in whole units, codes
    ``round(code * old step / new step)``, ties to even: integers times one ratio a head or token,
    computed in float64 in either mode.

    Parameters
    ----------
    held : Quantized
        Codes of a cache.
    scale : tensor ``[batch, heads]``
        New scales, none below the old.
    unit : int
        Gains are multiples of it.
    """
    ratio = held.scale.double() / scale.double()
    if bool((ratio == 1).all()):
        return held
    gains, step = None, ratio[..., None]
    if held.gains is not None:
        old = held.gains.double()
        gains = (old.abs() * step / unit).ceil().clamp_min(1) * unit * old.sign()
        step = step * old / gains
    codes = (held.codes.double() * step[..., None]).round()
    return Quantized(
        codes.to(held.codes.dtype),
        scale,
        None if gains is None or held.gains is None else gains.to(held.gains.dtype),
    )
