"""Rounding whose gradients pass straight through."""

import torch
from torch import Tensor

from dtqatten.golden.numerics.weights import WeightCode

__all__ = ["four_bit", "highest", "rounded", "straight"]


class _Straight(torch.autograd.Function):
    """Forward ``exact``, backward to ``value`` as if nothing had been rounded."""

    @staticmethod
    def forward(ctx: object, value: Tensor, exact: Tensor) -> Tensor:
        del ctx, value
        return exact

    @staticmethod
    def backward(ctx: object, *gradients: Tensor) -> tuple[Tensor, None]:
        del ctx
        return gradients[0], None


def straight(value: Tensor, exact: Tensor) -> Tensor:
    """Return ``exact`` with the gradient of ``value`` (straight-through estimator)."""
    if value.requires_grad and torch.is_grad_enabled():
        result: Tensor = _Straight.apply(value, exact.detach())
        return result
    return exact


def rounded(value: Tensor) -> Tensor:
    """Round a tensor that nothing else refers to: in its place where no gradient is wanted."""
    if value.requires_grad and torch.is_grad_enabled():
        return straight(value, value.detach().round())
    return value.round_()


def four_bit(codes: Tensor) -> Tensor:
    """Worth of the highest nibble, as :func:`dtqatten.golden.numerics.codes.four_bit`."""
    return straight(codes, _multiples(codes, 8, 16))


def highest(weights: Tensor, code: WeightCode) -> Tensor:
    """Keep the highest nibble, as :meth:`dtqatten.golden.numerics.weights.WeightCode.highest`."""
    unit = code.unit
    half = unit // 2 if code.unsigned else 8 * (unit - 1) // 15
    kept = _multiples(weights, half, unit)
    return straight(weights, kept.clamp_(max=15 * unit) if code.unsigned else kept)


def _multiples(values: Tensor, half: int, unit: int) -> Tensor:
    """Round down to multiples of ``unit`` what is ``half`` more."""
    return (values.detach() + half).div_(unit).floor_().mul_(unit)
