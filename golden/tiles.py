"""Tiles of a head: who is in them, how long they take, which PEs stall. No time axis, no state."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtqatten.config import CODE_MAX, CODE_MIN, Config

__all__ = ["Beat", "Edge", "TileCosts", "head_cycles", "load_beats", "split", "tile_costs"]


@dataclass(frozen=True)
class Beat:
    """Beat of a load stream: ``load_nibbles`` channels of one plane of one token."""

    nibbles: NDArray[np.int8]
    wide: bool
    last: bool


def _planes(codes: NDArray[np.integer], wide: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Return planes ``[2, n, d]``, high first; the low plane of a 4-bit token is zero."""
    codes = np.asarray(codes, dtype=np.int64)
    if codes.size and not (CODE_MIN <= codes.min() and codes.max() <= CODE_MAX):
        raise ValueError(
            f"codes span {codes.min()}..{codes.max()}, outside {CODE_MIN}..{CODE_MAX}: "
            "quantize to balanced codes first"
        )
    high = (codes + 8) >> 4
    low = np.where(wide[:, None], codes - 16 * high, 0)
    return np.stack([high, low]).astype(np.int8)


def load_beats(
    config: Config, codes: NDArray[np.integer], wide: NDArray[np.bool_]
) -> list[Beat]:
    """Return one head's load stream for one edge of the array.

    Parameters
    ----------
    config : Config
    codes : array of int, [n, d_head]
        Balanced 8-bit codes; of a 4-bit token only the high plane is sent.
    wide : array of bool, [n]
        Tokens at 8 bit.

    Raises
    ------
    ValueError
        If shapes disagree, ``n`` is not in ``1..n_max``, or a code is not balanced.
    """
    codes, wide = np.asarray(codes), np.asarray(wide, dtype=bool)
    if codes.ndim != 2 or codes.shape[1] != config.d_head or wide.shape != codes.shape[:1]:
        raise ValueError(
            f"codes {codes.shape} and precisions {wide.shape} do not fit [n, {config.d_head}] "
            "and [n]"
        )
    if not 1 <= len(codes) <= config.n_max:
        raise ValueError(f"a head has {len(codes)} tokens, outside 1..{config.n_max} (n_max)")
    planes = _planes(codes, wide).reshape(2, len(codes), config.words, config.load_nibbles)
    words = [
        (token, plane, word)
        for token in range(len(codes))
        for plane in range(1 + int(wide[token]))
        for word in range(config.words)
    ]
    return [
        Beat(planes[plane, token, word], bool(wide[token]), last=i == len(words) - 1)
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


def split(
    lanes: int, codes: NDArray[np.integer], wide: NDArray[np.bool_]
) -> list[Edge]:
    """Cut a head's tokens, in order, into edges of ``lanes`` tokens, the last part-filled."""
    codes, wide = np.asarray(codes), np.asarray(wide, dtype=bool)
    planes = _planes(codes, wide)
    edges = []
    for start in range(0, len(wide), lanes):
        count = min(lanes, len(wide) - start)
        edge_planes = np.zeros((2, lanes, codes.shape[1]), dtype=np.int8)
        edge_planes[:, :count] = planes[:, start : start + count]
        edge_wide = np.zeros(lanes, dtype=bool)
        edge_wide[:count] = wide[start : start + count]
        last = start + lanes >= len(wide)
        edges.append(Edge(edge_planes, np.arange(lanes) < count, edge_wide, last))
    return edges


@dataclass(frozen=True)
class TileCosts:
    """PE cycles of the tiles of a head, ``[row blocks, key tiles]``.

    ``cycles``: a tile's duration; ``busy``, ``stalled``: summed over its PEs. A PE whose two
    tokens need 1, 2 or 4 passes stalls for the rest of those that the tile's slowest PE needs.
    """

    cycles: NDArray[np.int64]
    busy: NDArray[np.int64]
    stalled: NDArray[np.int64]


def tile_costs(
    config: Config, q_wide: NDArray[np.bool_], k_wide: NDArray[np.bool_]
) -> TileCosts:
    """Return what the tiles of ``len(q_wide)`` queries by ``len(k_wide)`` keys cost."""

    def per_edge(wide: NDArray[np.bool_], lanes: int) -> tuple[NDArray[np.int64], ...]:
        edges = [np.asarray(wide[i : i + lanes]) for i in range(0, len(wide), lanes)]
        return (
            np.array([1 + e.any() for e in edges], dtype=np.int64),
            np.array([len(e) + e.sum() for e in edges], dtype=np.int64),
            np.array([len(e) for e in edges], dtype=np.int64),
        )

    q_passes, q_planes, q_tokens = per_edge(q_wide, config.rows)
    k_passes, k_planes, k_tokens = per_edge(k_wide, config.cols)
    cycles = config.steps * np.outer(q_passes, k_passes)
    busy = config.steps * np.outer(q_planes, k_planes)
    return TileCosts(cycles, busy, cycles * np.outer(q_tokens, k_tokens) - busy)


def head_cycles(config: Config, q_wide: NDArray[np.bool_], k_wide: NDArray[np.bool_]) -> int:
    """Return cycles from a head's first operands entering the array to its last score row.

    From the cycle in which the first PE holds its first operands to the one in which the last row
    is valid, with all tokens loaded and no stall: tiles back to back, except that two tiles end
    at least ``rows`` cycles apart, then the last tile's way out.
    """
    durations = tile_costs(config, q_wide, k_wide).cycles.ravel()
    end = 0
    for i, duration in enumerate(durations.tolist()):
        end = max(end + duration, end + config.rows if i else 0)
    last_rows = (len(q_wide) - 1) % config.rows + 1
    # ScoreArray's latency from a step to its row, less the three cycles from step to PE.
    return end + (last_rows - 1) + config.cols + 6 - 3
