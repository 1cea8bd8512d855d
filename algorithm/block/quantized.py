"""Codes of Q, K and V: made in PyTorch, by the golden model, and again at other scales.

Shapes are those of transformers: ``[batch, heads, tokens, channels]``.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dtqatten.algorithm.block.rounding import four_bit, rounded
from dtqatten.configuration.core import CODE_MAX
from dtqatten.golden.numerics import codes as golden_codes
from dtqatten.golden.numerics.codes import GAIN_MAX

__all__ = ["Quantized", "least_scale", "quantize", "quantize_exactly", "rescaled"]


@dataclass(frozen=True, eq=False)
class Quantized:
    """Balanced codes of Q, K or V.

    Parameters
    ----------
    codes : float tensor ``[batch, heads, n, d]``
        Whole numbers in [-120, 119].
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
            None if self.gains is None else spread(self.gains).astype(np.uint8),
        )


def least_scale(dtype: torch.dtype) -> float:
    """Smallest scale: small enough to round nothing that matters, and its inverse is finite.

    A token's step is at least a 255th of it.
    """
    return torch.finfo(dtype).tiny * (GAIN_MAX + 1)


def quantize(
    x: Tensor, keep: Tensor | None, per_token: bool, scale: Tensor | None = None
) -> Quantized:
    """Quantize as :func:`dtqatten.golden.numerics.codes.quantize`, in the tensor's own precision.

    Parameters
    ----------
    x : tensor ``[batch, heads, n, d]``
        Values.
    keep : bool tensor ``[batch, n]``, optional
        Tokens that the scale must hold; the others' codes are clipped and without meaning.
    per_token : bool
        Give each token a gain.
    scale : tensor ``[batch, heads]``, optional
        Scale fixed beforehand; what does not fit is clipped.
    """
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
        if per_token:
            limit = (scale * CODE_MAX)[..., None]
            # The quotient of equals is 1 exactly only up to rounding of the division by 119.
            gains = (largest / limit * (GAIN_MAX * (1 - 1e-6))).ceil().clamp_(1, GAIN_MAX)
            step = step * (gains / GAIN_MAX)
        inverse = step.reciprocal()[..., None]
    return Quantized(rounded(x * inverse).clamp(-CODE_MAX, CODE_MAX), scale, gains)


def quantize_exactly(
    x: Tensor, keep: Tensor | None, per_token: bool, scale: Tensor | None = None
) -> Quantized:
    """Quantize with the golden model; the same contract as :func:`quantize`.

    Parameters
    ----------
    x, keep, per_token, scale
        As of :func:`quantize`.
    """
    kind = golden_codes.Granularity.TOKEN if per_token else golden_codes.Granularity.HEAD
    values = x if keep is None else x * keep[:, None, :, None]
    if scale is not None:
        limit = (scale * CODE_MAX)[..., None, None]
        values = values.clamp(-limit, limit)
    made = golden_codes.quantize(
        values.detach().cpu().double().numpy(),
        kind,
        scale=None if scale is None else scale.cpu().double().numpy(),
    )
    return Quantized(
        torch.from_numpy(made.codes.astype(np.float32)).to(x.device),
        torch.from_numpy(np.array(made.scale)).to(x.device),
        None
        if made.gains is None
        else torch.from_numpy(made.gains.astype(np.float32)).to(x.device),
    )


def rescaled(held: Quantized, scale: Tensor) -> Quantized:
    """Codes at scales that are as large or larger, for a cache that a larger token joins.

    Gains become ``ceil(gain * old / new)``, codes ``round(code * old step / new step)``, ties to
    even: integers times one ratio a head or token, computed in float64 in either mode.

    Parameters
    ----------
    held : Quantized
        Codes of a cache.
    scale : tensor ``[batch, heads]``
        New scales, none below the old.
    """
    ratio = held.scale.double() / scale.double()
    if bool((ratio == 1).all()):
        return held
    gains, step = None, ratio[..., None]
    if held.gains is not None:
        old = held.gains.double()
        gains = (old * step).ceil().clamp(1, GAIN_MAX)
        step = step * old / gains
    codes = (held.codes.double() * step[..., None]).round()
    return Quantized(
        codes.to(held.codes.dtype),
        scale,
        None if gains is None or held.gains is None else gains.to(held.gains.dtype),
    )
