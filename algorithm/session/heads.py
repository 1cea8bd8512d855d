"""Cascade head pruning: a layer leaves out the heads of least output so far, for good."""

import torch
from torch import Tensor

from dtqatten.algorithm.block.operands import Result
from dtqatten.algorithm.block.order import places

__all__ = ["HeadPruning"]


class HeadPruning:
    """Heads of a forward pass: which are left, and how large their outputs are.

    Attributes
    ----------
    kept : bool tensor ``[batch, heads]``, optional
        Heads not pruned so far; None before the first layer.
    magnitude : tensor ``[batch, heads]``, optional
        Sum of their outputs' magnitudes so far.
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
            self.magnitude = torch.zeros(len(like), heads, device=like.device)
            self.kept = torch.ones_like(self.magnitude, dtype=torch.bool)
        # A model may go on on another device.
        self.kept, self.magnitude = (x.to(like.device) for x in (self.kept, self.magnitude))
        rank = places(self.magnitude.masked_fill(~self.kept, -1.0))
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
            size = (result.output.abs() * counted[:, None, :, None]).sum((2, 3))
            self.magnitude = self.magnitude + size.to(self.magnitude) * self.kept
        drawn = result.importance
        if drawn is not None and drawn.shape[1] == self.kept.shape[1]:
            drawn = drawn * self.kept[..., None]
        return Result(result.output, drawn, result.again, result.multiplied)
