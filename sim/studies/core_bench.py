"""Benchmark of the core: a layer of the reference workload, on RTL and cycle model at once.

Short sentences by the cycle model alone.
"""

from collections.abc import Callable
from typing import Any

from dtqatten.configuration.core import Config
from dtqatten.model.core import run_core
from dtqatten.model.workload import Workload, core_layer
from dtqatten.sim.lockstep.core import CoreLockstep, build_core

__all__ = ["HEADS", "TOKENS", "measure_core", "simulate_layer", "useful_share"]

HEADS = 12
#: Lengths of sentences, from STS-B's shortest to the longest that most encoders take.
TOKENS = (8, 16, 32, 64, 128, 256, 512)


def simulate_layer(
    config: Config, workload: Workload, heads: int, tell: Callable[[int], object] = lambda _: None
) -> CoreLockstep:
    """Run a layer without stalls and compare every cycle.

    Parameters
    ----------
    config : Config
    workload : Workload
    heads : int
    tell : callable
        Called with the cycle, every thousand cycles.

    Raises
    ------
    MismatchError
        If RTL and cycle model differ.
    AssertionError
        If an output, an id or an importance is not the golden block's.
    """
    bench = CoreLockstep(config, [core_layer(config, workload, heads)])

    def each() -> None:
        if bench.compared % 1000 == 0:
            tell(bench.compared)

    build_core(config).run(bench, each)
    bench.verify()
    return bench


def measure_core(bench: CoreLockstep) -> dict[str, Any]:
    """Return what a layer took, by the RTL's own account of its units."""
    (layer,) = bench.core_layers
    ends = {name: beats[-1][0] for name, beats in bench.taken.items() if beats}
    cycles = ends["outputs"] + 1
    return {
        "config": str(bench.config),
        "kept": len(layer.k_ids),
        "heads": len(layer.q.codes),
        "cycles": cycles,
        "cycles_to_ids": ends["ids"] + 1,
        "busy_fraction": {u: float(a[:cycles].mean()) for u, a in bench.activity.items()},
        "module_b_overhead": max(0, ends["ids"] + 1 - cycles) / cycles,
    }


def useful_share(
    config: Config, tell: Callable[[int], object] = lambda _: None
) -> dict[int, float]:
    """Return, by the tokens of a head, which share of all multiplier cycles its products take.

    The paper's shares of 0, 4 and 8-bit tokens, and as many tokens more as fit the last key tile.
    """
    shares = {}
    for tokens in TOKENS:
        tell(tokens)
        workload = Workload(tokens=tokens, d_head=config.d_head, full_tiles=True)
        shares[tokens] = run_core(config, workload).limit_share
    return shares
