"""Rows of tiles: what a head has of each query and tile of keys, as scores come."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.tiles import Row, padded, row_places

__all__ = ["tile_rows", "visited_tiles"]


def visited_tiles(config: Config, values: NDArray) -> NDArray[np.bool_]:
    """Tiles that row blocks visit, ``[row blocks, tiles]``, of a head's ``[queries, keys]``.

    Where tiles are skipped: those with something that is not zero, and the last one for the last
    row block and for those that would visit none. Else all.
    """
    queries, keys = values.shape
    rows, cols = (range(0, n, lanes) for n, lanes in ((queries, config.rows), (keys, config.cols)))
    if not config.skip_tiles:
        return np.ones((len(rows), len(cols)), bool)
    seen = np.array(
        [[values[r : r + config.rows, c : c + config.cols].any() for c in cols] for r in rows]
    )
    seen[:, -1] |= ~seen.any(1)
    seen[-1, -1] = True
    return seen


def tile_rows(
    config: Config,
    values: NDArray,
    narrow: NDArray[np.bool_] | None = None,
    visited: NDArray[np.bool_] | None = None,
    exponents: NDArray | None = None,
    share: int = 0,
) -> Iterator[Row]:
    """Cut a head's ``[queries, keys]`` into rows of tiles, in the order in which scores come.

    Parameters
    ----------
    config : Config
    values : array, [queries, keys]
    narrow : array of bool, [queries], optional
        Of weights: rows that have their highest plane only.
    visited : array of bool, [row blocks, tiles], optional
        Tiles that each row block visits; all by default.
    exponents : int array, [queries, tiles], optional
        Of weights: those of a row's tiles.
    share : int
        Of every row.
    """
    queries, keys = values.shape
    for row, tile in row_places(config, queries, keys):
        last_tile = tile + config.cols >= keys
        if visited is not None:
            here, *ahead = visited[row // config.rows, tile // config.cols :]
            if not here:
                continue
            last_tile = not any(ahead)
        taken = values[row, tile : tile + config.cols]
        block_end = min(row - row % config.rows + config.rows, queries)
        yield Row(
            padded(taken, config.cols).astype(np.int64),
            len(taken),
            row == block_end - 1,
            last_tile,
            block_end == queries,
            narrow=narrow is not None and bool(narrow[row]),
            exponent=0 if exponents is None else int(exponents[row, tile // config.cols]),
            tile=tile // config.cols,
            share=share,
        )
