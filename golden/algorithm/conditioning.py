"""Make Q, K and V easier to quantize without changing what attention computes.

A Hadamard rotation spreads outlying channels, per-channel factors move magnitude from K to Q, and
means that all tokens share are taken out of K and V. In real arithmetic the output is the same.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor, nn

__all__ = ["Calibration", "Conditioner", "Observer", "folded", "hadamard", "rotate"]


@lru_cache(maxsize=8)
def hadamard(n: int) -> Tensor:
    """Orthonormal symmetric ``[n, n]`` matrix of Hadamard blocks.

    The blocks have the largest power of two that divides ``n``: one block where ``n`` is a power.

    Raises
    ------
    ValueError
        If ``n`` is odd: nothing would be mixed.
    """
    size = n & -n
    if size < 2:
        raise ValueError(f"{n} channels cannot be rotated: their number must be even")
    block = torch.ones(1, 1)
    while len(block) < size:
        block = torch.cat([torch.cat([block, block], 1), torch.cat([block, -block], 1)])
    return torch.block_diag(*[block * size**-0.5] * (n // size))


def rotate(x: Tensor) -> Tensor:
    """Rotate the last axis; its own inverse."""
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
    """

    q_max: Tensor
    k_max: Tensor
    k_mean: Tensor
    v_mean: Tensor


class Observer:
    """Collects a :class:`Calibration` from batches."""

    def __init__(self) -> None:
        self._maxima: list[Tensor] = []
        self._sums: list[Tensor] = []
        self._tokens = 0.0

    def add(self, q: Tensor, k: Tensor, v: Tensor, valid: Tensor) -> None:
        """Take in Q, K and V ``[batch, heads, n, d]`` of the tokens that are ``valid``."""
        with torch.no_grad():
            b, kv, _, d = k.shape
            seen = valid[:, None, :, None].to(k)
            grouped = (q.abs() * seen).reshape(b, kv, -1, d)
            maxima = [grouped.amax((0, 2)), (k.abs() * seen).amax((0, 2))]
            sums = [(k * seen).sum((0, 2)), (v * seen).sum((0, 2))]
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
    rotated : bool
        Rotate Q, K and V, and the output back.
    qk_folded, v_folded : bool
        Rotation and factors of Q and K, or rotation of V and output, are in the weights already.
    """

    factors: Tensor | None = None
    k_mean: Tensor | None = None
    v_mean: Tensor | None = None
    rotated: bool = False
    qk_folded: bool = False
    v_folded: bool = False

    @classmethod
    def make(
        cls, rotated: bool, smooth: float | None, center: bool, measured: Calibration | None
    ) -> "Conditioner":
        """Derive factors and means from a calibration.

        Raises
        ------
        ValueError
            If ``smooth`` or ``center`` need a calibration that is missing.
        """
        factors = k_mean = v_mean = None
        if smooth is not None or center:
            if measured is None:
                raise ValueError("smooth and center need a calibration: calibrate the model first")
            if smooth is not None:
                k_max = measured.k_max.clamp_min(1e-5)
                factors = k_max**smooth / measured.q_max.clamp_min(1e-5) ** (1 - smooth)
                factors = factors / factors.log().mean(-1, keepdim=True).exp()
            if center:
                k_mean, v_mean = measured.k_mean, measured.v_mean
        return cls(factors, k_mean, v_mean, rotated)

    def inputs(self, q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Condition Q, K and V before they are quantized."""
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
        return q, k, v

    def output(self, o: Tensor) -> Tensor:
        """Undo what V was given."""
        if self.rotated and not self.v_folded:
            o = rotate(o)
        if self.v_mean is not None:
            mean = rotate(self.v_mean) if self.v_folded and self.rotated else self.v_mean
            o = o + mean.repeat_interleave(o.shape[1] // mean.shape[0], 0)[:, None]
        return o


# Where the projections of a layer are, relative to the attention module and to the layer.
_FAMILIES = (
    ("query", "key", "value", "output.dense"),
    ("q_lin", "k_lin", "v_lin", "out_lin"),
    ("q_proj", "k_proj", "v_proj", "o_proj"),
    ("q_proj", "k_proj", "v_proj", "out_proj"),
)


def _projections(layer: nn.Module) -> tuple[nn.Linear, ...] | None:
    """Q, K, V and output projection of a layer of a known family."""
    named = dict(layer.named_modules())
    for family in _FAMILIES:
        found = []
        for name in family:
            # The shortest path: BERT's feed-forward ends in output.dense as well.
            paths = [p for p in named if p == name or p.endswith(f".{name}")]
            paths = [p for p in paths if name != "output.dense" or "attention" in p]
            if len(paths) == 1 and isinstance(named[paths[0]], nn.Linear):
                found.append(named[paths[0]])
        if len(found) == 4:
            return tuple(found)
    return None


@contextmanager
def folded(
    layers: list[nn.Module], conditioners: list[Conditioner], d_head: int, rope: bool
) -> Iterator[list[Conditioner]]:
    """Put rotations and factors into the weights for as long as the context lasts.

    V's rotation goes into the V and output projections. Q's and K's rotation and factors go into
    their projections unless a rotary embedding stands between. Layers whose projections are not
    known stay as they are and are conditioned in the attention function, which is as exact.

    Parameters
    ----------
    layers : list of modules
        The model's layers.
    conditioners : list of Conditioner
        One a layer.
    d_head : int
        Channels of a head.
    rope : bool
        Whether Q and K are changed after their projections.

    Yields
    ------
    list of Conditioner
        The conditioners, told what is folded.
    """
    saved: list[tuple[nn.Parameter, Tensor]] = []
    result = []
    try:
        for layer, conditioner in zip(layers, conditioners, strict=True):
            found = _projections(layer)
            if found is None or not (conditioner.rotated or conditioner.factors is not None):
                result.append(conditioner)
                continue
            q, k, v, o = found
            for module in found:
                for parameter in module.parameters():
                    saved.append((parameter, parameter.detach().clone()))
            result.append(_fold(conditioner, q, k, v, o, d_head, rope))
        yield result
    finally:
        with torch.no_grad():
            for parameter, value in saved:
                parameter.copy_(value)


def _fold(
    c: Conditioner,
    q: nn.Linear,
    k: nn.Linear,
    v: nn.Linear,
    o: nn.Linear,
    size: int,
    rope: bool,
) -> Conditioner:
    with torch.no_grad():
        if not rope:
            if c.factors is not None:
                narrow = c.factors[..., None]
                wide = narrow.repeat_interleave(q.out_features // k.out_features, 0)
                _each_head(k, size, lambda w: w / narrow)
                _each_head(q, size, lambda w: w * wide)
            if c.rotated:
                for module in (q, k):
                    _each_head(module, size, lambda w: hadamard(size) @ w)
        if c.rotated:
            _each_head(v, size, lambda w: hadamard(size) @ w)
            heads = o.in_features // size
            weight = o.weight.view(o.out_features, heads, size)
            o.weight.copy_((weight @ hadamard(size)).reshape(o.weight.shape))
    return Conditioner(c.factors, c.k_mean, c.v_mean, c.rotated, not rope, c.rotated)


def _each_head(module: nn.Linear, size: int, change: Callable[[Tensor], Tensor]) -> None:
    """Change a projection's output channels head by head, bias included."""
    heads = module.out_features // size
    module.weight.copy_(change(module.weight.view(heads, size, -1)).reshape(module.weight.shape))
    if module.bias is not None:
        module.bias.copy_(change(module.bias.view(heads, size, 1)).reshape(module.bias.shape))
