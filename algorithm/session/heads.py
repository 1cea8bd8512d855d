"""Cascade head pruning: a layer leaves out the heads of least output so far, for good."""

from dataclasses import replace

import torch
from torch import Tensor

from dtqatten.algorithm.block.operands import Result
from dtqatten.algorithm.block.order import places
from dtqatten.golden.numerics.heads import HEAD_FRACTION, drawn, head_weight
from dtqatten.golden.numerics.importance import IMPORTANCE_MAX

__all__ = ["HeadPruning"]


class HeadPruning:
    """Heads of a forward pass: which are left, and how large their outputs are.

    Attributes
    ----------
    kept : bool tensor ``[batch, heads]``, optional
        Heads not pruned so far; None before the first layer.
    magnitude : int64 tensor ``[batch, heads]``, optional
        Their importance: sums of their outputs' magnitudes so far, as the machine has them
        (:mod:`dtqatten.golden.numerics.heads`).
    """

    def __init__(self) -> None:
        self.kept: Tensor | None = None
        self.magnitude: Tensor | None = None

    def choose(self, keep: int, heads: int, like: Tensor) -> Tensor:
        """Return which heads are left in a layer, by their outputs in the layers before.

        Parameters
        ----------
        keep : int
            Heads that are left at most.
        heads : int
            Heads of the model.
        like : tensor ``[batch, n_q]``
            On the device of the pass.

        Returns
        -------
        bool tensor ``[batch, heads]``
        """
        if self.kept is None or self.magnitude is None:
            self.magnitude = torch.zeros(len(like), heads, dtype=torch.int64, device=like.device)
            self.kept = torch.ones_like(self.magnitude, dtype=torch.bool)
        # A model may go on on another device.
        self.kept, self.magnitude = (x.to(like.device) for x in (self.kept, self.magnitude))
        rank = places(self.magnitude.masked_fill(~self.kept, -1))
        self.kept = self.kept & (rank < keep)
        return self.kept

    def count(self, result: Result, counted: Tensor) -> Result:
        """Count a block's output for the layers to come.

        Parameters
        ----------
        result : Result
            Of the block; heads that are not left may have any.
        counted : bool tensor ``[batch, n_q]``
            Queries that count.

        Returns
        -------
        Result
            The same, with no importance drawn by pruned heads.
        """
        assert self.kept is not None
        assert self.magnitude is not None
        with torch.no_grad():
            added = _added(result, counted).to(self.magnitude) * self.kept
            self.magnitude = (self.magnitude + added).clamp_max(IMPORTANCE_MAX)
        importance = result.importance
        if importance is not None and importance.shape[1] == self.kept.shape[1]:
            importance = importance * self.kept[..., None]
        return replace(result, importance=importance)


def _added(result: Result, counted: Tensor) -> Tensor:
    """Return what a block adds to the importance of its heads, ``[batch, heads]``.

    Of outputs in codes what the machine adds, bit by bit; of others the same in real numbers,
    rounded down at the end.
    """
    output, d = result.output * counted[:, None, :, None], result.output.shape[-1]
    if result.unit is None:
        size = output.abs().sum((2, 3)) * ((1 << HEAD_FRACTION) / d)
        return size.clamp_max(IMPORTANCE_MAX).to(torch.int64)
    # A head that was not computed has unit 0.
    unit = result.unit
    codes = (output / torch.where(unit > 0, unit, 1)[..., None, None]).round()
    return torch.from_numpy(drawn(codes.cpu().numpy(), head_weight(unit.cpu().numpy(), d)))
