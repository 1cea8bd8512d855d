"""Who sees whom: masks by position, by padding, and which queries count for importance.

An id is a token's place in the cache and its position in the text at once, 0 to ``IDS_MAX - 1``.
"""

import numpy as np
from numpy.typing import ArrayLike

from dtqatten.golden.numerics.codes import BoolArray

__all__ = ["IDS_MAX", "causal_mask", "latest", "padding_mask", "position_mask", "visited"]

#: Most tokens of a cache: ids and positions have 16 bits.
IDS_MAX = 65536


def position_mask(
    query_ids: ArrayLike, key_ids: ArrayLike, *, causal: bool = True, window: int | None = None
) -> BoolArray:
    """Visibility by position: a query at ``p`` sees the key at ``j`` under two conditions.

    ``j <= p`` if causal, and ``p - j < window`` where there is a window. Positions are compared,
    never places in a list: lists are in order of precision, and have gaps.

    Parameters
    ----------
    query_ids, key_ids : int array ``[..., m]``, ``[..., n]``
        Positions, 16 bits. A query need not be among the keys.
    causal : bool
        Whether later keys are hidden.
    window : int, optional
        How many positions a query sees, its own one included; 1 to 65,536. None: all.

    Returns
    -------
    bool array ``[..., m, n]``

    Raises
    ------
    ValueError
        If the window is out of range.
    """
    if window is not None and not 1 <= window <= IDS_MAX:
        raise ValueError(f"window is {window}, outside 1..{IDS_MAX}: use None to see all")
    queries = np.asarray(query_ids, dtype=np.int64)[..., :, None]
    keys = np.asarray(key_ids, dtype=np.int64)[..., None, :]
    seen: BoolArray = np.ones(np.broadcast_shapes(queries.shape, keys.shape), dtype=bool)
    if causal:
        seen &= keys <= queries
    if window is not None:
        # The lowest position that is seen, a comparison a key.
        seen &= keys >= queries - (window - 1)
    return seen


def causal_mask(query_ids: ArrayLike, key_ids: ArrayLike) -> BoolArray:
    """Visibility ``[..., n_q, n_k]``: a query sees the keys at its own and earlier positions."""
    return position_mask(query_ids, key_ids)


def padding_mask(query_valid: ArrayLike, key_valid: ArrayLike) -> BoolArray:
    """Visibility ``[..., n_q, n_k]``: real queries see real keys, padding sees nothing."""
    queries, keys = np.asarray(query_valid, dtype=bool), np.asarray(key_valid, dtype=bool)
    return queries[..., :, None] & keys[..., None, :]


def latest(query_ids: ArrayLike, count: int) -> BoolArray:
    """Which queries are the ``count`` at the latest positions, ``[m]``: an observation window.

    Raises
    ------
    ValueError
        If ``count`` is less than 1.
    """
    if count < 1:
        raise ValueError(f"count is {count}: observe at least 1 query")
    ids = np.asarray(query_ids, dtype=np.int64)
    return np.argsort(np.argsort(-ids, kind="stable"), kind="stable") < count


def visited(
    q_ids: ArrayLike, k_ids: ArrayLike, cols: int, *, causal: bool, window: int | None = None
) -> BoolArray:
    """Which tiles of ``cols`` keys the only row block of a head visits, where tiles are skipped.

    Those with a position that one of its queries may see, by lowest and highest positions alone,
    and the last one.

    Parameters
    ----------
    q_ids, k_ids : int array
        Positions of queries and keys, in the order of their lists.
    cols : int
    causal : bool
    window : int, optional
        As of :func:`position_mask`.
    """
    queries, keys = np.asarray(q_ids), np.asarray(k_ids)
    tiles = [keys[at : at + cols] for at in range(0, len(keys), cols)]
    lowest, highest = ([int(end(t)) for t in tiles] for end in (np.min, np.max))
    before = position_mask([queries.max()], lowest, causal=causal)[0]
    after = position_mask([queries.min()], highest, causal=False, window=window)[0]
    found: BoolArray = before & after
    found[-1] = True
    return found
