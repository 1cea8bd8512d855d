"""Benchmark of the core: a layer of the reference workload, on RTL and cycle model at once."""

from collections.abc import Callable
from typing import Any

from dtqatten.config import Config
from dtqatten.model.workload import Workload, core_layer
from dtqatten.sim.core import CoreLockstep, build_core

__all__ = ["HEADS", "measure_core"]

HEADS = 12


def measure_core(config: Config, heads: int, tell: Callable[[int], object]) -> dict[str, Any]:
    """Run the layer with nothing stalled and compare every cycle; ``tell`` hears every thousandth.

    Raises
    ------
    MismatchError
        If RTL and cycle model differ.
    """
    workload = Workload(full_tiles=True)
    layer = core_layer(config, workload, heads)
    bench = CoreLockstep(config, [layer])

    def each() -> None:
        if bench.compared % 1000 == 0:
            tell(bench.compared)

    build_core(config).run(bench, each)
    bench.verify()
    ends = {name: beats[-1][0] for name, beats in bench.taken.items() if beats}
    cycles = ends["outputs"] + 1
    return {
        "config": str(config),
        "tokens": workload.tokens,
        "kept": len(layer.k_ids),
        "heads": heads,
        "shares": workload.shares,
        "cycles": cycles,
        "cycles_to_ids": ends["ids"] + 1,
        "busy_fraction": {unit: busy / cycles for unit, busy in bench.model.busy.items()},
        "module_b_overhead": max(0, ends["ids"] + 1 - cycles) / cycles,
    }
