"""Energy of a head in the core, by unit: what is measured on netlists, and what is modelled."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dtqatten.configuration.core import Config, Schedule
from dtqatten.model.core import CoreRun
from dtqatten.model.workload import Workload

__all__ = [
    "DRAM_PJ_PER_BIT",
    "UNMEASURED",
    "Coefficients",
    "coefficients",
    "dram_bytes",
    "head_energy",
    "unmeasured",
]

#: Options that change PEs, or what they compute, and have not been measured.
UNMEASURED = ("unsigned_weights", "block_exponents", "bias_heads", "signed_gains")

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


def unmeasured(config: Config) -> list[str]:
    """Return the options of a machine for which the energy is not known; none if it is."""
    return [name for name in UNMEASURED if getattr(config, name)]


def dram_bytes(workload: Workload, kv_heads: float = 1.0) -> float:
    """Return bytes of a head: Q, K and V of the kept tokens, 8-bit outputs.

    ``kv_heads`` is heads of K and V a query head: below 1 where several share them.
    """
    n4, n8 = workload.kept
    return workload.d_head * ((1 + 2 * kv_heads) * (n4 / 2 + n8) + n4 + n8)


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


@dataclass(frozen=True)
class Coefficients:
    """Energy of a core's parts at 1 GHz.

    PEs by gate-level activity on a recorded sentence, in every cycle; those of the value array as
    those of the score array, by their multipliers. Other logic by OpenSTA with one activity of all
    nets, in every cycle. Memories by the macro's energy of an access, :data:`ACCESSES` times in
    every cycle in which the unit works. Wires, clock tree and glitches are left out.

    Attributes
    ----------
    cycle_pj : dict of float
        In every cycle: PEs and logic of each block.
    busy_pj : dict of float
        Memories of each block, in a cycle in which it works.
    """

    cycle_pj: Mapping[str, float]
    busy_pj: Mapping[str, float]

    def nanojoules(self, cycles: float, busy: Mapping[str, float]) -> dict[str, float]:
        """Return the nJ of a run by part, DRAM apart.

        Parameters
        ----------
        cycles : float
        busy : mapping of float
            Cycles in which each unit of the cycle model works.
        """
        found = {part: pj * cycles / 1000 for part, pj in self.cycle_pj.items()}
        for block, pj in self.busy_pj.items():
            found[f"memories of {block}"] = pj * busy[UNITS[block]] / 1000
        return found


def coefficients(
    config: Config,
    blocks: Mapping[str, Mapping[str, Any]],
    pe: Mapping[str, Any],
    pe_pj: float,
) -> Coefficients:
    """Return the energy of a core's parts from results of synthesis.

    Parameters
    ----------
    config : Config
    blocks : mapping
        Results of ``dtqatten synth`` of the core's blocks by name.
    pe : mapping
        That of a pod.
    pe_pj : float
        Energy of a PE in a cycle.
    """
    pes = config.rows * config.cols
    cycle_pj: dict[str, float] = {}
    busy_pj: dict[str, float] = {}
    for block, result in blocks.items():
        # mW at 1 GHz are pJ a cycle.
        logic = result["uniform_mw"]
        depth = {"array": config.depth, "value_array": config.group}.get(block)
        if depth:
            share = pes * depth / config.depth
            cycle_pj[f"PEs of {block}"] = share * pe_pj
            logic = max(0.0, logic - share * pe["uniform_mw"] / config.pod_cols)
        cycle_pj[f"logic of {block}"] = logic
        busy_pj[block] = sum(
            accesses(config, block, memory["ports"]) * memory["count"] * memory["access_pj"]
            for memory in result["memories"].values()
        )
    return Coefficients(cycle_pj, busy_pj)


def head_energy(
    workload: Workload, run: CoreRun, parts: Coefficients, kv_heads: float = 1.0
) -> dict[str, float]:
    """Return the nJ of a head by part, DRAM included; ``kv_heads`` as of :func:`dram_bytes`."""
    busy = {unit: share * run.head_cycles for unit, share in run.busy.items()}
    found = parts.nanojoules(run.head_cycles, busy)
    found["DRAM"] = dram_bytes(workload, kv_heads) * 8 * DRAM_PJ_PER_BIT / 1000
    return found
