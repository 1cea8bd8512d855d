"""A layer call: queries by their list, keys and values of a cache by theirs."""

import numpy as np

from dtqatten.golden.numerics.attention import Inputs
from dtqatten.golden.numerics.codes import Codes, IntArray
from dtqatten.golden.numerics.masks import latest, position_mask
from dtqatten.golden.numerics.order import aligned, promote
from dtqatten.golden.numerics.segments import equal_cuts, longest_first
from dtqatten.golden.numerics.softmax import KEYS_MAX
from dtqatten.golden.numerics.tokens import CacheImportance, TokenList

__all__ = ["layer_call", "shared"]


def shared(codes: Codes, heads: int) -> Codes:
    """Repeat each head of K or V for the query heads that share it, ``heads / kv_heads`` in turn.

    Raises
    ------
    ValueError
        If query heads cannot share evenly.
    """
    own = codes.codes.shape[-3]
    if heads % own:
        raise ValueError(
            f"{heads} query heads cannot share {own} of K and V: use a multiple of {own}"
        )
    repeats = heads // own
    gains = None if codes.gains is None else np.repeat(codes.gains, repeats, -2)
    return Codes(np.repeat(codes.codes, repeats, -3), np.repeat(codes.scale, repeats, -1), gains)


def _promoted(tokens: TokenList, run: int, tile: int) -> IntArray:
    """Return precisions of the tokens of a list, promoted in each run of it.

    Parameters
    ----------
    tokens : TokenList
    run : int
        Tokens that tiles share: a chunk of queries, a segment of keys.
    tile : int
        Tokens of a tile.
    """
    found = [promote(0, 0)]
    for first in range(0, len(tokens), run):
        n = min(run, len(tokens) - first)
        four_bit = min(max(tokens.four_bit - first, 0), n)
        found.append(promote(aligned(four_bit, n, tile), n))
    return np.concatenate(found)


def layer_call(
    q: Codes,
    k: Codes,
    v: Codes,
    queries: TokenList,
    keys: TokenList,
    *,
    causal: bool = True,
    window: int | None = None,
    sinks: IntArray | None = None,
    key_bias: IntArray | None = None,
    held: CacheImportance | None = None,
    observed: int | None = None,
    segment: int = KEYS_MAX,
    chunk: int | None = None,
    tile: tuple[int, int, int] = (1, 1, 1),
) -> Inputs:
    """Gather what a layer computes on, as operands of the block.

    Parameters
    ----------
    q : Codes ``[heads, m, d]``
        Queries in the order of their list.
    k, v : Codes ``[kv_heads, capacity, d]``
        The cache, a token at its id; ``kv_heads`` divides ``heads``.
    queries, keys : TokenList
        Of ``m`` and ``n`` tokens.
    causal, window
        As of :func:`~dtqatten.golden.numerics.masks.position_mask`.
    sinks : int16 array ``[heads]``, optional
    key_bias : int16 array ``[heads, capacity]``, optional
        Of the cache's keys, for each query head.
    held : CacheImportance, optional
        What the keys' importance is added to. The call's results are
        ``held.written(keys.ids, outputs.importance)`` then.
    observed : int, optional
        Only so many queries, at the latest positions, count for importance.
    segment : int
        Most keys of a segment; segments begin at multiples of it, and those with most nibbles are
        merged first.
    chunk : int, optional
        Queries that a machine computes at a time; all at once if None.
    tile : tuple of int
        Rows, columns and value depth of a machine, whose tiles promote tokens of their chunk or
        segment.

    Raises
    ------
    ValueError
        If lists and tensors disagree.
    """
    heads, m = q.codes.shape[-3:-1]
    if m != len(queries):
        raise ValueError(f"Q has {m} tokens, but the list {len(queries)}: give one each, in order")
    capacity = k.codes.shape[-2]
    if len(keys) and keys.ids.max() >= capacity:
        raise ValueError(f"key {keys.ids.max()} is beyond the cache of {capacity} tokens")
    n = len(keys)
    return Inputs(
        q,
        shared(k, heads).take(keys.ids),
        shared(v, heads).take(keys.ids),
        _promoted(queries, chunk or max(m, 1), tile[0]),
        _promoted(keys, segment, tile[1]),
        _promoted(keys, segment, tile[2]),
        position_mask(queries.ids, keys.ids, causal=causal, window=window),
        None if held is None else held.read(keys.ids),
        equal_cuts(n, segment),
        sinks,
        None if observed is None else latest(queries.ids, observed),
        key_bias=None if key_bias is None else np.asarray(key_bias)[..., keys.ids],
        order=longest_first(n, keys.four_bit, segment),
    )
