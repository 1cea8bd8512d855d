"""Float64 reference of the attention block."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dtqatten.golden.numerics.codes import BoolArray, FloatArray

__all__ = ["Reference", "distances", "reference"]


@dataclass(frozen=True, eq=False)
class Reference:
    """Results in real arithmetic.

    Parameters
    ----------
    output : float64 array ``[..., heads, n_q, d]``
    probability : float64 array ``[..., heads, n_q, n_k]``
    importance : float64 array ``[..., n_k]``
        Sum of the probabilities over queries and heads.
    """

    output: FloatArray
    probability: FloatArray
    importance: FloatArray


def distances(query_ids: ArrayLike, key_ids: ArrayLike) -> FloatArray:
    """How many positions each key is behind each query, ``[m, n]``; below 0 where it is ahead.

    ``0 <= distance`` is a causal mask, ``distance < window`` a sliding window.
    """
    return np.subtract.outer(
        np.asarray(query_ids, dtype=np.float64), np.asarray(key_ids, dtype=np.float64)
    )


def reference(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    mask: BoolArray | None = None,
    *,
    softmax_scale: float | None = None,
    count_normalize: bool = False,
    sinks: ArrayLike | None = None,
    softcap: float | None = None,
    bias: ArrayLike | None = None,
) -> Reference:
    """Compute ``softmax(Q K^T * scale) V`` and the importance of each key.

    With sinks, a row's probabilities are ``exp(logit) / (exp(sink) + sum(exp(logit)))``.

    Parameters
    ----------
    q, k, v : float array ``[..., heads, n_q, d]``, ``[..., heads, n_k, d]``
        Operands.
    mask : bool array ``[..., n_q, n_k]``, optional
        True where a query sees a key. A row that sees none has output and probabilities 0.
    softmax_scale : float, optional
        Factor of the scores; ``1/sqrt(d)`` if None.
    count_normalize : bool
        Divide the importance by the number of queries that saw the token.
    sinks : float array ``[..., heads]``, optional
        A logit of each head, in nats, that takes up a share of each row; -inf takes none.
    softcap : float, optional
        A logit ``x`` becomes ``softcap * tanh(x / softcap)``, in nats.
    bias : float array ``[..., heads, n_q, n_k]``, optional
        What is added to each logit then, in nats.
    """
    left, right, values = (np.asarray(x, dtype=np.float64) for x in (q, k, v))
    scale = left.shape[-1] ** -0.5 if softmax_scale is None else softmax_scale
    logits = left @ right.swapaxes(-1, -2) * scale
    if softcap is not None:
        logits = softcap * np.tanh(logits / softcap)
    if bias is not None:
        logits = logits + np.asarray(bias, dtype=np.float64)
    seen = np.ones((*logits.shape[:-3], *logits.shape[-2:]), dtype=bool)
    if mask is not None:
        seen = np.broadcast_to(mask, seen.shape)
    logits = np.where(seen[..., None, :, :], logits, -np.inf)
    extra = np.full(logits.shape[:-2], -np.inf) if sinks is None else np.asarray(sinks, np.float64)
    extra = np.broadcast_to(extra[..., None, None], (*logits.shape[:-1], 1))
    # A row of nothing but -inf has no maximum to subtract and no sum to divide by: it is 0.
    largest = np.maximum(logits.max(-1, keepdims=True), extra)
    shift = np.where(np.isfinite(largest), largest, 0.0)
    exponentials = np.exp(logits - shift)
    total = exponentials.sum(-1, keepdims=True) + np.exp(extra - shift)
    probability = exponentials / np.where(total > 0, total, 1.0)
    importance = probability.sum((-3, -2))
    if count_normalize:
        importance = importance / np.maximum(seen.sum(-2), 1)
    return Reference(probability @ values, probability, importance)
