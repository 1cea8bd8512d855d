"""Local V pruning: each row block multiplies V of the groups of keys that weigh most in it.

SpAtten (HPCA 2021, section III-C) fetches V of the most probable tokens of a head. A value array
reduces a group of neighbouring keys a step, for the rows of a row block at once, so that it saves a
step where all of them leave out a group. Groups are chosen when a row block's weights are known,
before its P x V begins.
"""

from dataclasses import dataclass

import numpy as np

from dtqatten.configuration.core import SHARE_BITS, Config
from dtqatten.golden.numerics.codes import BoolArray, IntArray

__all__ = [
    "SHARE_ALL",
    "Arrays",
    "Tiling",
    "chosen_groups",
    "fetched",
    "level",
    "multiplied",
    "tiling",
]

#: Share of the groups that stands for all of them.
SHARE_ALL = 1 << SHARE_BITS
#: All keys of a list.
ALL = slice(None)


@dataclass(frozen=True, eq=False)
class Tiling:
    """Which queries share a row block of the value array, and which keys a group.

    Parameters
    ----------
    blocks : int array ``[..., heads, n_q]``
        Row block of each query, of one head of K and V each. -1: of none.
    groups : int array ``[..., n_k]``
        Group of each key, ascending in the list of keys. -1: of none.
    tiles : int array ``[..., n_k]``
        Tile of each key, likewise: ``cols`` keys, of whole groups.
    """

    blocks: IntArray
    groups: IntArray
    tiles: IntArray


@dataclass(frozen=True)
class Arrays:
    """Sizes of a machine that row blocks and groups of keys follow from.

    Parameters
    ----------
    rows, cols, depth : int
        Of the value array.
    n_max : int
        Rows that are computed at a time, and keys of a segment.
    grouped : bool
        Query heads that share K and V fill row blocks together.
    stepwise : bool
        Each query is computed by itself, as in decode steps; else as many at a time as there is
        room for.
    """

    rows: int
    cols: int
    depth: int
    n_max: int
    grouped: bool = False
    stepwise: bool = False

    @classmethod
    def of(cls, config: Config) -> "Arrays":
        """Return those of a configuration."""
        return cls(config.rows, config.cols, config.group, config.n_max, config.grouped)


