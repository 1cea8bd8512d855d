"""Small machines drawn at random, their edges first: what everything generated is checked on."""

import numpy as np

from dtqatten.config import Config, ConfigError, Schedule
from dtqatten.system_config import SystemConfig

__all__ = ["BUS", "small_machines"]

#: Values of the parameters that a small machine may have, the extreme ones at both ends.
VALUES: dict[str, tuple[int, ...]] = {
    "rows": (1, 2),
    "cols": (1, 2, 3),
    "d_head": (8, 16),
    "product_stages": (1, 2),
    "planes": (2, 3),
    "heads": (1, 3),
    "topk_lanes": (1, 2, 4),
    "v_gains": (False, True),
    "cumulative": (False, True),
    "count_normalize": (False, True),
    "bus_bits": (64, 128),
    "burst_beats": (1, 2, 4),
    "buffer_bursts": (2, 3),
}
#: Those of the bus.
BUS = ("bus_bits", "burst_beats", "buffer_bursts")


def small_machines(count: int, seed: int) -> list[SystemConfig]:
    """Return machines, of which the first half have extreme values only.

    Heads take fewer keys than a tile, a tile's, one more and two tiles' in turn. What the
    configuration refuses is drawn again.
    """
    rng = np.random.default_rng(seed)
    machines: list[SystemConfig] = []
    while len(machines) < count:
        extreme = len(machines) < count // 2
        drawn = {
            name: rng.choice([values[0], values[-1]] if extreme else values).item()
            for name, values in VALUES.items()
        }
        cols, d_head = drawn["cols"], drawn["d_head"]
        depths = [d for d in range(1, d_head + 1) if d_head % d == 0]
        drawn["depth"] = int(rng.choice([1, d_head] if extreme else depths))
        drawn["value_depth"] = int(rng.integers(1, cols + 2))
        drawn["n_max"] = (cols, 1, cols + 1, cols - 1, 2 * cols)[len(machines) % 5]
        bus = {name: drawn.pop(name) for name in BUS}
        try:
            core = Config(schedule=rng.choice(list(Schedule)), **drawn)
            machines.append(SystemConfig(core=core, **bus))
        except ConfigError:
            continue
    return machines
