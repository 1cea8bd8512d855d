"""Order of tokens in the array: clustering, tile-aligned promotion, full tiles."""

import enum
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dtqatten.golden.numerics.codes import IntArray

__all__ = [
    "Boundaries",
    "Order",
    "aligned",
    "alternate",
    "arrange",
    "boundaries",
    "cluster",
    "promote",
    "query_tile",
    "round_up_kept",
]


class Order(enum.StrEnum):
    """How tokens are put into the array."""

    #: As they come.
    ORIGINAL = "original"
    #: 4-bit tokens first (DTQAtten, DATE 2022).
    CLUSTERED = "clustered"
    #: Clustered, and 4-bit tokens that would share a tile with 8-bit ones run in 8 bits.
    ALIGNED = "aligned"


@dataclass(frozen=True)
class Boundaries:
    """How many of the clustered tokens run in 4 bits in each role; the rest run in 8.

    Parameters
    ----------
    q, k, v : int
        As query rows, key columns, and reduction steps of P x V.
    """

    q: int
    k: int
    v: int


def cluster(bits: ArrayLike) -> IntArray:
    """Order that puts 4-bit tokens before 8-bit ones, each class in its original order.

    Parameters
    ----------
    bits : int array ``[n]``
        Precision of each token, 4 or 8.

    Returns
    -------
    int64 array ``[n]``
        ``order``: the token at slot ``i`` is ``order[i]``.

    Raises
    ------
    ValueError
        If a precision is neither 4 nor 8.
    """
    precision = np.asarray(bits)
    if precision.ndim != 1 or not np.isin(precision, (4, 8)).all():
        raise ValueError("bits must be a vector of 4 and 8: pruned tokens have no slot")
    return np.argsort(precision, kind="stable").astype(np.int64)


def aligned(n4: int, n: int, tile: int) -> int:
    """4-bit tokens left once those that would share a tile with 8-bit ones run in 8 bits.

    A tile runs at the speed of its slowest row or column, so promotion costs no cycle: the class
    boundary is rounded down to a multiple of ``tile``. Without 8-bit tokens there is no boundary.

    Parameters
    ----------
    n4 : int
        4-bit tokens, which come first.
    n : int
        All tokens.
    tile : int
        Rows (Q), columns (K) or depth (V) of a tile.

    Raises
    ------
    ValueError
        If ``n4`` is outside 0..``n`` or ``tile`` is less than 1.
    """
    if tile < 1:
        raise ValueError(f"tile is {tile}: a tile holds at least 1 token")
    if not 0 <= n4 <= n:
        raise ValueError(f"n4 is {n4}, outside 0..{n}: 4-bit tokens are among all tokens")
    return n4 if n4 == n else n4 // tile * tile


def boundaries(n4: int, n: int, rows: int, cols: int, depth: int) -> Boundaries:
    """Class boundary of each role: aligned to ``rows`` for Q, ``cols`` for K, ``depth`` for V.

    Parameters
    ----------
    n4, n : int
        Tokens of the 4-bit class; tokens.
    rows, cols, depth : int
        Sizes of the arrays; ``depth`` is that of the value array.

    Raises
    ------
    ValueError
        As :func:`aligned`.
    """
    return Boundaries(aligned(n4, n, rows), aligned(n4, n, cols), aligned(n4, n, depth))


def query_tile(rows: int, group: int = 1) -> int:
    """Queries whose rows fill whole row blocks, if each has ``group`` rows that follow each other.

    A query has a row for each query head of its group, all of one precision.
    """
    return rows // math.gcd(rows, group)


def promote(n4: int, n: int) -> IntArray:
    """Precision of each clustered token of a role: ``n4`` times 4, then 8.

    Raises
    ------
    ValueError
        If ``n4`` is outside 0..``n``.
    """
    if not 0 <= n4 <= n:
        raise ValueError(f"n4 is {n4}, outside 0..{n}: 4-bit tokens are among all tokens")
    return np.repeat(np.array([4, 8], np.uint8), [n4, n - n4])


def arrange(
    bits: ArrayLike, order: Order, rows: int, cols: int
) -> tuple[IntArray, IntArray, IntArray]:
    """Places of tokens in the array, and the precisions they run in there.

    Parameters
    ----------
    bits : int array ``[n]``
        Precision of each token, 4 or 8.
    order : Order
    rows, cols : int
        Queries and keys of a tile.

    Returns
    -------
    places, q_bits, k_bits : int arrays ``[n]``
        The token at slot ``i`` is ``places[i]``; its precision as query and as key.

    Raises
    ------
    ValueError
        As :func:`cluster` and :func:`aligned`.
    """
    places = cluster(bits)
    n = len(places)
    if order is Order.ORIGINAL:
        places = np.arange(n)
    placed = np.asarray(bits)[places]
    if order is not Order.ALIGNED:
        return places, placed, placed
    n4 = int((placed == 4).sum())
    return places, promote(aligned(n4, n, rows), n), promote(aligned(n4, n, cols), n)


def alternate(n4: int, n: int, rows: int) -> IntArray:
    """Order of queries in which row blocks of both classes take turns, spread evenly.

    A row block of 8-bit queries takes Q x K^T twice as long as one of 4-bit queries, and P x V the
    same: where one array waits for the other in turn, blocks in alternate order make both take
    their mean.

    Parameters
    ----------
    n4, n : int
        Clustered tokens: 4-bit ones, a multiple of ``rows`` or ``n``, and all.
    rows : int
        Queries of a row block; a last block with less stays the last.

    Returns
    -------
    int64 array ``[n]``
        ``order``: the query at slot ``i`` is ``order[i]``.

    Raises
    ------
    ValueError
        If ``n4`` is outside 0..``n``, or would mix the classes of a row block.
    """
    if not 0 <= n4 <= n or (n4 % rows and n4 != n):
        raise ValueError(
            f"n4 is {n4} of {n}: 4-bit queries fill whole row blocks of {rows}, see aligned()"
        )
    blocks = np.arange(n // rows)
    # A block is placed where its middle lies within its class, as a fraction of the class. Both
    # fractions are scaled by twice the product of both classes' sizes, which keeps them integers.
    four = n4 // rows
    way = np.where(blocks < four, (2 * blocks + 1) * (n - n4), (2 * (blocks - four) + 1) * n4)
    order = np.argsort(way, kind="stable")
    queries = (order[:, None] * rows + np.arange(rows)).ravel()
    return np.concatenate([queries, np.arange(len(blocks) * rows, n)]).astype(np.int64)


def round_up_kept(k0: int, n: int, cols: int) -> int:
    """Keep as many tokens as the tiles that are paid for hold: next multiple of ``cols``, or ``n``.

    Raises
    ------
    ValueError
        If ``k0`` is outside 1..``n`` or ``cols`` is less than 1.
    """
    if cols < 1:
        raise ValueError(f"cols is {cols}: an array has at least 1 column")
    if not 1 <= k0 <= n:
        raise ValueError(f"k0 is {k0}, outside 1..{n}: keep at least one of the {n} tokens")
    return min(n, -(-k0 // cols) * cols)
