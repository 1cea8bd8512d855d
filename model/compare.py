"""The core beside published machines, on one workload."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dtqatten.algorithm.policy import Policy
from dtqatten.configuration.core import PRESETS, Config
from dtqatten.files.errors import UsageError
from dtqatten.model.core import run_core
from dtqatten.model.peers import EYERISS, PEERS
from dtqatten.model.workload import Workload, policy_workloads

__all__ = [
    "SCALED",
    "SCALED_LOCAL",
    "SCALED_PAIRS",
    "SEARCHED",
    "Entry",
    "Speedup",
    "core_area",
    "entries",
    "scaled_speedup",
    "searched_speedup",
    "speedups",
    "weight_precisions",
]

#: The published machine's multipliers, 3168, in this project's shape: the fastest of those arrays
#: of at most as many that ``Config`` can express. It has 3072.
SCALED = PRESETS["base"].replace(rows=12, depth=4, value_depth=None)
#: The same where weights follow tokens and queries, so that P x V costs less than Q x K^T. It has
#: 3150.
SCALED_PAIRS = PRESETS["base"].replace(rows=6, cols=35, pod_cols=7, value_depth=7)

#: The same where row blocks multiply half of V, so that P x V needs half the depth. It has 3072.
SCALED_LOCAL = PRESETS["base"].replace(
    rows=8, depth=8, value_depth=4, skip_tiles=True, local_values=True
)

#: The fastest searched policy that holds the accuracy: *searched for speed* in docs/accuracy.md.
SEARCHED = "minilm-bbc-fast"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A machine on the workload.

    Attributes
    ----------
    name : str
    measured : bool
        Cycles of the cycle model that RTL equals on every edge; of peers' models otherwise.
    multipliers, bits : int or None
    cycles : float
        Of a head.
    gops : float
        Operations of the original model per ns, at 1 GHz.
    published_gops, published_gops_per_joule, mm2 : float or None
        As published; of the core: area of its netlist, if there is one.
    """

    name: str
    measured: bool
    multipliers: int | None
    bits: int | None
    cycles: float
    gops: float
    published_gops: float | None = None
    published_gops_per_joule: float | None = None
    mm2: float | None = None

    @property
    def gops_per_mm2(self) -> float | None:
        """Throughput per area: the published one where there is one."""
        return self.mm2 and (self.published_gops or self.gops) / self.mm2


def entries(configs: dict[str, Config], workload: Workload, areas: dict[str, float]) -> list[Entry]:
    """Return configurations by name, then all peers.

    Parameters
    ----------
    configs : dict
    workload : Workload
    areas : dict
        mm2 of those configurations that have a netlist.
    """
    own = []
    for name, config in configs.items():
        cycles = run_core(config, workload).head_cycles
        own.append(
            Entry(
                name=name,
                measured=True,
                multipliers=config.multipliers,
                bits=4,
                cycles=cycles,
                gops=2 * workload.macs / cycles,
                mm2=areas.get(name),
            )
        )
    return own + [
        Entry(
            name=peer.name,
            measured=False,
            multipliers=peer.multipliers,
            bits=peer.bits,
            cycles=peer.cycles(workload),
            gops=peer.modelled_gops(workload),
            published_gops=peer.gops,
            published_gops_per_joule=peer.gops_per_joule,
            mm2=peer.mm2,
        )
        for peer in PEERS
    ]


def core_area(path: Path) -> float | None:
    """Return the mm2 in a result of ``dtqatten synth``, None if there is none.

    Raises
    ------
    UsageError
        If the file is no such result.
    """
    try:
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return float(result["area_um2"]) / 1e6
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is no result of `dtqatten synth` ({error}): remove it") from None


@dataclass(frozen=True)
class Speedup:
    """The paper's own comparison: against 224 16-bit multipliers granted to be always busy.

    Attributes
    ----------
    measured : float
        Of the core.
    bound : float
        Of as many 4-bit multipliers, each with a useful product in every cycle.
    """

    measured: float
    bound: float


def speedups(config: Config, layers: list[Workload]) -> Speedup:
    """Return how much faster than Eyeriss a configuration computes some layers' heads."""
    eyeriss = sum(EYERISS.cycles(layer) for layer in layers)
    runs = {layer: run_core(config, layer).head_cycles for layer in set(layers)}
    least = sum(sum(layer.products) for layer in layers) / config.multipliers
    return Speedup(eyeriss / sum(runs[layer] for layer in layers), eyeriss / least)


def weight_precisions(workload: Workload) -> list[tuple[str, Config, Workload]]:
    """Return a workload with each precision of the weights, and the machine for it."""
    return [
        (name, scaled, replace(workload, follows=follows, follows_query=query))
        for name, scaled, follows, query in (
            ("8-bit weights", SCALED, False, False),
            ("weights follow tokens", SCALED, True, False),
            ("weights follow tokens and queries", SCALED_PAIRS, True, True),
        )
    ]


def scaled_speedup(policy: Policy, workload: Workload) -> tuple[Config, Speedup]:
    """Return a policy's speedup on the shape of the published multipliers that suits it better."""
    shapes = (SCALED, SCALED_LOCAL) if policy.local else (SCALED,)
    found = [(shape, searched_speedup(shape, policy, workload)) for shape in shapes]
    return max(found, key=lambda one: one[1].measured)


def searched_speedup(config: Config, policy: Policy, workload: Workload) -> Speedup:
    """Return the speedup of a policy's layers on a workload's shape."""
    return speedups(config, policy_workloads(policy, workload))
