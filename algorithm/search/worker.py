"""One process's part in a study: it runs trials, and keeps the best policy so far in a file."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.search.objective import Objective
from dtqatten.algorithm.search.study import best_policy, optimize

__all__ = ["Worker"]


@dataclass(frozen=True, eq=False)
class Worker:
    """Runs trials of a study.

    Parameters
    ----------
    study : optuna.Study
        Shared with other workers.
    objective : Objective
    output : Path
        Policy file that is rewritten after each trial.
    tolerance : float
        Loss of metric of the policy that is taken from a front.
    budget : float, optional
        Its cost.
    record : mapping
        What the policy's record says beside the measured.
    """

    study: optuna.Study
    objective: Objective
    output: Path
    tolerance: float
    budget: float | None
    record: Mapping[str, Any]

    @property
    def finished(self) -> list[optuna.trial.FrozenTrial]:
        """Trials of all workers that have finished."""
        return [t for t in self.study.trials if t.state.name == "COMPLETE"]

    def keep(self) -> Policy:
        """Write the best policy so far, and return it.

        Raises
        ------
        ValueError
            If no trial has finished.
        """
        best = best_policy(self.study, max(self.tolerance, 0), self.budget)
        best = best.replace(record={**best.record, **self.record})
        best.save(self.output)
        return best

    def run(self, trials: int, seconds: float | None, show: Callable[[Policy], None]) -> None:
        """Run trials until all workers have finished as many, or the time is over.

        Parameters
        ----------
        trials : int
            Finished trials in all.
        seconds : float, optional
            Stop after that time.
        show : callable
            Called with the best policy so far, at first and after each trial.
        """
        if self.finished:
            show(self.keep())
        optimize(self.study, self.objective, trials, lambda _: show(self.keep()), seconds)
