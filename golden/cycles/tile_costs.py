"""What the tiles of a head cost: how long they take, which PEs stall. No time axis, no state."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config

__all__ = ["START_INTERVAL", "TileCosts", "head_cycles", "tile_costs"]


@dataclass(frozen=True)
class TileCosts:
    """PE cycles of the tiles of a head, ``[row blocks, key tiles]``.

    ``cycles``: a tile's duration; ``busy``, ``stalled``: summed over its PEs. A PE whose two
    tokens need 1, 2 or 4 passes stalls for the rest of those that the tile's slowest PE needs.
    """

    cycles: NDArray[np.int64]
    busy: NDArray[np.int64]
    stalled: NDArray[np.int64]


#: Cycles from a tile's start to the first in which the next one, described by then, may start.
START_INTERVAL = 2


def tile_costs(config: Config, q_wide: NDArray[np.bool_], k_wide: NDArray[np.bool_]) -> TileCosts:
    """Return what the tiles of ``len(q_wide)`` queries by ``len(k_wide)`` keys cost."""

    def per_edge(wide: NDArray[np.bool_], lanes: int) -> tuple[NDArray[np.int64], ...]:
        parts = [np.asarray(wide[i : i + lanes]) for i in range(0, len(wide), lanes)]
        return (
            np.array([1 + part.any() for part in parts], dtype=np.int64),
            np.array([len(part) + part.sum() for part in parts], dtype=np.int64),
            np.array([len(part) for part in parts], dtype=np.int64),
        )

    q_passes, q_planes, q_tokens = per_edge(q_wide, config.rows)
    k_passes, k_planes, k_tokens = per_edge(k_wide, config.cols)
    cycles = config.steps * np.outer(q_passes, k_passes)
    busy = config.steps * np.outer(q_planes, k_planes)
    return TileCosts(cycles, busy, cycles * np.outer(q_tokens, k_tokens) - busy)


def head_cycles(config: Config, q_wide: NDArray[np.bool_], k_wide: NDArray[np.bool_]) -> int:
    """Return cycles from a head's first operands entering the array to its last score row.

    From the cycle in which the first PE holds its first operands to that in which the last row
    is valid, both counted, with all tokens loaded and no stall: tiles back to back, except that
    two tiles start at least ``START_INTERVAL`` and end at least ``drain_interval`` cycles apart,
    then the last tile's way out.
    """
    durations = tile_costs(config, q_wide, k_wide).cycles.ravel()
    end, start = 0, -START_INTERVAL
    for i, duration in enumerate(durations.tolist()):
        first = max(end, start + START_INTERVAL)
        end = max(first + duration, end + config.drain_interval if i else 0)
        start = end - duration
    last_rows = (len(q_wide) - 1) % config.rows + 1
    # ScoreArray's latency from a step to its row, less those from step to PE.
    return end + (last_rows - 1) + config.hops + config.product_stages + 6 - 3