def tiling(
    heads: int,
    queries: int,
    keys: int,
    tile: tuple[int, int, int],
    *,
    group: int = 1,
    chunk: int | None = None,
    cuts: tuple[int, ...] = (),
) -> Tiling:
    """Return row blocks and groups of lists of queries and keys.

    Rows of a block follow each other in the list of queries, a query's ``group`` rows together.
    Groups are counted anew in every tile of keys, tiles in every segment.

    Parameters
    ----------
    heads : int
        Query heads.
    queries, keys : int
        Lengths of the lists.
    tile : tuple of int
        Rows, columns and value depth of the machine.
    group : int
        Query heads that fill the row blocks of a head of K and V together.
    chunk : int, optional
        Queries that a machine computes at a time; all at once if None.
    cuts : tuple of int
        Places in the list of keys at which segments begin, besides 0.
    """
    rows, cols, depth = tile
    most = max(queries, 1) if chunk is None else chunk
    query = np.arange(queries)
    row = query % most * group + np.arange(group)[:, None]
    own = query // most * -(-most * group // rows) + row // rows
    blocks = np.arange(heads // group)[:, None, None] * (own.max(initial=0) + 1) + own
    key, edges = np.arange(keys), np.array([0, *cuts])
    segment = np.searchsorted(edges, key, side="right") - 1
    place = key - edges[segment]
    parts = -(-cols // depth)
    tiles = segment * keys + place // cols
    groups = tiles * parts + place % cols // depth
    return Tiling(blocks.reshape(heads, queries), groups, tiles)


def level(weight: IntArray) -> IntArray:
    """Rank of a sum of weights by its two highest bits: ``2 * bit_length(w) + next bit``, 0 for 0.

    Sums of one level differ by less than half of the smaller one. A machine counts levels in place
    of sorting sums.
    """
    length = np.frexp(weight.astype(np.float64))[1].astype(np.int64)
    second = (weight >> np.maximum(length - 2, 0)) & 1
    return np.where(weight > 1, 2 * length + second, 2 * length)


def chosen_groups(sums: IntArray, share: int) -> BoolArray:
    """Which groups a row block keeps: ``ceil(share * weighing / 256)`` of those with a weight.

    Groups of the highest :func:`level` are kept, of equal ones the first in the list. A group
    without a weight adds nothing and is never kept.

    Parameters
    ----------
    sums : int array ``[blocks, groups]``
        Sum of the weights of each group's keys over the block's rows.
    share : int
        1 to 256.
    """
    weighs = sums > 0
    count = -(-weighs.sum(-1) * share // SHARE_ALL)
    order = np.argsort(-level(sums), axis=-1, kind="stable")
    rank = np.empty_like(order)
    np.put_along_axis(rank, order, np.arange(sums.shape[-1]), -1)
    kept: BoolArray = weighs & (rank < count[..., None])
    return kept


def fetched(weights: IntArray, share: int, tile: tuple[int, int], tiles: BoolArray) -> BoolArray:
    """Which groups of V a head needs whose only row block chooses before they are fetched.

    Those of :func:`chosen_groups`. Where none has a weight, the first one that the row block
    visits: it has results, which are zero.

    Parameters
    ----------
    weights : int array ``[rows, keys]``
        Narrowed weights.
    share : int
        1 to 255.
    tile : tuple of int
        Columns and value depth of the machine.
    tiles : bool array ``[tiles]``
        Those that the row block visits.

    Returns
    -------
    bool array ``[groups]``
    """
    groups = tiling(1, 1, weights.shape[-1], (1, *tile)).groups
    sums = np.zeros(groups[-1] + 1, np.int64)
    np.add.at(sums, groups, weights.sum(0))
    kept = chosen_groups(sums[None], share)[0]
    kept[np.flatnonzero(tiles)[0] * -(-tile[0] // tile[1])] |= not kept.any()
    return kept


def multiplied(p: IntArray, share: int, tiles: Tiling, span: slice = ALL) -> BoolArray:
    """Which weights a machine multiplies: those of the groups that their row block keeps.

    Queries of no row block keep all weights, and so do all queries those of keys of no group.

    Parameters
    ----------
    p : int array ``[..., heads, n_q, n_k]``
        Narrowed weights of a segment's keys.
    share : int
        Groups that each row block keeps, in 1/256 of those with a weight.
    tiles : Tiling
    span : slice
        Places of these keys in the list.

    Returns
    -------
    bool array ``[..., heads, n_q, n_k]``
    """
    result = np.ones(p.shape, dtype=bool)
    for at in np.ndindex(p.shape[:-3]):
        blocks, groups = tiles.blocks[at].ravel(), tiles.groups[at][span]
        rows, row_starts, row_block = _runs(blocks)
        keys, key_starts, key_group = _runs(groups)
        if not len(rows) or not len(keys):
            continue
        weights = p[at].reshape(len(blocks), -1)[rows][:, keys]
        sums = np.add.reduceat(np.add.reduceat(weights, row_starts, 0), key_starts, 1)
        kept = chosen_groups(sums, share)[row_block][:, key_group]
        result[at].reshape(len(blocks), -1)[np.ix_(rows, keys)] = kept
    return result


def _runs(numbers: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Return the places of numbers that are not negative, sorted by them.

    Returns
    -------
    places, starts, run : int array
        The places; where each number's run begins among them; the run of each.
    """
    order = np.argsort(numbers, kind="stable")
    order = order[numbers[order] >= 0]
    new = np.diff(numbers[order], prepend=-1) != 0
    return order, np.flatnonzero(new), np.cumsum(new) - 1
