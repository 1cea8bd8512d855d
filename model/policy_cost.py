"""What a policy costs on a machine, relative to attention in 8 bits: what a search minimizes."""

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from dtqatten.algorithm.policy import Policy
from dtqatten.configuration.core import Config
from dtqatten.files.errors import UsageError
from dtqatten.interface.descriptor import BIAS_BYTES
from dtqatten.model.closed_form import fast_head_cycles, unit_cycles
from dtqatten.model.energy import DRAM_PJ_PER_BIT, UNMEASURED, Coefficients, dram_bytes
from dtqatten.model.shapes import Shape
from dtqatten.model.workload import Workload, policy_workloads

__all__ = [
    "UNPRICED",
    "Cost",
    "PolicyCost",
    "known_power",
    "kv_ratio",
    "policy_cost",
    "refuse_evaluated",
    "refuse_unmeasured",
    "refuse_unpriced",
]

#: Options of a policy that take machines whose power is not known, and the options of these.
UNPRICED = {{"bias_heads": "center_queries"}.get(option, option): option for option in UNMEASURED}

#: Nibbles of a weight in attention in 8 bits.
P_PLANES = 2


class Cost(enum.StrEnum):
    """What is to be small."""

    #: Bit operations: bits times bits of all pairs.
    BOPS = "bops"
    #: Of the core, with its tiles and row blocks.
    CYCLES = "cycles"
    #: Of Q, K, V and gains that are read.
    BYTES = "bytes"
    #: Of the core and of DRAM.
    ENERGY = "energy"


def _refuse_progressive(policy: Policy) -> None:
    for number, layer in enumerate(policy.layers):
        if layer.threshold is not None:
            raise UsageError(
                f"layer {number} is progressive, so its cost depends on the data: leave out "
                "threshold, or measure it on the data"
            )


def refuse_unmeasured(policy: Policy) -> None:
    """Refuse a policy that takes a machine whose power has not been measured.

    Raises
    ------
    UsageError
        If weights are unsigned or have exponents, keys have biases, or gains a sign.
    """
    for name, option in UNPRICED.items():
        if getattr(policy, name):
            raise UsageError(
                f"{name} is True: power is known of machines without {option} only; choose "
                "cycles, bit operations or bytes"
            )


def refuse_unpriced(policy: Policy, *, energy: bool = False) -> None:
    """Refuse a policy whose cycles and energy do not follow from its schedule.

    Parameters
    ----------
    policy : Policy
    energy : bool
        Energy is wanted, too.

    Raises
    ------
    UsageError
        If a layer is progressive, or queries of pruned tokens go on; for energy also if weights are
        unsigned or have exponents, keys have biases, or gains signs, whose power has not been
        measured.
    """
    if energy:
        refuse_unmeasured(policy)
    _refuse_progressive(policy)
    if not policy.prune_queries:
        raise UsageError(
            "prune_queries is False: queries of pruned tokens go on, which cycles and energy do "
            "not count; choose bit operations or bytes"
        )


@dataclass(frozen=True, eq=False)
class PolicyCost:
    """Cost of a policy on sequences, over that of the same with all tokens, heads and values.

    ``sum(count(n) * sum(heads(l) * head(n, l)))`` over lengths ``n`` and layers ``l``, divided by
    that of attention in 8 bits on the same machine. Heads that a layer prunes cost nothing. A head
    is one of an encoder: all queries see all keys.

    Parameters
    ----------
    head : callable
        Cost of a head of a workload, with weights of so many nibbles.
    shape : Shape
    lengths : mapping
        How many sequences have so many tokens.
    energy : bool
        It is an energy.
    """

    head: Callable[[Workload, int], float]
    shape: Shape
    lengths: Mapping[int, int]
    energy: bool = False

    def __call__(self, policy: Policy) -> float:
        """Return the ratio, at most about 1.

        Raises
        ------
        UsageError
            As :func:`refuse_unpriced`.
        """
        refuse_unpriced(policy, energy=self.energy)
        heads = self.shape.heads
        every = policy.replace(layers=tuple(replace(x, heads=1.0) for x in policy.layers))
        own = all_in_8 = 0.0
        for tokens, count in self.lengths.items():
            whole = Workload(tokens=tokens, d_head=self.shape.d_head)
            left = heads
            # Layers of a kind cost the same.
            known: dict[Workload, float] = {}
            for layer, work in zip(policy.layers, policy_workloads(every, whole), strict=True):
                if work not in known:
                    known[work] = self.head(work, policy.p_planes)
                left = min(left, layer.kept_heads(heads))
                own += count * left * known[work]
            all_in_8 += count * heads * len(policy.layers) * self.head(whole.dense(), P_PLANES)
        return own / all_in_8


