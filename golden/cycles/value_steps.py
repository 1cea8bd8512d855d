"""Steps of a tile of weighted sums: which planes of which tokens, in the schedule's order."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config, Schedule
from dtqatten.golden.cycles.tiles import Step
from dtqatten.golden.numerics.codes import split
from dtqatten.golden.numerics.weights import WeightCode

__all__ = ["grouped", "value_order", "value_steps"]


def grouped(config: Config, tokens: NDArray) -> NDArray:
    """Cut ``[n, ...]`` into groups ``[g, depth, ...]``, filled up with zeros in every tile."""
    groups = []
    for tile in range(0, len(tokens), config.cols):
        in_tile = tokens[tile : tile + config.cols]
        for start in range(0, len(in_tile), config.depth):
            group = in_tile[start : start + config.depth]
            filler = [(0, config.depth - len(group))] + [(0, 0)] * (tokens.ndim - 1)
            groups.append(np.pad(group, filler))
    return np.stack(groups)


def value_order(
    config: Config, wide: NDArray[np.bool_], *, follows: bool = False, narrow: bool = False
) -> list[tuple[tuple[int, int], int]]:
    """Return the planes of weights and values, and the group of tokens, of a tile's steps.

    Parameters
    ----------
    config : Config
    wide : array of bool, [g]
        Groups with an 8-bit token.
    follows : bool
        Weights of the other groups have their highest plane only.
    narrow : bool
        All weights have.
    """
    planes = config.planes
    # A pair of planes (i, low) has a weight of 16**(planes - i - low).
    pairs = [(i, low) for low in (0, 1) for i in range(planes)]

    def needed(pair: tuple[int, int], g: int) -> bool:
        i, low = pair
        return (not low or bool(wide[g])) and not (i and (narrow or (follows and not wide[g])))

    groups = range(len(wide))
    if config.schedule is Schedule.PLANE_MAJOR:
        # By weight; of one weight the high plane of the values first.
        pairs.sort(key=lambda pair: (sum(pair), pair[1]))
        return [(pair, g) for pair in pairs for g in groups if needed(pair, g)]
    return [(pair, g) for g in groups for pair in pairs if needed(pair, g)]


def value_steps(
    config: Config,
    weights: NDArray[np.int64],
    values: NDArray[np.int64],
    wide: NDArray[np.bool_],
    *,
    follows: bool = False,
    narrow: bool = False,
    ups: NDArray[np.int64] | None = None,
) -> Iterator[Step]:
    """Yield the steps of one tile of weighted sums.

    Parameters
    ----------
    config : Config
    weights : array of int, [g, depth, rows]
        Weights by group of tokens.
    values : array of int, [g, depth, cols]
        Values of one channel pass, 4-bit ones with a low plane of zeros.
    wide, follows, narrow
        As of :func:`value_order`.
    ups : array of int, [g, rows], optional
        Left shift of the products of each group, where tiles have exponents.
    """
    planes = config.planes
    p = WeightCode.of(config).split(weights)
    v = np.stack(split(values))
    order = value_order(config, wide, follows=follows, narrow=narrow)
    nothing = np.zeros(0, dtype=bool)
    level = 0
    for index, ((i, low), g) in enumerate(order):
        scale = 1
        if config.schedule is Schedule.INTERLEAVED:
            scale = 16 ** (planes - i - low)
        elif i + low > level:
            level, scale = i + low, 16
        yield Step(
            p[i, g].T.astype(np.int64),
            v[low, g].T.astype(np.int64),
            *(nothing,) * 4,
            index == 0,
            scale,
            index == len(order) - 1,
            0 if ups is None else ups[g],
        )
