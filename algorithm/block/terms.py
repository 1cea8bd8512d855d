"""What a model does to its scores apart from masks: soft-capping, biases and sinks, in nats."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from dtqatten.golden.numerics.codes import IntArray
from dtqatten.golden.numerics.score_terms import (
    quantize_bias,
    quantize_key_bias,
    quantize_softcap,
)
from dtqatten.golden.numerics.sinks import SINK_OCTAVES, quantize_sinks

__all__ = ["NO_TERMS", "Terms"]

#: A sink counts as at most so many nats above a row's maximum, as on integers.
_SINK_MOST = SINK_OCTAVES * float(np.log(2))


@dataclass(frozen=True, eq=False)
class Terms:
    """What is done to scores before softmax, in this order.

    Parameters
    ----------
    softcap : float, optional
        A score ``x`` becomes ``softcap * tanh(x / softcap)``.
    bias : tensor ``[batch or 1, heads or 1, n_q or 1, n_k or 1]``, optional
        What is added to each score; finite.
    sinks : tensor ``[heads]``, optional
        A logit of each head, which takes up a share of each row and has no value.
    key_bias : tensor ``[batch, heads, n_k]``, optional
        What is added to the scores of each key of a query head.
    """

    softcap: float | None = None
    bias: Tensor | None = None
    sinks: Tensor | None = None
    key_bias: Tensor | None = None

    def __bool__(self) -> bool:
        """Whether there is anything."""
        return self.named() != []

    def named(self) -> list[str]:
        """Names of what a model has of them."""
        names = {"softcap": "soft-capping", "bias": "biases of scores", "sinks": "sinks"}
        return [name for field, name in names.items() if getattr(self, field) is not None]

    def part(self, row: slice, heads: slice) -> "Terms":
        """Those of some sequences and heads."""
        bias, sinks, keys = self.bias, self.sinks, self.key_bias
        if bias is not None:
            bias = bias[row if bias.shape[0] > 1 else slice(None)]
            bias = bias[:, heads if bias.shape[1] > 1 else slice(None)]
        return dataclasses.replace(
            self,
            bias=bias,
            sinks=None if sinks is None else sinks[heads],
            key_bias=None if keys is None else keys[row, heads],
        )

    def applied(self, scores: Tensor) -> Tensor:
        """Scores ``[batch, heads, n_q, n_k]`` with cap and bias."""
        if self.softcap is not None:
            scores = (scores / self.softcap).tanh() * self.softcap
        if self.key_bias is not None:
            scores = scores + self.key_bias.to(scores.dtype)[:, :, None]
        return scores if self.bias is None else scores + self.bias.to(scores.dtype)

    def share(self, top: Tensor) -> Tensor | None:
        """Exponential ``[batch, heads, n_q, 1]`` of the sinks, relative to each row's maximum.

        Parameters
        ----------
        top : tensor ``[batch, heads, n_q, 1]``
        """
        if self.sinks is None:
            return None
        above = self.sinks.to(top.dtype)[:, None, None] - top
        return above.clamp_max(_SINK_MOST).exp()

    def golden(self, shape: tuple[int, int, int, int]) -> dict[str, Any]:
        """Arguments of :class:`dtqatten.golden.numerics.attention.Inputs`.

        Parameters
        ----------
        shape : tuple
            Of the scores.

        Raises
        ------
        ValueError
            If a term does not fit its bits.
        """
        made: dict[str, Any] = {}
        if self.softcap is not None:
            made["softcap"] = quantize_softcap(self.softcap)
        if self.bias is not None:
            bias = quantize_bias(self.bias.detach().cpu().double().numpy())
            made["bias"] = np.broadcast_to(bias, shape)
        if (sinks := self.sink_codes()) is not None:
            made["sinks"] = np.broadcast_to(sinks, shape[:2])
        if (biases := self.bias_codes()) is not None:
            made["key_bias"] = biases
        return made

    def sink_codes(self) -> IntArray | None:
        """Sinks ``[heads]`` as integers, if there are any."""
        if self.sinks is None:
            return None
        return quantize_sinks(self.sinks.detach().cpu().double().numpy())

    def bias_codes(self) -> IntArray | None:
        """Biases of keys ``[batch, heads, n_k]`` as integers, if there are any."""
        if self.key_bias is None:
            return None
        return quantize_key_bias(self.key_bias.detach().cpu().double().numpy())


#: Plain softmax attention.
NO_TERMS = Terms()