def kv_ratio(
    policy: Policy, shape: Shape, *, chosen: bool = False, flat: float | None = None
) -> float:
    """Return bytes of K and V that all layers read, over those of all tokens and heads in 8 bits.

    ``mean over layers of left / heads * (share_4 / 2 + share_8 + bias * (share_4 + share_8))``;
    without gains, and without the 4-bit tokens that share a tile with 8-bit ones. ``bias`` is what
    biases of keys take, with ``center_queries``: 2 bytes a key and query head, over the
    ``2 * d_head`` bytes of a key and its value in each head of K and V.

    Parameters
    ----------
    policy : Policy
    shape : Shape
        Of the model.
    chosen : bool
        V is read after the choice, as in decode steps of a machine with ``chosen_values``: of V
        only ``values``, the share that is multiplied.
    flat : float, optional
        Share of the low planes of K that progressive layers read.

    Raises
    ------
    UsageError
        If a layer is progressive and ``flat`` is not given: what is read again depends on the data.
    """
    if flat is None:
        _refuse_progressive(policy)
    heads = shape.heads
    bias = policy.center_queries * BIAS_BYTES * heads / (2 * shape.d_head * shape.shared)
    left, total = heads, 0.0
    for layer in policy.layers:
        left = min(left, layer.kept_heads(heads))
        kept = layer.share_4 + layer.share_8
        k = v = layer.share_4 / 2 + layer.share_8
        if layer.threshold is not None:
            k = kept * (1 + (flat or 0.0)) / 2
        codes = (k + v * (layer.values if chosen else 1.0)) / 2
        total += left / heads * (codes + bias * kept)
    return total / len(policy.layers)


def refuse_evaluated(cost: Cost) -> None:
    """Refuse a cost, other than cycles and energy, that comes from a policy's evaluation.

    Parameters
    ----------
    cost : Cost
        Not cycles, nor what else a machine is asked for.

    Raises
    ------
    UsageError
        If it is not energy.
    """
    if cost is not Cost.ENERGY:
        raise UsageError(f"{cost.value} of a policy come from its evaluation, not from a machine")


def known_power(power: Coefficients | None) -> Coefficients:
    """Return the energy of a machine's parts.

    Raises
    ------
    UsageError
        If it is None.
    """
    if power is None:
        raise UsageError(
            "power of this machine is not known, so its energy is not: choose --preset base, or "
            "another --objective"
        )
    return power


def policy_cost(
    cost: Cost,
    config: Config,
    shape: Shape,
    lengths: Mapping[int, int],
    power: Coefficients | None = None,
) -> PolicyCost:
    """Return what cycles or energy of a policy are on a machine.

    Parameters
    ----------
    cost : Cost
        ``CYCLES`` or ``ENERGY``.
    config : Config
    shape : Shape
        Of the model.
    lengths : mapping
        How many sequences have so many tokens.
    power : Coefficients, optional
        Energy of the machine's parts, for ``ENERGY``.

    Raises
    ------
    UsageError
        If it is another cost, or power is not known.
    """
    if cost is Cost.CYCLES:
        return PolicyCost(
            lambda work, planes: fast_head_cycles(config.replace(planes=planes), work),
            shape,
            lengths,
        )
    refuse_evaluated(cost)
    coefficients, kv_heads = known_power(power), shape.shared / shape.heads

    def energy(work: Workload, planes: int) -> float:
        busy = unit_cycles(config.replace(planes=planes), work)
        core = sum(coefficients.nanojoules(max(busy.values()), busy).values())
        return core + dram_bytes(work, kv_heads) * 8 * DRAM_PJ_PER_BIT / 1000

    return PolicyCost(energy, shape, lengths, energy=True)
