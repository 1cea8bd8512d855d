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

    def prune(self, share: float, result: Result, counted: Tensor) -> Result:
        """Leave out all heads but a share of them, then count this block's output.

        Parameters
        ----------
        share : float
            Share of the heads that are kept.
        result : Result
            Of the block, with all heads.
        counted : bool tensor ``[batch, n_q]``
            Queries that count.

        Returns
        -------
        Result
            The same, with no importance drawn by pruned heads.
        """
        heads = result.output.shape[1]
        if self.kept is None or self.magnitude is None:
            self.magnitude = torch.zeros(result.output.shape[:2], device=counted.device)
            self.kept = torch.ones_like(self.magnitude, dtype=torch.bool)
        # A model may go on on another device.
        self.kept, self.magnitude = (x.to(counted.device) for x in (self.kept, self.magnitude))
        keep = max(1, round(share * heads))
        rank = places(self.magnitude.masked_fill(~self.kept, -1.0))
        self.kept = self.kept & (rank < keep)
        with torch.no_grad():
            size = (result.output.abs() * counted[:, None, :, None]).sum((2, 3))
            self.magnitude = self.magnitude + size.to(self.magnitude) * self.kept
        drawn = result.importance
        if drawn is not None:
            drawn = drawn * self.kept[..., None]
        return Result(result.output, drawn, result.again, result.multiplied)
