"""Cycles of a head in closed form: fast enough for a search, checked against the cycle model."""

import math
from collections.abc import Mapping

import numpy as np

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.tile_costs import tile_costs
from dtqatten.golden.cycles.value_steps import value_order
from dtqatten.golden.numerics.codes import BoolArray
from dtqatten.golden.numerics.local_values import SHARE_ALL
from dtqatten.golden.numerics.order import promote
from dtqatten.model.core import fit
from dtqatten.model.workload import Workload

__all__ = ["fast_head_cycles", "unit_cycles"]


def fast_head_cycles(config: Config, workload: Workload) -> int:
    """Return cycles of a head by the unit that takes longest, as if no unit waited for another.

    From 100 kept tokens on this is 8 % less to 3 % more than what
    :func:`dtqatten.model.core.run_core` finds in a thousand times as long, and mostly equal, also
    where row blocks multiply V of a share of their groups. Units wait for banks in shorter heads,
    which take up to 1.4 times as long.

    Raises
    ------
    ConfigError
        As :func:`dtqatten.model.core.fit`.
    """
    return max(unit_cycles(config, workload).values())


def unit_cycles(config: Config, workload: Workload) -> Mapping[str, int]:
    """Return the cycles of a head in which each unit, or stream of operands, works.

    Row blocks that multiply V of a share of their groups are granted an even mix of these.
    """
    config = fit(config, workload)
    limits, kept = workload.clustered(config)
    q_wide, k_wide, v_wide = (promote(n4, kept) == 8 for n4 in (limits.q, limits.k, limits.v))
    tiles = np.maximum(tile_costs(config, q_wide, k_wide).cycles, config.drain_interval)
    rows = kept * config.channel_passes
    # A row of scores of a tile, and one of probabilities, a cycle.
    beats = kept * math.ceil(kept / config.cols)
    return {
        "softmax": beats,
        "module_b": beats,
        "score_array": int(tiles.sum()),
        "value_array": _value_steps(config, workload, q_wide, v_wide),
        "normalizer": rows * math.ceil(config.cols / config.output_lanes),
        "queries": _planes(q_wide) * config.words,
        "keys": _planes(k_wide) * config.words,
        "values": _planes(v_wide) * math.ceil(config.d_head / config.value_nibbles),
    }


def _planes(wide: BoolArray) -> int:
    """Planes of tokens, two of an 8-bit one."""
    return int(len(wide) + wide.sum())


def _value_steps(config: Config, workload: Workload, q_wide: BoolArray, v_wide: BoolArray) -> int:
    """Cycles of P x V: steps of each tile of each row block, in every channel pass."""
    groups = [
        v_wide[start : min(start + config.group, tile + config.cols)].any()
        for tile in range(0, len(v_wide), config.cols)
        for start in range(tile, min(tile + config.cols, len(v_wide)), config.group)
    ]
    kept = math.ceil(len(groups) * workload.value_share / SHARE_ALL) / len(groups)
    total = 0.0
    for start in range(0, len(q_wide), config.rows):
        narrow = workload.follows_query and not q_wide[start : start + config.rows].any()
        steps = len(value_order(config, np.array(groups), follows=workload.follows, narrow=narrow))
        total += kept * steps
    return round(total) * config.channel_passes
