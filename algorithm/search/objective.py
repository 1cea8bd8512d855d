"""What a trial measures, and the number that it is judged by."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import optuna

from dtqatten.algorithm.block.operands import BASE_ARRAYS
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.search.local_space import LocalSpace
from dtqatten.algorithm.search.spaces import Space, SpattenSpace
from dtqatten.files.errors import UsageError
from dtqatten.golden.numerics.local_values import Arrays

if TYPE_CHECKING:
    from dtqatten.algorithm.evaluate import Evaluation
    from dtqatten.algorithm.models import Loaded
    from dtqatten.algorithm.tasks.task import Score, Task

__all__ = ["LAMBDA_DECODER", "LAMBDA_ENCODER", "MEASURED", "Objective"]

#: Weight of bit operations against cross-entropy (DTQAtten, DATE 2022).
LAMBDA_ENCODER, LAMBDA_DECODER = 0.37, 0.24
#: Loss added per unit beyond the tolerance or the budget: large enough to decide.
BARRIER, BUDGET_BARRIER = 50.0, 2000.0
#: What is kept of an evaluation.
MEASURED = ("metric", "loss", "drift", "bops_ratio", "bytes_ratio", "flat")


def bit_operations(policy: Policy, found: "Evaluation") -> float:
    """Return the bit operations of an evaluation, over those in 8 bits."""
    return found.bops_ratio


@dataclass(frozen=True, eq=False)
class Objective:
    """What a trial measures.

    Parameters
    ----------
    loaded : Loaded
    task : Task
        Scored on its part for searching.
    space : Space, SpattenSpace or LocalSpace
    reference : Score
        Of the plain model on the same part.
    weight : float
        Lambda: loss per unit of cost.
    tolerance : float, optional
        Relative loss of metric that is allowed; beyond it the loss grows steeply. None leaves the
        plain sum ``loss + weight * cost``.
    multi : bool
        Return ``(relative loss of metric, cost)`` instead of one number.
    budget : float, optional
        Cost that is allowed; beyond it the loss grows steeply.
    fidelity : bool
        The loss is the divergence from the plain model's predictions, not the cross-entropy with
        the labels.
    cost : callable
        What a policy costs, relative to attention in 8 bits; told its evaluation. Bit operations
        unless given.
    arrays : Arrays
        Those whose row blocks and groups choose V.

    Raises
    ------
    UsageError
        If ``fidelity`` is asked of a task without classes.
    """

    loaded: "Loaded"
    task: "Task"
    space: Space | SpattenSpace | LocalSpace
    reference: "Score"
    weight: float
    tolerance: float | None = 0.01
    multi: bool = False
    budget: float | None = None
    fidelity: bool = False
    cost: Callable[[Policy, "Evaluation"], float] = bit_operations
    arrays: Arrays = BASE_ARRAYS

    def __post_init__(self) -> None:
        if self.fidelity and self.reference.predicted is None:
            raise UsageError(f"{self.task.name} has no classes to be true to: leave fidelity out")

    def __call__(self, trial: optuna.trial.Trial) -> float | tuple[float, ...]:
        """Evaluate the policy of a trial."""
        # Workers that only watch a study need no model library.
        from dtqatten.algorithm.evaluate import evaluate

        policy = self.space.suggest(trial)
        text = policy.to_json()
        complete = (optuna.trial.TrialState.COMPLETE,)
        for old in trial.study.get_trials(deepcopy=False, states=complete):
            # On a grid, points come back; a policy always measures the same.
            if old.user_attrs.get("policy") == text:
                for name, value in old.user_attrs.items():
                    trial.set_user_attr(name, value)
                return tuple(old.values) if self.multi else old.values[0]
        found = evaluate(
            self.loaded,
            self.task,
            policy,
            part="train",
            reference=self.reference,
            arrays=self.arrays,
        )
        trial.set_user_attr("policy", text)
        for name in MEASURED:
            trial.set_user_attr(name, getattr(found, name))
        cost = self.cost(policy, found)
        trial.set_user_attr("cost", cost)
        return self.value(found, cost)

    def value(self, found: "Evaluation", cost: float) -> float | tuple[float, ...]:
        """Return what is minimized."""
        worse = self.task.worse_by(found.metric, self.reference.metric)
        if not math.isfinite(worse):
            worse = 1.0
        if self.multi:
            return worse, cost
        loss = found.loss
        if self.fidelity and found.drift is not None:
            loss = found.drift
        if not math.isfinite(loss):
            loss = 1e3
        if self.tolerance is not None:
            loss += BARRIER * max(0.0, worse - self.tolerance)
        if self.budget is not None:
            loss += BUDGET_BARRIER * max(0.0, cost - self.budget)
        return loss + self.weight * cost
