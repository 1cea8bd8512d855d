"""What a search minimizes: bit operations, bytes, or the cycles or energy of a machine."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dtqatten.algorithm.policy import Policy
from dtqatten.commands.options import Machine, machine, reject_unused
from dtqatten.files.errors import UsageError
from dtqatten.model.measured import measured
from dtqatten.model.policy_cost import Cost, policy_cost, refuse_unpriced
from dtqatten.model.shapes import shape_of

if TYPE_CHECKING:
    from dtqatten.algorithm.evaluate import Evaluation
    from dtqatten.algorithm.models import Loaded
    from dtqatten.algorithm.tasks.task import Task

__all__ = ["NAMES", "check_space", "cost_of", "priced_machine"]

#: Costs as a picture has them.
NAMES = {
    Cost.BOPS: "bit operations",
    Cost.CYCLES: "cycles",
    Cost.BYTES: "bytes read",
    Cost.ENERGY: "energy",
}


def check_space(objective: Cost, method: str, base: Policy, vary: tuple[str, ...]) -> None:
    """Refuse a search that would try policies whose cost on a machine is not known.

    Raises
    ------
    UsageError
        If the template is such a policy, or the method or an option that varies makes some.
    """
    refuse_unpriced(base)
    if method == "spatten" or "prune_queries" in vary:
        raise UsageError(
            f"--objective {objective.value} does not know what progressive layers and "
            "prune_queries cost, which --method spatten or --vary would try: leave it out"
        )


def priced_machine(objective: Cost, preset: str | None, file: Path | None) -> Machine | None:
    """Return the machine whose cycles or energy count; refuse one whose do not."""
    if objective in (Cost.CYCLES, Cost.ENERGY):
        return machine(preset, file)
    given = {"--preset": preset, "--config": file}
    reject_unused(given, "for --objective cycles and energy only")
    return None


def cost_of(
    objective: Cost, priced: Machine | None, task: "Task", loaded: "Loaded"
) -> "Callable[[Policy, Evaluation], float]":
    """Return what a policy costs, by its evaluation or on a machine and the task's texts.

    Raises
    ------
    UsageError
        If a machine is asked what a decoder costs, or has no known energy.
    """
    from dtqatten.algorithm.search.objective import bit_operations

    if priced is None:
        return bit_operations if objective is Cost.BOPS else lambda _, found: found.bytes_ratio
    if loaded.causal:
        raise UsageError(
            f"--objective {objective.value} counts heads whose queries see all keys, and "
            f"{loaded.name} is causal; its steps take as long as their bytes: choose bytes"
        )
    batches = task.inputs(loaded, task.examples(loaded, "train")[: task.limit])
    lengths = Counter(int(tokens) for batch in batches for tokens in batch["attention_mask"].sum(1))
    known = measured().get(priced.start)
    power = None if known is None or priced.name != priced.start else known.power
    cost = policy_cost(objective, priced.config, shape_of(loaded.model), lengths, power)
    return lambda policy, _: cost(policy)
