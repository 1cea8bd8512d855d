"""Local V pruning: which keys of a head have their V fetched."""

import torch
from torch import Tensor

from dtqatten.algorithm.block.operands import Operands
from dtqatten.algorithm.block.order import places

__all__ = ["fetched"]


def fetched(drawn: Tensor, op: Operands) -> Tensor:
    """Keys of largest probability in each head: ``ceil(values * visible keys)`` of them."""
    visible = op.visible
    if op.per_query and visible is not None and visible.shape[-2] > 1:
        rows = op.queries[:, None, :, None].to(drawn)
        drawn = drawn / (visible * rows).sum(-2).clamp_min(1)
    if visible is None:
        count = torch.full(drawn.shape[:1], drawn.shape[-1], device=drawn.device)
    else:
        count = visible.any(-2)[:, 0].sum(-1)
    keep = (count * op.values).ceil().clamp_min(1)[:, None, None]
    return places(drawn) < keep
