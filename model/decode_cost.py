"""What a decode step costs under a policy, over one that reads all in 8 bits."""

from collections.abc import Callable
from dataclasses import dataclass

from dtqatten.algorithm.policy import Policy
from dtqatten.configuration.system import SystemConfig
from dtqatten.files.errors import UsageError
from dtqatten.golden.numerics.codes import Granularity
from dtqatten.golden.numerics.select import counts
from dtqatten.model.decode_step import DecodeStep, step_bytes, step_cycles, step_units
from dtqatten.model.energy import DRAM_PJ_PER_BIT, Coefficients
from dtqatten.model.policy_cost import Cost, known_power, refuse_evaluated, refuse_unmeasured
from dtqatten.model.shapes import Shape

__all__ = ["KEYS", "DecodeCost", "decode_cost", "flat_share", "policy_steps"]

#: Keys of a step, unless it is said: a window of the perplexity tasks.
KEYS = 512
#: Field of a policy's record: the share of low planes of K that its progressive layers read, as
#: the search measured it (``dtqatten.algorithm.search.objective.MEASURED``).
FLAT = "train_flat"


def flat_share(policy: Policy) -> float | None:
    """Return the share of low planes of K that a policy reads, as its search has measured it.

    None is a policy without progressive layers.

    Raises
    ------
    UsageError
        If it has some, and its record has no share.
    """
    if not policy.progressive:
        return None
    found = policy.record.get(FLAT)
    # Prefills are tried by row blocks of more queries, which a record does not count.
    if policy.record.get("stage") != "decode" or not isinstance(found, float | int):
        raise UsageError(
            "the policy has progressive layers, and its record does not say which share of low "
            f"planes its steps read ({FLAT}): search it with --stage decode"
        )
    return float(found)


def policy_steps(
    policy: Policy, shape: Shape, keys: int = KEYS, flat: float | None = None
) -> list[DecodeStep]:
    """Return a decode step of each layer of a policy.

    Parameters
    ----------
    policy : Policy
    shape : Shape
        Of the model.
    keys : int
        In the cache, before any is pruned.
    flat : float, optional
        Share of low planes of K that progressive layers read; :func:`flat_share` unless given.

    Raises
    ------
    UsageError
        If the policy prunes heads, which no machine does for a decoder, or ``flat`` is not known.
    """
    steps = []
    if flat is None:
        flat = flat_share(policy)
    for number, layer in enumerate(policy.layers):
        if layer.heads < 1:
            raise UsageError(
                f"layer {number} prunes heads, which the machine refuses for decoders, so that it "
                "has no decode step: set heads to 1"
            )
        kept, wide = counts(keys, layer.shares)
        steps.append(
            DecodeStep(
                shape=shape,
                four_bit=kept - wide,
                eight_bit=wide,
                value_share=layer.value_share,
                flat=None if layer.threshold is None else flat,
                gains=policy.granularity is Granularity.TOKEN,
                biased=policy.center_queries,
                planes=policy.p_planes,
            )
        )
    return steps


@dataclass(frozen=True, eq=False)
class DecodeCost:
    """Cost of the decode steps of a policy's layers, over that of as many keys in 8 bits.

    Parameters
    ----------
    step : callable
        Cost of a step of a layer.
    shape : Shape
    keys : int
        In the cache.
    energy : bool
        It is an energy.
    """

    step: Callable[[DecodeStep], float]
    shape: Shape
    keys: int = KEYS
    energy: bool = False

    def __call__(self, policy: Policy, flat: float | None = None) -> float:
        """Return the ratio.

        Parameters
        ----------
        policy : Policy
        flat : float, optional
            As of :func:`policy_steps`.

        Raises
        ------
        UsageError
            As :func:`policy_steps`; of an energy also if the policy takes a machine whose power has
            not been measured.
        """
        if self.energy:
            refuse_unmeasured(policy)
        steps = policy_steps(policy, self.shape, self.keys, flat)
        # Layers of a kind cost the same.
        known = {step: self.step(step) for step in set(steps)}
        dense = DecodeStep(shape=self.shape, four_bit=0, eight_bit=self.keys)
        return sum(known[step] for step in steps) / (len(steps) * self.step(dense))


def decode_cost(
    cost: Cost,
    system: SystemConfig,
    shape: Shape,
    keys: int = KEYS,
    power: Coefficients | None = None,
) -> DecodeCost:
    """Return what bytes, cycles or energy of a policy's decode steps are on a machine.

    Parameters
    ----------
    cost : Cost
        ``BYTES``, ``CYCLES`` or ``ENERGY``: of the core, whose power is that of a machine without
        the options of decode, and of DRAM.
    system : SystemConfig
    shape : Shape
        Of the model.
    keys : int
        In the cache.
    power : Coefficients, optional
        Energy of the machine's parts, for ``ENERGY``.

    Raises
    ------
    UsageError
        If it is another cost, or power is not known.
    """
    if cost is Cost.BYTES:
        return DecodeCost(step_bytes, shape, keys)
    if cost is Cost.CYCLES:
        return DecodeCost(lambda step: step_cycles(system, step), shape, keys)
    refuse_evaluated(cost)
    coefficients = known_power(power)

    def energy(step: DecodeStep) -> float:
        heads = step.shape.shared
        busy = {unit: heads * cycles for unit, cycles in step_units(system, step).items()}
        core = sum(coefficients.nanojoules(step_cycles(system, step), busy).values())
        outputs = step.shape.heads * step.shape.d_head
        return core + (step_bytes(step) + outputs) * 8 * DRAM_PJ_PER_BIT / 1000

    return DecodeCost(energy, shape, keys, energy=True)
