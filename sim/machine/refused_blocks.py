"""Attention blocks that are not what a machine's chain of layers computes."""

from dtqatten.algorithm.block.operands import Operands
from dtqatten.files.errors import UsageError

__all__ = ["refuse_block"]


def refuse_block(layer: int, op: Operands) -> None:
    """Refuse a block that is not one of the machine's chains.

    Parameters
    ----------
    layer : int
        For messages.
    op : Operands

    Raises
    ------
    UsageError
        If it is of more than one sequence, its queries see different keys, or something else than a
        mask is done to its scores.
    """
    batch = len(op.q.codes)
    if batch != 1:
        raise UsageError(f"a batch of {batch}: the machine takes one sequence at a time")
    if op.terms:
        raise UsageError(
            f"layer {layer} has {op.terms.named()[0]}, which the machine's chains have not: use "
            "mode integer"
        )
    if op.visible is not None and op.visible.shape[-2] > 1:
        raise UsageError(
            f"layer {layer} has a mask of a row for each query (causal, window or blocks): "
            "the machine's chains take one set of keys; use mode integer"
        )
