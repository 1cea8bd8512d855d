"""Make Q, K and V easier to quantize without changing what attention computes.

A Hadamard rotation spreads outlying channels, per-channel factors move magnitude from K to Q, and
means that all tokens share are taken out of K, V and Q. What the mean of Q would draw is a bias of
each key then. In real arithmetic the output is the same.
"""

from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor

from dtqatten.files.errors import UsageError

__all__ = ["Calibration", "Conditioner", "Observer", "hadamard", "rotate"]


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # what is kept serves training as well
def hadamard(n: int) -> Tensor:
    """Orthonormal symmetric ``[n, n]`` matrix of Hadamard blocks, in float32 on the CPU.

    The blocks have the largest power of two that divides ``n``: one block where ``n`` is a power.

    Raises
    ------
    UsageError
        If ``n`` is odd: nothing would be mixed.
    """
    size = n & -n
    if size < 2:
        raise UsageError(f"{n} channels cannot be rotated: their number must be even")
    block = torch.ones(1, 1, dtype=torch.float32, device="cpu")
    while len(block) < size:
        block = torch.cat([torch.cat([block, block], 1), torch.cat([block, -block], 1)])
    return torch.block_diag(*[block * size**-0.5] * (n // size))


def rotate(x: Tensor) -> Tensor:
    """Rotate the last axis, on its device and in its type; its own inverse."""
    return x @ hadamard(x.shape[-1]).to(x)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Statistics of the unconditioned K, Q and V of one layer, ``[kv heads, d]``.

    Parameters
    ----------
    q_max, k_max : tensor
        Largest magnitudes; Q's over the heads that share a K.
    k_mean, v_mean : tensor
        Means over the tokens.
    q_mean : tensor ``[heads, d]``
        The same of each query head.
    """

    q_max: Tensor
    k_max: Tensor
    k_mean: Tensor
    v_mean: Tensor
    q_mean: Tensor


class Observer:
    """Collects a :class:`Calibration` from batches."""

    def __init__(self) -> None:
        self._maxima: list[Tensor] = []
        self._sums: list[Tensor] = []
        self._tokens = 0.0

    def add(self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor) -> None:
        """Take in Q, K and V of a batch.

        Parameters
        ----------
        q, k, v : tensor ``[batch, heads, n, d]``
            Unconditioned; K and V may have fewer heads.
        valid : bool tensor ``[batch, n]``
            Tokens that are no padding.
        """
        with torch.no_grad():
            b, kv, _, d = k.shape
            seen = valid[:, None, :, None].to(k)
            grouped = (q.abs() * seen).reshape(b, kv, -1, d)
            maxima = [grouped.amax((0, 2)), (k.abs() * seen).amax((0, 2))]
            sums = [(x * seen).sum((0, 2)) for x in (k, v, q)]
            if self._sums:
                maxima = [torch.maximum(a, b) for a, b in zip(self._maxima, maxima, strict=True)]
                sums = [a + b for a, b in zip(self._sums, sums, strict=True)]
            self._maxima, self._sums = maxima, sums
            self._tokens += float(valid.sum())

    def result(self) -> Calibration:
        """Return what was collected.

        Raises
        ------
        ValueError
            If nothing was.
        """
        if not self._tokens:
            raise ValueError("nothing to calibrate from: give at least one batch with tokens")
        return Calibration(*self._maxima, *(x / self._tokens for x in self._sums))


@dataclass(frozen=True, eq=False)
class Conditioner:
    """What is done to Q, K and V of one layer.

    Parameters
    ----------
    factors : tensor ``[kv heads, d]``, optional
        K is divided and Q multiplied by it.
    k_mean, v_mean : tensor ``[kv heads, d]``, optional
        Subtracted; V's is added to the output again.
    q_mean : tensor ``[heads, d]``, optional
        Subtracted; what it draws is the bias of each key.
    rotated : bool
        Rotate Q, K and V, and the output back.
    qk_folded, v_folded : bool
        Rotation and factors of Q and K, or rotation of V and output, are in the weights already.
    """

    factors: Tensor | None = None
    k_mean: Tensor | None = None
    v_mean: Tensor | None = None
    q_mean: Tensor | None = None
    rotated: bool = False
    qk_folded: bool = False
    v_folded: bool = False

    @classmethod
    def make(
        cls,
        rotated: bool,
        smooth: float | None,
        center: bool,
        center_queries: bool,
        measured: Calibration | None,
    ) -> "Conditioner":
        """Derive factors and means from a calibration.

        Parameters
        ----------
        rotated : bool
            Rotate Q, K and V, and the output back.
        smooth : float, optional
            Exponent of K's maxima in the factors, 0 to 1; None is no factors.
        center : bool
            Subtract the means of K and V.
        center_queries : bool
            Subtract the means of Q.
        measured : Calibration, optional
            Needed for all but ``rotated``.

        Raises
        ------
        ValueError
            If a calibration is needed and missing.
        """
        factors = k_mean = v_mean = q_mean = None
        if smooth is not None or center or center_queries:
            if measured is None:
                raise ValueError(
                    "smooth, center and center_queries need a calibration: calibrate the model "
                    "first"
                )
            if smooth is not None:
                k_max = measured.k_max.clamp_min(1e-5)
                factors = k_max**smooth / measured.q_max.clamp_min(1e-5) ** (1 - smooth)
                factors = factors / factors.log().mean(-1, keepdim=True).exp()
            if center:
                k_mean, v_mean = measured.k_mean, measured.v_mean
            if center_queries:
                q_mean = measured.q_mean
        return cls(factors, k_mean, v_mean, q_mean, rotated)

    def to(self, like: Tensor) -> "Conditioner":
        """Return the same on the device and in the type of a tensor."""
        tensors: dict[str, Any] = {
            f.name: value.to(like)
            for f in fields(self)
            if isinstance(value := getattr(self, f.name), Tensor)
        }
        return replace(self, **tensors)

    def check(self, k: Tensor) -> None:
        """Refuse K and V of another shape than what was calibrated.

        Raises
        ------
        UsageError
            If heads or channels differ.
        """
        for made in (self.factors, self.k_mean, self.v_mean):
            if made is not None and made.shape != (k.shape[1], k.shape[3]):
                raise UsageError(
                    f"the calibration is of {made.shape[0]} heads of K with {made.shape[1]} "
                    f"channels, this layer has {k.shape[1]} with {k.shape[3]}: calibrate this model"
                )

    def inputs(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Condition Q, K and V before they are quantized."""
        self.check(k)
        k_mean, v_mean = self.k_mean, self.v_mean
        if not self.qk_folded:
            if k_mean is not None:
                k = k - k_mean[:, None]
            if self.factors is not None:
                f = self.factors[:, None]
                k = k / f
                q = q * f.repeat_interleave(q.shape[1] // k.shape[1], 0)
            if self.rotated:
                q, k = rotate(q), rotate(k)
        elif k_mean is not None:
            shift = k_mean if self.factors is None else k_mean / self.factors
            k = k - (rotate(shift) if self.rotated else shift)[:, None]
        if v_mean is not None:
            v = v - (rotate(v_mean) if self.v_folded and self.rotated else v_mean)[:, None]
        if self.rotated and not self.v_folded:
            v = rotate(v)
        mean = self._query_mean(q)
        return q if mean is None else q - mean[:, None], k, v

    def _query_mean(self, q: Tensor) -> Tensor | None:
        """What is subtracted from conditioned Q, ``[heads, d]``.

        Raises
        ------
        UsageError
            If Q has other heads or channels than what was calibrated.
        """
        mean = self.q_mean
        if mean is None:
            return None
        if mean.shape != (q.shape[1], q.shape[3]):
            raise UsageError(
                f"the calibration is of {mean.shape[0]} heads of Q with {mean.shape[1]} channels, "
                f"this layer has {q.shape[1]} with {q.shape[3]}: calibrate this model"
            )
        if self.factors is not None:
            mean = mean * self.factors.repeat_interleave(len(mean) // len(self.factors), 0)
        return rotate(mean) if self.rotated else mean

    def key_bias(self, q: Tensor, k: Tensor) -> Tensor | None:
        """What the mean that was taken out of Q would draw of each key, ``[batch, heads, n_k]``.

        Parameters
        ----------
        q, k : tensor ``[batch, heads, n, d]``
            Of :meth:`inputs`.
        """
        mean = self._query_mean(q)
        if mean is None:
            return None
        shared = mean.unflatten(0, (k.shape[1], -1))
        return (shared @ k.transpose(-1, -2)).flatten(1, 2)

    def output(self, o: Tensor) -> Tensor:
        """Undo what V was given."""
        if self.rotated and not self.v_folded:
            o = rotate(o)
        if self.v_mean is not None:
            mean = rotate(self.v_mean) if self.v_folded and self.rotated else self.v_mean
            o = o + mean.repeat_interleave(o.shape[1] // mean.shape[0], 0)[:, None]
        return o
