"""A study: trials of many workers in one place, until there are enough, and the best of them."""

import json
import math
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import optuna
from optuna.study import StudyDirection

from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.search.local_space import LocalSpace
from dtqatten.algorithm.search.objective import MEASURED
from dtqatten.algorithm.search.spaces import Space, SpattenSpace
from dtqatten.algorithm.search.storage import storage_of
from dtqatten.files.errors import UsageError

__all__ = ["SAMPLERS", "best_policy", "open_study", "optimize", "pareto"]

#: Samplers by name.
SAMPLERS = ("tpe", "gp", "random")


def open_study(
    storage: str,
    name: str,
    space: Space | SpattenSpace | LocalSpace,
    *,
    sampler: str = "tpe",
    seed: int = 0,
    multi: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> optuna.Study:
    """Open a study, or make it with its first trials queued.

    Parameters
    ----------
    storage : str
        File or URL, as :func:`storage_of`.
    name : str
        Name of the study: workers with the same storage and name share it.
    space : Space, SpattenSpace or LocalSpace
    sampler : str
        ``tpe``, ``gp`` (multi-objective: with expected hypervolume) or ``random``.
    seed : int
        Of the sampler; give each worker its own.
    multi : bool
        Minimize loss of metric and cost together.
    settings : mapping, optional
        What a trial's value depends on beside its parameters, as JSON knows it. Kept with the
        study, because trials of other settings cannot be compared.

    Raises
    ------
    UsageError
        If there is no such sampler, or the study exists with another number of objectives or with
        other settings.
    """
    if sampler not in SAMPLERS:
        raise UsageError(f"no sampler {sampler!r}: choose one of {', '.join(SAMPLERS)}")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    directions = [StudyDirection.MINIMIZE] * (2 if multi else 1)
    study = optuna.create_study(
        storage=storage_of(storage),
        study_name=name,
        sampler=_sampler(sampler, seed),
        directions=directions,
        load_if_exists=True,
    )
    if len(study.directions) != len(directions):
        raise UsageError(
            f"the study {name!r} has {len(study.directions)} objectives, asked for "
            f"{len(directions)}: use another name"
        )
    _settle(study, settings or {})
    if not study.get_trials(deepcopy=False):
        for params in space.starts():
            study.enqueue_trial(params, skip_if_exists=True)
    return study


def _sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    if name == "tpe":
        # Constant liar: parallel workers do not try the same point.
        return optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=False, constant_liar=True, n_startup_trials=16
        )
    if name == "gp":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return optuna.samplers.GPSampler(
                seed=seed, n_startup_trials=10, deterministic_objective=True
            )
    return optuna.samplers.RandomSampler(seed=seed)


def _settle(study: optuna.Study, settings: Mapping[str, Any]) -> None:
    """Keep a study's settings with it, and refuse others than it was begun with."""
    wanted = json.loads(json.dumps(settings))
    held = study.user_attrs.get("settings", wanted)
    if odd := sorted(k for k in held | wanted if held.get(k) != wanted.get(k)):
        raise UsageError(
            f"the study {study.study_name!r} was begun with another {', '.join(odd)}: its trials "
            "cannot be compared with new ones; use another name or the same settings"
        )
    if "settings" not in study.user_attrs:
        study.set_user_attr("settings", wanted)


def optimize(
    study: optuna.Study,
    objective: Callable[[optuna.trial.Trial], Any],
    trials: int,
    progress: Callable[[optuna.Study], None] | None = None,
    seconds: float | None = None,
) -> None:
    """Run trials until the study, all workers together, has ``trials`` finished ones.

    Parameters
    ----------
    study : optuna.Study
    objective : callable
    trials : int
        Finished trials in all; a study that has them already is left alone.
    progress : callable, optional
        Called after each trial.
    seconds : float, optional
        Stop this worker after that time.
    """
    start = time.monotonic()
    done = (optuna.trial.TrialState.COMPLETE,)
    while len(study.get_trials(deepcopy=False, states=done)) < trials:
        if seconds is not None and time.monotonic() - start > seconds:
            break
        study.optimize(objective, n_trials=1)
        if progress is not None:
            progress(study)


def best_policy(
    study: optuna.Study, tolerance: float = 0.01, budget: float | None = None
) -> Policy:
    """Return the policy of the best trial, what it measured in its record.

    Of a multi-objective study: the one of least loss of metric within ``budget``, or, without a
    budget, the one of least cost whose loss is within ``tolerance``. Where nothing is within, the
    nearest.

    Raises
    ------
    UsageError
        If no trial has finished.
    """
    trials = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if not trials:
        raise UsageError(f"the study {study.study_name!r} has no finished trial: run it longer")
    if len(study.directions) == 1:
        best = min(trials, key=lambda t: t.value if t.value is not None else math.inf)
    else:
        # Loss of metric and cost: the first is limited, the second minimized, or the reverse.
        limited, limit = (0, tolerance) if budget is None else (1, budget)
        best = min(
            trials,
            key=lambda t: (max(t.values[limited] - limit, 0.0), t.values[1 - limited]),
        )
    attrs = best.user_attrs
    record = {
        "study": study.study_name,
        "trial": best.number,
        "trials": len(trials),
        **{f"train_{k}": attrs[k] for k in MEASURED if attrs.get(k) is not None},
        "train_cost": attrs["cost"],
    }
    return Policy.from_json(attrs["policy"]).replace(record=record)


def pareto(study: optuna.Study) -> list[tuple[float, float, Policy]]:
    """Return the front of a multi-objective study: loss of metric, cost and policy, by cost."""
    front = [
        (t.values[0], t.values[1], Policy.from_json(t.user_attrs["policy"]))
        for t in study.best_trials
    ]
    return sorted(front, key=lambda x: (x[1], x[0]))
