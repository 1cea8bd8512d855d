"""Local V pruning: whose V each row block multiplies, by the machine's rule."""

import numpy as np
import torch
from torch import Tensor

from dtqatten.algorithm.block.operands import Operands
from dtqatten.golden.numerics.local_values import SHARE_ALL, Tiling, multiplied, tiling
from dtqatten.golden.numerics.segments import equal_cuts

__all__ = ["chosen", "tiles_of"]


def tiles_of(op: Operands) -> Tiling:
    """Row blocks and groups of keys of each sequence, as a machine's arrays have them.

    Queries that count are computed in chunks that fit the machine, keys that any query sees in
    segments; in each the tokens of 4 bits come first, and tokens of a class keep the order of the
    list of the layer before. Other queries and keys are of no tile. Where
    row blocks are tried in 4 bits, each is a chunk, of as many whole queries as it has room for. In
    decode steps (``Arrays.stepwise``) a query is a chunk.
    """
    if op.tiles is not None:
        return op.tiles
    batch, heads, n_q, _ = op.q.codes.shape
    shared, n_k = op.k.codes.shape[1:3]
    arrays = op.arrays
    group = heads // shared if arrays.grouped else 1
    most = arrays.n_max if op.threshold is None else arrays.rows
    chunk = 1 if arrays.stepwise else max(1, most // group)
    tile = (arrays.rows, arrays.cols, arrays.depth)
    blocks = np.full((batch, heads, n_q), -1)
    groups = np.full((batch, n_k), -1)
    tiles = np.full((batch, n_k), -1)
    counted = op.queries.cpu().numpy() > 0
    q_bits, k_bits = op.q_bits.cpu().numpy(), op.k_bits.cpu().numpy()
    seen = np.ones((batch, n_k), bool)
    if op.visible is not None:
        seen = op.visible[:, 0].any(1).cpu().numpy()
    for i in range(batch):
        rows, keys = np.flatnonzero(counted[i]), np.flatnonzero(seen[i])
        if op.listed is not None:
            places = op.listed[i].cpu().numpy()
            rows, keys = (one[np.argsort(places[one])] for one in (rows, keys))
        chunks = [rows[first : first + chunk] for first in range(0, len(rows), chunk)]
        rows = np.concatenate([_clustered(part, q_bits[i]) for part in chunks]) if chunks else rows
        keys = _clustered(keys, k_bits[i])
        made = tiling(
            heads,
            len(rows),
            len(keys),
            tile,
            group=group,
            chunk=chunk,
            cuts=equal_cuts(len(keys), arrays.n_max) if len(keys) else (),
        )
        blocks[i][:, rows] = made.blocks
        groups[i, keys] = made.groups
        tiles[i, keys] = made.tiles
    return Tiling(blocks, groups, tiles)


def _clustered(places: np.ndarray, bits: np.ndarray) -> np.ndarray:
    """Return tokens with those of 4 bits first."""
    of = bits[places]
    return np.concatenate([places[of == 4], places[of != 4]])


def chosen(p: Tensor, op: Operands) -> Tensor | None:
    """Weights that are multiplied, ``[batch, heads, n_q, n_k]``; None is all.

    Parameters
    ----------
    p : tensor ``[batch, heads, n_q, n_k]``
        Narrowed weights, whole numbers.
    op : Operands
    """
    if op.value_share == SHARE_ALL:
        return None
    whole = p.detach().cpu().numpy().astype(np.int64)
    return torch.from_numpy(multiplied(whole, op.value_share, tiles_of(op))).to(p.device)
