"""Places of values in descending order."""

import torch
from torch import Tensor

__all__ = ["places"]


def places(values: Tensor) -> Tensor:
    """Place of each value along the last axis: 0 is the largest, equals go by their index."""
    order = values.argsort(dim=-1, descending=True, stable=True)
    place = torch.empty_like(order)
    place.scatter_(-1, order, torch.arange(order.shape[-1], device=order.device).expand_as(order))
    return place
