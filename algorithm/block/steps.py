"""Steps of attention in floating point, and the block made of them alone.

Everything stays on the operands' device; half precision is for the caller to widen first.
"""

import torch
from torch import Tensor

from dtqatten.algorithm.block.operands import Result
from dtqatten.algorithm.block.terms import NO_TERMS, Terms

__all__ = ["combine", "drawn", "exponentials", "largest", "plain", "positive", "scores", "spread"]


def scores(q: Tensor, k: Tensor) -> Tensor:
    """``Q K^T`` with K shared by groups of heads."""
    b, h, n, d = q.shape
    kv = k.shape[1]
    return (q.reshape(b, kv, h // kv * n, d) @ k.transpose(-1, -2)).view(b, h, n, k.shape[2])


def combine(p: Tensor, v: Tensor) -> Tensor:
    """``P V`` with V shared by groups of heads."""
    b, h, n, keys = p.shape
    kv = v.shape[1]
    return (p.reshape(b, kv, h // kv * n, keys) @ v).view(b, h, n, v.shape[-1])


def spread(x: Tensor, heads: int) -> Tensor:
    """Repeat the head axis (1) to ``heads``."""
    return x if x.shape[1] == heads else x.repeat_interleave(heads // x.shape[1], dim=1)


def positive(x: Tensor) -> Tensor:
    """Keep a sum of a row that sees nothing away from a division by zero."""
    return x.clamp_min(torch.finfo(x.dtype).tiny)


def exponentials(scores: Tensor, visible: Tensor | None) -> Tensor:
    """Exponentials relative to the row maximum, in the place of the scores."""
    if visible is not None:
        scores.masked_fill_(~visible, -torch.inf)
    return scores.sub_(largest(scores.detach())).exp_()


def largest(scores: Tensor, visible: Tensor | None = None) -> Tensor:
    """Maximum of each row over what it sees; the lowest number where that is nothing."""
    if visible is not None:
        scores = scores.masked_fill(~visible, -torch.inf)
    return scores.amax(-1, keepdim=True).clamp_min(torch.finfo(scores.dtype).min)


def drawn(e: Tensor, total: Tensor, queries: Tensor) -> Tensor:
    """Column sums of probabilities over the queries that count, ``[batch, heads, n_k]``."""
    with torch.no_grad():
        weights = queries[:, None, None, :] / positive(total.transpose(-1, -2))
        return (weights @ e).squeeze(-2)


def plain(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    visible: Tensor | None,
    scaling: float,
    queries: Tensor,
    terms: Terms = NO_TERMS,
) -> Result:
    """Attention in floating point, with importance; nothing is quantized.

    Parameters
    ----------
    q, k, v : tensor ``[batch, heads, n, d]``
        Operands; K and V may have fewer heads.
    visible : bool tensor ``[batch, 1, n_q or 1, n_k]``, optional
        Which keys a query sees; None is all.
    scaling : float
        Factor of the scores.
    queries : tensor ``[batch, n_q]``
        1 for queries that count for importance, 0 for the others.
    terms : Terms
        What is done to the scores.
    """
    own = terms.applied(scores(q, k) * scaling)
    share = None if terms.sinks is None else terms.share(largest(own, visible))
    e = exponentials(own, visible)
    total = e.sum(-1, keepdim=True)
    if share is not None:
        total = total + share
    output = combine(e, v) / positive(total)
    return Result(output, drawn(e, total, queries))
