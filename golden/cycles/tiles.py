"""Tiles of a head: who is in them, and their steps. No time axis, no state."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config, Schedule
from dtqatten.golden.numerics.codes import split

__all__ = [
    "Beat",
    "Edge",
    "Row",
    "Step",
    "Visit",
    "edges",
    "idle_step",
    "load_beats",
    "padded",
    "row_places",
    "tile_steps",
]


@dataclass(frozen=True)
class Beat:
    """Beat of a load stream: ``load_nibbles`` channels of one plane of one token.

    ``follows``: of values, weights of 4-bit tokens have their highest plane only. ``share``: of
    values, groups that a row block multiplies, in 1/256; 0: all. ``chosen``: of values, they are of
    the groups that their row block has chosen.
    """

    nibbles: NDArray[np.int8]
    wide: bool
    last: bool
    follows: bool = False
    share: int = 0
    chosen: bool = False


def _planes(codes: NDArray[np.integer], wide: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Return planes ``[2, n, d]``, high first; the low plane of a 4-bit token is zero."""
    high, low = split(codes)
    return np.stack([high, np.where(wide[:, None], low, 0)]).astype(np.int8)


def load_beats(
    config: Config,
    codes: NDArray[np.integer],
    wide: NDArray[np.bool_],
    nibbles: int | None = None,
    *,
    follows: bool = False,
    share: int = 0,
    chosen: bool = False,
    limited: bool = True,
) -> list[Beat]:
    """Return one head's load stream for one edge of the array.

    Parameters
    ----------
    config : Config
    codes : array of int, [n, d_head]
        Balanced 8-bit codes; of a 4-bit token only the high plane is sent.
    wide : array of bool, [n]
        Tokens at 8 bit.
    nibbles : int, optional
        Channels a beat: ``load_nibbles`` unless given.
    follows : bool
    share : int
    chosen : bool
        Of every beat.
    limited : bool
        The head's tokens are all held at once, ``n_max`` at most; queries are not.

    Raises
    ------
    ValueError
        If shapes disagree, ``n`` is 0 or above its limit, or a code is not balanced.
    """
    codes, wide = np.asarray(codes), np.asarray(wide, dtype=bool)
    if codes.ndim != 2 or codes.shape[1] != config.d_head or wide.shape != codes.shape[:1]:
        raise ValueError(
            f"codes {codes.shape} and precisions {wide.shape} do not fit [n, {config.d_head}] "
            "and [n]"
        )
    if not 1 <= len(codes) <= (config.n_max if limited else len(codes)):
        raise ValueError(f"a head has {len(codes)} tokens, outside 1..{config.n_max} (n_max)")
    nibbles = nibbles or config.load_nibbles
    planes = _planes(codes, wide).reshape(2, len(codes), -1, nibbles)
    words = [
        (token, plane, word)
        for token in range(len(codes))
        for plane in range(1 + int(wide[token]))
        for word in range(config.d_head // nibbles)
    ]
    return [
        Beat(
            planes[plane, token, word],
            bool(wide[token]),
            i == len(words) - 1,
            follows,
            share,
            chosen,
        )
        for i, (token, plane, word) in enumerate(words)
    ]


@dataclass(frozen=True, eq=False)
class Edge:
    """One edge of a tile: up to ``lanes`` tokens, of which ``occupied`` lanes hold one.

    Attributes
    ----------
    planes : array of int8, [2, lanes, d_head]
        High and low nibbles; zero where a token, or its low plane, is absent.
    occupied, wide : array of bool, [lanes]
    last : bool
        The head's last tile along this edge.
    """

    planes: NDArray[np.int8]
    occupied: NDArray[np.bool_]
    wide: NDArray[np.bool_]
    last: bool

    @property
    def tokens(self) -> int:
        """Lanes that hold a token."""
        return int(self.occupied.sum())

    @property
    def codes(self) -> NDArray[np.int64]:
        """Codes as the array sees them, ``[lanes, d_head]``."""
        return 16 * self.planes[0].astype(np.int64) + self.planes[1]

    @property
    def mixed(self) -> bool:
        """Whether the lanes' tokens differ in precision."""
        return bool(self.wide.any()) and bool((self.wide != self.occupied).any())


def edges(lanes: int, codes: NDArray[np.integer], wide: NDArray[np.bool_]) -> list[Edge]:
    """Cut a head's tokens, in order, into edges of ``lanes`` tokens, the last part-filled."""
    codes, wide = np.asarray(codes), np.asarray(wide, dtype=bool)
    planes = _planes(codes, wide)
    result = []
    for start in range(0, len(wide), lanes):
        count = min(lanes, len(wide) - start)
        edge_planes = np.zeros((2, lanes, codes.shape[1]), dtype=np.int8)
        edge_planes[:, :count] = planes[:, start : start + count]
        edge_wide = np.zeros(lanes, dtype=bool)
        edge_wide[:count] = wide[start : start + count]
        last = start + lanes >= len(wide)
        result.append(Edge(edge_planes, np.arange(lanes) < count, edge_wide, last))
    return result


def row_places(config: Config, queries: int, keys: int) -> Iterator[tuple[int, int]]:
    """Yield query and first key of every score row of a head, in the order they come out."""
    for block in range(0, queries, config.rows):
        for tile in range(0, keys, config.cols):
            for row in range(block, min(block + config.rows, queries)):
                yield row, tile


@dataclass(frozen=True, eq=False)
class Row:
    """A row of a tile: one query's scores, weights, probabilities or sums, zero past ``keys``.

    ``last_row`` of the tile, ``last_tile`` of the row block, ``last_block`` of the head; ``tile``
    is the place of the keys among the tiles of their head, 0 where that is not said. ``seen``,
    of probabilities, where queries are counted: the query sees the key. ``narrow``, of weights:
    they have their highest plane only, because their query has 4 bits; ``exponent``: they count
    ``2**-exponent``. ``partial``, of probabilities: their row has other segments. ``share``, of
    weights: groups that their row block chooses before V comes, in 1/256; 0: none.
    """

    values: NDArray[np.int64]
    keys: int
    last_row: bool
    last_tile: bool
    last_block: bool
    seen: NDArray | None = None
    narrow: bool = False
    exponent: int = 0
    tile: int = 0
    partial: bool = False
    share: int = 0


def padded(values: NDArray, size: int) -> NDArray:
    """Return values with zeros behind them, up to ``size`` along the last axis."""
    result = np.zeros((*values.shape[:-1], size), dtype=values.dtype)
    result[..., : values.shape[-1]] = values
    return result


@dataclass(frozen=True, eq=False)
class Step:
    """One cycle of a tile: operands of every lane and what the PEs do with them.

    Attributes
    ----------
    q, k : array of int64, [rows, depth] and [cols, depth]
        Nibbles; zero in a lane without a token or without the plane.
    q_active, k_active : array of bool, [rows] and [cols]
        Lanes whose token has the plane.
    q_occupied, k_occupied : array of bool
        Lanes that have a token.
    first, last : bool
        The tile's first or last step.
    scale : int
        Factor on the accumulator (plane-major) or on the product (interleaved).
    up : array of int64, [rows], or int
        Left shift of each row's products, where tiles of weights have exponents.
    """

    q: NDArray[np.int64]
    k: NDArray[np.int64]
    q_active: NDArray[np.bool_]
    k_active: NDArray[np.bool_]
    q_occupied: NDArray[np.bool_]
    k_occupied: NDArray[np.bool_]
    first: bool
    scale: int
    last: bool
    up: NDArray[np.int64] | int = 0


def idle_step(config: Config) -> Step:
    """Return what the array does between tiles: it multiplies zeros."""
    no_query, no_key = np.zeros(config.rows, dtype=bool), np.zeros(config.cols, dtype=bool)
    return Step(
        np.zeros((config.rows, config.depth), dtype=np.int64),
        np.zeros((config.cols, config.depth), dtype=np.int64),
        no_query,
        no_key,
        no_query,
        no_key,
        first=False,
        scale=1,
        last=False,
    )


def tile_steps(config: Config, q: Edge, k: Edge) -> Iterator[Step]:
    """Yield the steps of a tile in the schedule's order, only the passes that the tile needs."""
    passes = [
        (q_low, k_low)
        for q_low in range(1 + int(q.wide.any()))
        for k_low in range(1 + int(k.wide.any()))
    ]
    chunks = [slice(i, i + config.depth) for i in range(0, config.d_head, config.depth)]
    interleaved = config.schedule is Schedule.INTERLEAVED
    if interleaved:
        order = [(p, chunk) for chunk in chunks for p in passes]
    else:
        order = [(p, chunk) for p in passes for chunk in chunks]
    lows = 0  # low planes in the products so far
    for i, ((q_low, k_low), chunk) in enumerate(order):
        scale = 1
        if interleaved:
            scale = 16 ** (2 - q_low - k_low)
        elif q_low + k_low > lows:
            lows, scale = q_low + k_low, 16
        yield Step(
            q.planes[q_low][:, chunk].astype(np.int64),
            k.planes[k_low][:, chunk].astype(np.int64),
            q.wide if q_low else q.occupied,
            k.wide if k_low else k.occupied,
            q.occupied,
            k.occupied,
            first=i == 0,
            scale=scale,
            last=i == len(order) - 1,
        )


@dataclass(frozen=True)
class Visit:
    """A tile of keys that a row block visits, the ``last`` one or not."""

    tile: int
    last: bool
