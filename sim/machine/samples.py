"""Small machines drawn at random, their edges first: what everything generated is checked on."""

from typing import Any

import numpy as np

from dtqatten.configuration.core import PRESETS, Config, ConfigError, Schedule, TopKEngine
from dtqatten.configuration.system import SystemConfig

__all__ = ["BUS", "DRIVEN", "small_machines"]

#: The machine that tests of the driver and examples of the documents run, so that one is compiled.
DRIVEN = SystemConfig(
    core=PRESETS["tiny"].replace(value_depth=5, n_max=40, heads=12, capacity=100),
    bus_bits=64,
    burst_beats=4,
)

#: Options of which each needs the one before.
STEPS = ("skip_tiles", "local_values", "chosen_values")
#: Values of the parameters that a small machine may have, the extreme ones at both ends;
#: ``steps`` is how many of ``STEPS``.
VALUES: dict[str, tuple] = {
    "schedule": tuple(Schedule),
    "rows": (1, 2),
    "cols": (1, 2, 3),
    "d_head": (8, 16),
    "load_bits": (16, 32, 64),
    "product_stages": (1, 2),
    "planes": (2, 3),
    "unsigned_weights": (False, True),
    "block_exponents": (False, True),
    "signed_gains": (False, True),
    "heads": (1, 3),
    "topk_lanes": (1, 2, 4),
    "topk_engine": tuple(TopKEngine),
    "v_gains": (False, True),
    "cumulative": (False, True),
    "count_normalize": (False, True),
    "windows": (False, True),
    "sinks": (False, True),
    "bias_heads": (0, 1, 3),
    "grouped": (False, True),
    "steps": (0, 1, 2, 3),
    "progressive": (False, True),
    "merge_rows": (0, 3),
    "bus_bits": (64, 128),
    "burst_beats": (1, 2, 4),
    "buffer_bursts": (2, 3),
}
#: Those of the bus.
BUS = ("bus_bits", "burst_beats", "buffer_bursts")


def small_machines(count: int, seed: int) -> list[SystemConfig]:
    """Return machines, the first half of them in pairs of opposite extremes.

    Heads take a tile of keys, one more, one less, one key and two tiles in turn. What the
    configuration refuses is drawn again.
    """
    rng = np.random.default_rng(seed)
    machines: list[SystemConfig] = []
    ends = np.zeros(len(VALUES), dtype=int)
    while len(machines) < count:
        extreme = len(machines) < max(2, count // 2)
        ends = 1 - ends if len(machines) % 2 else rng.integers(0, 2, len(VALUES))
        drawn = {
            name: values[-end] if extreme else values[rng.integers(len(values))]
            for end, (name, values) in zip(ends, VALUES.items(), strict=True)
        }
        _allow(drawn)
        cols, d_head = drawn["cols"], drawn["d_head"]
        depths = [d for d in range(1, d_head + 1) if d_head % d == 0]
        drawn["depth"] = int(rng.choice([1, d_head] if extreme else depths))
        drawn["value_depth"] = int(rng.integers(1, cols + 2))
        drawn["normalizer_lanes"] = int(rng.integers(1, cols + 1))
        pods = [n for n in range(1, cols + 1) if cols % n == 0]
        drawn["pod_cols"] = pods[len(machines) % len(pods)]
        drawn["n_max"] = (cols, cols + 1, max(1, cols - 1), 1, 2 * cols)[len(machines) % 5]
        bus = {name: drawn.pop(name) for name in BUS}
        try:
            machines.append(SystemConfig(core=Config(**drawn), **bus))
        except ConfigError:
            continue
    return machines


def _allow(drawn: dict[str, Any]) -> None:
    """Leave out of values what others exclude, so that opposites are both accepted."""
    # Rows in segments are not tried in 4 bits, and choose no values before these are fetched.
    whole = not drawn["merge_rows"]
    drawn["progressive"] &= whole
    steps = min(drawn.pop("steps"), len(STEPS) if whole else STEPS.index("chosen_values"))
    drawn |= {name: number < steps for number, name in enumerate(STEPS)}
    drawn["count_normalize"] &= not drawn["grouped"]
    drawn["bias_heads"] = min(drawn["bias_heads"], drawn["heads"] if drawn["grouped"] else 1)
