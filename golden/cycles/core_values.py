"""What a head's keys and values bring: gains, and which values come where that is chosen."""

from typing import TYPE_CHECKING

import numpy as np

from dtqatten.configuration.core import Config
from dtqatten.golden.numerics.codes import BoolArray, Codes, IntArray
from dtqatten.golden.numerics.local_values import fetched, tiling
from dtqatten.golden.numerics.masks import visited

if TYPE_CHECKING:
    from dtqatten.golden.cycles.layers import CoreLayer

__all__ = ["fetched_groups", "fetched_keys", "token_gains"]


def token_gains(codes: Codes) -> IntArray:
    """Return gains of each token, in units of 1/256."""
    plain = np.full(codes.codes.shape[:2], 256)
    return plain if codes.gains is None else codes.gains.astype(int)


def fetched_groups(config: Config, layer: "CoreLayer", rows: list[tuple[int, int]]) -> BoolArray:
    """Return which groups of V come of a head whose row block chooses them first.

    Parameters
    ----------
    config : Config
    layer : CoreLayer
        With ``chosen_values``.
    rows : list of tuple of int
        Query head and query of each row of the head.
    """
    return fetched(
        np.stack([layer.golden.weights.p[place] for place in rows]),
        layer.options.value_share,
        (config.cols, config.group),
        visited(layer.q_ids, layer.k_ids, config.cols, causal=layer.causal, window=layer.window),
    )


def fetched_keys(config: Config, layer: "CoreLayer", rows: list[tuple[int, int]]) -> BoolArray:
    """Return of which keys V comes, by :func:`fetched_groups`."""
    tile = (config.rows, config.cols, config.group)
    groups = tiling(1, 1, len(layer.k_ids), tile).groups
    kept: BoolArray = fetched_groups(config, layer, rows)[groups]
    return kept
