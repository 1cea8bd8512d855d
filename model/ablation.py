"""What each feature of a policy saves on a machine: alone, left out, and all together."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from dtqatten.algorithm.layer_policy import LayerPolicy
from dtqatten.algorithm.policy import Policy
from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.files.errors import UsageError
from dtqatten.model.core import run_core
from dtqatten.model.decode_cost import decode_cost, flat_share
from dtqatten.model.energy import Coefficients, dram_bytes, head_energy
from dtqatten.model.policy_cost import UNPRICED, Cost, PolicyCost, refuse_unpriced
from dtqatten.model.shapes import Shape
from dtqatten.model.workload import Workload

__all__ = ["USUAL", "Ablated", "Feature", "ablation", "decode_ablation", "with_features"]

#: Fewer bits, tokens and values: the fastest policy that comes with the project.
USUAL = "minilm-bbc-local"


class Feature(enum.StrEnum):
    """What a policy saves by."""

    #: Tokens of 4 bits, and weights of P of 4 bits where tokens or queries have.
    PRECISION = "fewer bits"
    TOKENS = "cascade token pruning"
    HEADS = "cascade head pruning"
    VALUES = "local V pruning"
    #: Low planes of K for flat heads alone.
    PROGRESSIVE = "progressive keys"


def with_features(policy: Policy, features: frozenset[Feature]) -> Policy:
    """Return a policy with some of its features; the others are as in attention in 8 bits.

    Means are taken out of Q for keys in 4 bits, so that these have biases and others do not.
    """
    bits, tried = Feature.PRECISION in features, Feature.PROGRESSIVE in features
    layers = []
    for number, layer in enumerate(policy.layers):
        zero = policy.share_0(number) if Feature.TOKENS in features else 0.0
        left = 1 - layer.share_0
        eight = layer.share_8 / left if bits else 1.0
        layers.append(
            LayerPolicy(
                share_0=zero,
                share_4=(1 - zero) * (1 - eight),
                share_8=(1 - zero) * eight,
                heads=layer.heads if Feature.HEADS in features else 1.0,
                values=layer.values if Feature.VALUES in features else 1.0,
                threshold=layer.threshold if tried else None,
            )
        )
    return policy.replace(
        layers=tuple(layers),
        center_queries=(bits or tried) and policy.center_queries,
        p_follows_token=bits and policy.p_follows_token,
        p_follows_query=bits and policy.p_follows_query,
    )


@dataclass(frozen=True)
class Ablated:
    """Costs of a policy with some of its features, over those of attention in 8 bits.

    Attributes
    ----------
    name : str
    features : frozenset of Feature
    policy : Policy
    cycles : float
        Of the core, by the cycle model.
    bytes : float
        Q, K and V read, and 8-bit outputs written.
    energy : float or None
        Of core and DRAM, modelled; None where the machine's power is not known.
    """

    name: str
    features: frozenset[Feature]
    policy: Policy
    cycles: float
    bytes: float
    energy: float | None


def ablation(
    policy: Policy,
    config: Config,
    shape: Shape,
    tokens: int,
    power: Coefficients | None = None,
) -> list[Ablated]:
    """Return what each feature of an encoder's policy saves.

    Rows: each feature that the policy has alone; all but each; all.

    Parameters
    ----------
    policy : Policy
    config : Config
    shape : Shape
    tokens : int
        Of a sequence.
    power : Coefficients, optional
        Energy of the machine's parts.

    Raises
    ------
    UsageError
        If the policy has no feature, or its costs do not follow from its schedule.
    """
    refuse_unpriced(policy, energy=power is not None)
    rows = _rows(policy)
    kv_heads = shape.shared / shape.heads
    runs: dict[tuple[Workload, int], Mapping[str, float]] = {}

    def costs(work: Workload, planes: int) -> Mapping[str, float]:
        if (work, planes) not in runs:
            run = run_core(config.replace(planes=planes), work)
            parts = {} if power is None else head_energy(work, run, power, kv_heads)
            runs[work, planes] = {
                "cycles": run.head_cycles,
                "bytes": dram_bytes(work, kv_heads),
                "energy": sum(parts.values()),
            }
        return runs[work, planes]

    def cost(what: str) -> PolicyCost:
        return PolicyCost(lambda work, planes: costs(work, planes)[what], shape, {tokens: 1})

    cycles, size, energy = (cost(what) for what in ("cycles", "bytes", "energy"))
    found = []
    for name, features in rows.items():
        some = with_features(policy, features)
        used = None if power is None else energy(some)
        found.append(Ablated(name, features, some, cycles(some), size(some), used))
    return found


def decode_ablation(
    policy: Policy,
    system: SystemConfig,
    shape: Shape,
    keys: int,
    power: Coefficients | None = None,
) -> list[Ablated]:
    """Return what each feature of a decoder's policy saves in a step.

    Rows as of :func:`ablation`, by :mod:`dtqatten.model.decode_cost`. Heads whose keys are tried in
    4 bits are flat as often as the policy's search found, whatever its other features.

    Parameters
    ----------
    policy : Policy
    system : SystemConfig
    shape : Shape
    keys : int
        In the cache.
    power : Coefficients, optional
        Energy of the machine's parts; not asked where the policy takes a machine whose power has
        not been measured.

    Raises
    ------
    UsageError
        If the policy has no feature, is an encoder's, or its steps' costs are not known.
    """
    if policy.prune_queries:
        raise UsageError(
            "prune_queries is True: pruned tokens ask no more, as in an encoder, which has no "
            "decode steps; choose a decoder's policy, or --stage prefill"
        )
    flat, rows = flat_share(policy), _rows(policy)
    if any(getattr(policy, name) for name in UNPRICED):
        power = None
    kinds = [Cost.CYCLES, Cost.BYTES, *([] if power is None else [Cost.ENERGY])]
    costs = {kind: decode_cost(kind, system, shape, keys, power) for kind in kinds}
    found = []
    for name, features in rows.items():
        some = with_features(policy, features)
        used = {kind: cost(some, flat) for kind, cost in costs.items()}
        saved = used[Cost.CYCLES], used[Cost.BYTES], used.get(Cost.ENERGY)
        found.append(Ablated(name, features, some, *saved))
    return found


def _rows(policy: Policy) -> dict[str, frozenset[Feature]]:
    """Return the features of each row: each alone, all but each, all."""
    own = [feature for feature in Feature if _has(policy, feature)]
    if not own:
        raise UsageError("the policy saves nothing: choose one with fewer bits, tokens or heads")
    every = frozenset(own)
    rows: dict[str, frozenset[Feature]] = {f"{x} alone": frozenset({x}) for x in own}
    if len(own) > 2:
        rows |= {f"all but {x}": every - {x} for x in own}
    return rows | {"all": every}


def _has(policy: Policy, feature: Feature) -> bool:
    layers = policy.layers
    return {
        Feature.PRECISION: any(layer.share_4 for layer in layers),
        Feature.TOKENS: any(layer.share_0 for layer in layers),
        Feature.HEADS: any(layer.heads < 1 for layer in layers),
        Feature.VALUES: policy.local,
        Feature.PROGRESSIVE: policy.progressive,
    }[feature]
