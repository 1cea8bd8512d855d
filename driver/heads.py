"""Heads that a layer prunes for those that follow: what fits, and the machine's report of them."""

import numpy as np
from numpy.typing import NDArray

from dtqatten.driver.blocks import Block
from dtqatten.driver.errors import LayoutError
from dtqatten.interface.descriptor import NO_RANK, REPORT_BYTES

__all__ = ["computed_heads", "read_report"]


def computed_heads(layer: Block, before: Block | None) -> int:
    """Return how many heads a layer computes.

    Parameters
    ----------
    layer : Block
    before : Block, optional
        The layer before it in the chain.

    Raises
    ------
    LayoutError
        If they do not follow from the layer before; with value, limit and way out.
    """
    heads = layer.heads
    if layer.heads_chained:
        heads = _chained_heads(layer, before)
    if layer.keep_heads > heads:
        raise LayoutError(f"keep_heads is {layer.keep_heads}, above the {heads} heads: keep fewer")
    return heads


def _chained_heads(layer: Block, before: Block | None) -> int:
    """Return how many heads the layer before keeps for a layer, or refuse it."""
    if before is None or not before.keep_heads:
        raise LayoutError(
            "heads are chained, but the layer before keeps none: give it keep_heads, or all heads "
            "to this one"
        )
    if layer.kv_heads != layer.heads:
        raise LayoutError(
            f"{layer.heads} query heads share {layer.kv_heads} of K and V, which cannot be chained "
            "heads: leave heads_chained out, or repeat K and V"
        )
    if layer.heads != before.heads:
        raise LayoutError(
            f"Q, K and V have {layer.heads} heads, those of the layer before {before.heads}: give "
            "the pruned ones, too, with any values"
        )
    return before.keep_heads


def read_report(
    report: NDArray[np.uint32] | None, keep: int
) -> tuple[NDArray[np.int64] | None, NDArray[np.uint32] | None]:
    """Return which heads a layer keeps, and the importance of all; nothing if it ranks none.

    Parameters
    ----------
    report : uint32 array, optional
        As the machine writes it.
    keep : int
        Heads that the layer keeps.
    """
    if report is None:
        return None, None
    words = report.reshape(-1, REPORT_BYTES // 4)
    return np.flatnonzero((words[:, 1] & NO_RANK) < keep), words[:, 0]
