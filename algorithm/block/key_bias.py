"""Biases of keys in 16 bits, as the machine keeps them beside K."""

import math

import torch
from torch import Tensor

from dtqatten.algorithm.policy_values import PolicyError
from dtqatten.golden.numerics.score_terms import quantize_key_bias
from dtqatten.golden.numerics.segments import MERGE_FRACTION

__all__ = ["bias_codes", "bias_nats"]

#: Units of a bias in a nat: 1/256 octaves.
_UNITS = math.log2(math.e) * (1 << MERGE_FRACTION)


def bias_codes(nats: Tensor, layer: int) -> Tensor:
    """Return biases by :func:`~dtqatten.golden.numerics.score_terms.quantize_key_bias`.

    Parameters
    ----------
    nats : tensor ``[batch, heads, n]``
    layer : int
        For messages.

    Raises
    ------
    PolicyError
        If a bias is NaN or does not fit 16 bits.
    """
    real = nats.detach()
    try:
        codes = quantize_key_bias(real.cpu().numpy())
    except ValueError:
        raise PolicyError(
            f"the mean of Q draws {float(real.abs().max()):.0f} nats of a key in layer "
            f"{layer}, and a bias has 88.7: set center to true, or center_queries to false"
        ) from None
    return torch.from_numpy(codes).to(nats.device)


def bias_nats(codes: Tensor, kind: torch.dtype) -> Tensor:
    """Return what biases stand for, in nats."""
    return (codes.double() / _UNITS).to(kind)
