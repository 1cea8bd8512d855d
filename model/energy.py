"""Energy of a head in the core, by unit: what is measured on netlists, and what is modelled."""

from collections.abc import Mapping
from typing import Any

from dtqatten.configuration.core import Config, Schedule
from dtqatten.model.core import CoreRun
from dtqatten.model.workload import Workload

__all__ = ["DRAM_PJ_PER_BIT", "dram_bytes", "head_energy"]

#: A 64-bit access to DRAM takes 1.3 to 2.6 nJ at 45 nm (Horowitz, ISSCC 2014): the lower end.
DRAM_PJ_PER_BIT = 20.0

#: Accesses of each memory, or pair of banks, of a block in a cycle in which it works: rows of
#: softmax and module B are written and read; operands are written once and read for every row
#: block or channel pass.
ACCESSES = {"array": 1, "value_array": 1, "softmax": 2, "normalizer": 2, "token_ranking": 2}

#: Unit of the cycle model that says how often a block works.
UNITS = {
    "array": "score_array",
    "value_array": "value_array",
    "softmax": "softmax",
    "normalizer": "normalizer",
    "token_ranking": "module_b",
}


def dram_bytes(workload: Workload) -> float:
    """Return bytes of a head: Q, K and V of the kept tokens, 8-bit outputs."""
    n4, n8 = workload.kept
    return workload.d_head * (3 * (n4 / 2 + n8) + n4 + n8)


def accesses(config: Config, block: str, ports: int) -> float:
    """Return the accesses of a memory of a block in a cycle in which it works.

    Memories with one port are banks, in pairs. A word of the score array's serves several steps
    of the plane-major schedule.
    """
    if ports == 2:
        return ACCESSES[block]
    serves = config.load_nibbles / config.depth if block == "array" else 1.0
    in_order = config.schedule is Schedule.PLANE_MAJOR
    return ACCESSES[block] / 2 / (serves if in_order else 1.0)


def head_energy(
    config: Config,
    workload: Workload,
    run: CoreRun,
    blocks: Mapping[str, Mapping[str, Any]],
    pe: Mapping[str, Any],
    pe_pj: float,
) -> dict[str, float]:
    """Return the nJ of a head at 1 GHz, by unit.

    PEs by gate-level activity on a recorded sentence, in every cycle; those of the value array as
    those of the score array, by their multipliers. Other logic by OpenSTA with one activity of all
    nets, in every cycle. Memories by the macro's energy of an access, :data:`ACCESSES` times in
    every cycle in which the unit works. Wires, clock tree and glitches are left out.

    Parameters
    ----------
    config : Config
    workload : Workload
    run : CoreRun
        Of both.
    blocks : mapping
        Results of ``dtqatten synth`` of the core's blocks by name.
    pe : mapping
        That of the PE.
    pe_pj : float
        Energy of a PE in a cycle.
    """
    cycles = run.head_cycles
    pes = config.rows * config.cols
    found: dict[str, float] = {}
    for block, result in blocks.items():
        default = result["uniform_mw"]
        depth = {"array": config.depth, "value_array": config.group}.get(block)
        if depth:
            share = pes * depth / config.depth
            found[f"PEs of {block}"] = share * pe_pj * cycles / 1000
            default = max(0.0, default - share * pe["uniform_mw"])
        # mW at 1 GHz are pJ a cycle.
        found[f"logic of {block}"] = default * cycles / 1000
        access = sum(
            accesses(config, block, memory["ports"]) * memory["count"] * memory["access_pj"]
            for memory in result["memories"].values()
        )
        found[f"memories of {block}"] = access * run.busy[UNITS[block]] * cycles / 1000
    found["DRAM"] = dram_bytes(workload) * 8 * DRAM_PJ_PER_BIT / 1000
    return found
