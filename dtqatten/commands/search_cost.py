"""What a search minimizes: bit operations, bytes, or the cycles or energy of a machine."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dtqatten.algorithm.policy import Policy
from dtqatten.commands.algorithm import BY_ARRAYS, Stage
from dtqatten.commands.options import Machine, machine, reject_unused
from dtqatten.files.errors import UsageError
from dtqatten.model.decode_cost import KEYS, decode_cost
from dtqatten.model.measured import measured
from dtqatten.model.policy_cost import (
    UNPRICED,
    Cost,
    policy_cost,
    refuse_unmeasured,
    refuse_unpriced,
)
from dtqatten.model.shapes import shape_of

if TYPE_CHECKING:
    from dtqatten.algorithm.evaluate import Evaluation
    from dtqatten.algorithm.models import Loaded
    from dtqatten.algorithm.tasks.task import Task

__all__ = ["NAMES", "check_space", "cost_of", "is_priced", "machine_of", "refuse_unused"]

#: Costs as a picture has them.
NAMES = {
    Cost.BOPS: "bit operations",
    Cost.CYCLES: "cycles",
    Cost.BYTES: "bytes read",
    Cost.ENERGY: "energy",
}


def check_space(
    objective: Cost, base: Policy, vary: tuple[str, ...], progressive: bool | None, stage: Stage
) -> None:
    """Refuse a search that would try policies whose cost on a machine is not known.

    Raises
    ------
    UsageError
        If the template is such a policy, or what is searched makes some.
    """
    energy = objective is Cost.ENERGY
    if stage is Stage.PREFILL:
        refuse_unpriced(base, energy=energy)
    elif energy:
        refuse_unmeasured(base)
    if stage is Stage.DECODE and base.prunes_heads:
        raise UsageError(
            "the template prunes heads, and what a decode step costs without them is not known: "
            "give one that does not, or choose --objective bops or bytes"
        )
    for name in vary:
        if energy and name in UNPRICED:
            raise UsageError(
                f"--vary {name} would try machines with {UNPRICED[name]}, whose power is not "
                "known: leave it out, or choose --objective cycles, bops or bytes"
            )
    if stage is Stage.PREFILL and (progressive or "prune_queries" in vary):
        raise UsageError(
            f"--objective {objective.value} does not know what progressive layers and "
            "prune_queries cost, which --progressive or --vary would try: leave it out"
        )


def is_priced(objective: Cost) -> bool:
    """Whether it is a machine that has this cost."""
    return objective in (Cost.CYCLES, Cost.ENERGY)


def machine_of(objective: Cost, preset: str | None, file: Path | None) -> Machine | None:
    """Return the machine that is given, or whose cycles or energy count."""
    given = preset is not None or file is not None
    return machine(preset, file) if given or is_priced(objective) else None


def refuse_unused(objective: Cost, by_arrays: bool, preset: str | None, file: Path | None) -> None:
    """Refuse a machine that does not matter.

    Parameters
    ----------
    objective : Cost
    by_arrays : bool
        Results of some policies that are tried depend on the arrays.
    preset, file : optional
        As of :func:`dtqatten.commands.options.machine`.
    """
    if not is_priced(objective) and not by_arrays:
        reject_unused(
            {"--preset": preset, "--config": file},
            f"for --objective cycles and energy, and {BY_ARRAYS}, only",
        )


def cost_of(
    objective: Cost,
    priced: Machine | None,
    task: "Task",
    loaded: "Loaded",
    tokens: int | None = None,
    shape: str | None = None,
    stage: Stage = Stage.PREFILL,
) -> "Callable[[Policy, Evaluation], float]":
    """Return what a policy costs, by its evaluation or on a machine.

    A decode step's cycles and energy take from the evaluation which share of low planes of K
    progressive layers read.

    Parameters
    ----------
    objective, priced, task, loaded
        What is asked for, of what machine, and of whose texts.
    tokens : int, optional
        Length of all sequences in place of the task's texts; of a decode step, keys in its cache.
    shape : str, optional
        Whose heads count, in place of the model's own.
    stage : Stage

    Raises
    ------
    UsageError
        If a machine is asked what a decoder's prefill costs, or has no known energy, or a length or
        shape does not matter.
    """
    from dtqatten.algorithm.search.objective import bit_operations

    if priced is None or not is_priced(objective):
        given = {"--tokens": tokens, "--shape": shape}
        reject_unused(given, "for --objective cycles and energy only")
        return bit_operations if objective is Cost.BOPS else lambda _, found: found.bytes_ratio
    known = measured().get(priced.start)
    power = None if known is None or priced.name != priced.start else known.power
    heads = shape_of(shape or loaded.model)
    if stage is Stage.DECODE:
        step = decode_cost(objective, priced.system(), heads, tokens or KEYS, power)
        return lambda policy, found: step(policy, found.flat)
    if loaded.causal:
        raise UsageError(
            f"--objective {objective.value} counts heads whose queries see all keys, and "
            f"{loaded.name} is causal: choose --stage decode, or bytes"
        )
    if tokens is None:
        batches = task.inputs(loaded, task.examples(loaded, "train")[: task.limit])
        lengths = Counter(int(n) for batch in batches for n in batch["attention_mask"].sum(1))
    else:
        lengths = Counter({tokens: 1})
    cost = policy_cost(objective, priced.config, heads, lengths, power)
    return lambda policy, _: cost(policy)
