"""Search for the ratios of a policy: Bayesian, resumable, shared by any number of workers."""

import itertools
import json
import math
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from sqlalchemy import URL, Connection, Engine, event
from sqlalchemy.exc import DBAPIError

from dtqatten.algorithm.policy import LayerPolicy, Policy, PolicyError
from dtqatten.algorithm.spatten import spatten

if TYPE_CHECKING:
    from dtqatten.algorithm.evaluate import Evaluation
    from dtqatten.algorithm.models import Loaded
    from dtqatten.algorithm.tasks import Score, Task

__all__ = [
    "GRID",
    "LAMBDA_DECODER",
    "LAMBDA_ENCODER",
    "OPTIONS",
    "SAMPLERS",
    "Objective",
    "Space",
    "SpattenSpace",
    "best_policy",
    "open_study",
    "optimize",
    "pareto",
    "storage_of",
]

#: Steps of a ratio: 5 %.
GRID = 20
#: Weight of bit operations against cross-entropy (DTQAtten, DATE 2022).
LAMBDA_ENCODER, LAMBDA_DECODER = 0.37, 0.24
#: Loss added per unit beyond the tolerance or the budget: large enough to decide.
BARRIER, BUDGET_BARRIER = 50.0, 2000.0
#: Times that a database is tried, a second apart.
OPENINGS = 4
#: What is kept of an evaluation.
_MEASURED = ("metric", "loss", "drift", "bops_ratio", "bytes_ratio")
#: Samplers by name.
SAMPLERS = ("tpe", "gp", "random")
#: Fields of a policy that can be searched beside the ratios, and what is tried.
OPTIONS: dict[str, tuple[Any, ...]] = {
    "granularity": ("head", "token"),
    "importance": ("cumulative", "block"),
    "count_normalize": (False, True),
    "pruned": ("drop", "freeze", "ffn"),
    "prune_queries": (False, True),
    # Tokens joined by +, because a choice is a text or a number.
    "protect": ("", "first", "special", "first+last"),
    "recent": (0, 16, 64),
    "rotate": (False, True),
    "smooth": (None, 0.3, 0.5, 0.7),
    "center": (False, True),
    "p_planes": (2, 3),
    "p_follows_token": (False, True),
    "p_follows_query": (False, True),
}


@dataclass(frozen=True)
class _Template:
    """A policy, and the options of it that are searched.

    Parameters
    ----------
    template : Policy
        All that is not searched.
    vary : tuple of str
        Names in ``OPTIONS``.

    Raises
    ------
    PolicyError
        If a name is not there.
    """

    template: Policy
    vary: tuple[str, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if odd := sorted(set(self.vary) - set(OPTIONS)):
            raise PolicyError(f"cannot vary {', '.join(odd)}: choose of {', '.join(OPTIONS)}")

    def varied(self, trial: optuna.trial.BaseTrial) -> Policy:
        """Return the template with a trial's options."""
        found = {name: trial.suggest_categorical(name, OPTIONS[name]) for name in self.vary}
        if "protect" in found:
            found["protect"] = tuple(x for x in found["protect"].split("+") if x)
        return self.template.replace(**found)

    def started(self, params: Mapping[str, int]) -> dict[str, Any]:
        """Return parameters of a first trial with the template's own options."""
        own = {name: getattr(self.template, name) for name in self.vary}
        if "protect" in own:
            own["protect"] = "+".join(own["protect"])
        # Where the template has what is not tried, the sampler chooses.
        return {**params, **{name: x for name, x in own.items() if x in OPTIONS[name]}}


@dataclass(frozen=True)
class Space(_Template):
    """Ratios to be searched; other fields of a policy come from a template unless they vary.

    Layers are searched in groups of neighbours that share their ratios. The first layer, which
    cannot prune, is a group of its own.

    Parameters
    ----------
    template, vary : Policy, tuple of str
        Everything but the ratios; options that are searched too.
    groups : int
        Groups of layers after the first, 1 to the number of those layers.
    max_eight : float
        Largest share of 8-bit tokens; 0 leaves only the pruned shares to be searched.
    max_zero : float
        Largest share of pruned tokens; 0 leaves only the 8-bit shares to be searched.

    Raises
    ------
    PolicyError
        If a value is out of range.
    """

    groups: int
    max_eight: float = 1.0
    max_zero: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.max_eight <= 1:
            raise PolicyError(f"max_eight is {self.max_eight}, outside 0..1: use 1 for no limit")
        if not 0 <= self.max_zero <= 0.95:
            raise PolicyError(f"max_zero is {self.max_zero}, outside 0..0.95: a token is left")
        if self.max_eight < 1 / GRID and self.max_zero < 1 / GRID:
            raise PolicyError("max_eight and max_zero leave nothing to search: raise one to 0.05")
        rest = len(self.template.layers) - 1
        if not 1 <= self.groups <= max(rest, 1):
            raise PolicyError(
                f"groups is {self.groups}, outside 1..{max(rest, 1)}: "
                "there are no more layers after the first"
            )

    def group(self, layer: int) -> int:
        """Group of a layer; the first layer is group 0."""
        rest = len(self.template.layers) - 1
        return 0 if layer == 0 else 1 + (layer - 1) * self.groups // max(rest, 1)

    def suggest(self, trial: optuna.trial.BaseTrial) -> Policy:
        """Return the policy of a trial.

        Pruned shares are searched as increments, because a pruned token stays pruned; 8-bit shares
        are what is left at most.
        """
        steps: list[tuple[int, int]] = []
        pruned = 0
        most, least = (int(GRID * share + 1e-9) for share in (self.max_eight, self.max_zero))
        for group in range(self.groups + 1):
            if group and least:
                pruned = min(pruned + trial.suggest_int(f"more_0_{group}", 0, 6), least)
            eight = trial.suggest_int(f"share_8_{group}", 0, most) if most else 0
            steps.append((pruned, min(eight, GRID - pruned)))
        return self.varied(trial).replace(layers=self.build(steps))

    def build(self, steps: Sequence[tuple[int, int]]) -> tuple[LayerPolicy, ...]:
        """Return the layers of ``(pruned, 8-bit)`` grid steps, one pair a group."""
        layers = []
        for index, old in enumerate(self.template.layers):
            pruned, eight = steps[self.group(index)]
            shares = pruned / GRID, (GRID - pruned - eight) / GRID, eight / GRID
            layers.append(
                LayerPolicy(
                    share_0=shares[0],
                    share_4=shares[1],
                    share_8=shares[2],
                    heads=old.heads,
                    values=old.values,
                    threshold=old.threshold,
                )
            )
        return tuple(layers)

    def starts(self) -> list[dict[str, Any]]:
        """Parameters of sensible first trials: no pruning, steps in late layers, and ramps."""
        return [self.started(params) for params in self._ratios()]

    def _ratios(self) -> list[dict[str, int]]:
        if self.max_zero < 1 / GRID:
            most = int(GRID * self.max_eight + 1e-9)
            levels = sorted({min(level, most) for level in (0, 3, 6, 12)})
            return [{f"share_8_{g}": x for g in range(self.groups + 1)} for x in levels]
        found = []
        for level, last in ((2, 2), (4, 2), (3, 1), (6, 1)):
            params = {f"more_0_{g}": 0 for g in range(1, self.groups + 1)}
            params[f"more_0_{max(self.groups + 1 - last, 1)}"] = level
            if self.max_eight >= 1 / GRID:
                params |= {f"share_8_{g}": 0 for g in range(self.groups + 1)}
            found.append(params)
        for ends, power in ((0, 1), (6, 4), (9, 4), (3, 1), (6, 1), (9, 1)):
            most = int(GRID * self.max_eight + 1e-9)
            for eight in sorted({0, min(6, most), most}):
                if ends and eight == GRID:
                    continue
                params = {f"share_8_{g}": eight for g in range(self.groups + 1) if most}
                goal = [round(ends * (g / self.groups) ** power) for g in range(self.groups + 1)]
                for g in range(1, self.groups + 1):
                    params[f"more_0_{g}"] = min(goal[g] - goal[g - 1], 6)
                if params not in found:
                    found.append(params)
        return found


@dataclass(frozen=True)
class SpattenSpace(_Template):
    """SpAtten's schedule, to be searched in the same way.

    Parameters
    ----------
    template, vary : Policy, tuple of str
        Everything but the schedule; options that are searched too.
    """

    def suggest(self, trial: optuna.trial.BaseTrial) -> Policy:
        """Return the policy of a trial: shares on the 5 % grid."""
        layers = len(self.template.layers)
        threshold = trial.suggest_int("threshold", 0, 8)  # per cent times 2.5; 0 is none
        made = spatten(
            layers,
            tokens=trial.suggest_int("tokens", 0, 14) / GRID,
            heads=trial.suggest_int("heads", 0, 10) / GRID,
            values=trial.suggest_int("values", 0, 10) / GRID,
            threshold=threshold / 40 or None,
            eight=trial.suggest_int("eight", 0, layers),
            late=trial.suggest_int("late", 1, 4),
        )
        return self.varied(trial).replace(layers=made.layers)

    def starts(self) -> list[dict[str, Any]]:
        """Parameters of first trials: one thing at a time, and all together."""
        none = {"threshold": 0, "tokens": 0, "heads": 0, "values": 0, "eight": 0, "late": 1}
        found: list[dict[str, int]] = [
            {},
            {"threshold": 4},
            {"tokens": 6, "late": 3},
            {"heads": 4},
            {"values": 6},
            {"eight": len(self.template.layers)},
            {"threshold": 4, "tokens": 6, "heads": 2, "values": 4},
        ]
        return [self.started({**none, **changes}) for changes in found]


@dataclass(frozen=True, eq=False)
class Objective:
    """What a trial measures.

    Parameters
    ----------
    loaded : Loaded
    task : Task
        Scored on its part for searching.
    space : Space or SpattenSpace
    reference : Score
        Of the plain model on the same part.
    weight : float
        Lambda: loss per unit of bit operations relative to 8 bits.
    tolerance : float, optional
        Relative loss of metric that is allowed; beyond it the loss grows steeply. None leaves the
        plain sum ``loss + weight * BOPs``.
    multi : bool
        Return ``(relative loss of metric, BOPs)`` instead of one number.
    budget : float, optional
        BOPs that are allowed; beyond them the loss grows steeply.
    fidelity : bool
        The loss is the divergence from the plain model's predictions, not the cross-entropy with
        the labels.

    Raises
    ------
    ValueError
        If ``fidelity`` is asked of a task without classes.
    """

    loaded: "Loaded"
    task: "Task"
    space: Space | SpattenSpace
    reference: "Score"
    weight: float
    tolerance: float | None = 0.01
    multi: bool = False
    budget: float | None = None
    fidelity: bool = False

    def __post_init__(self) -> None:
        if self.fidelity and self.reference.predicted is None:
            raise ValueError(f"{self.task.name} has no classes to be true to: leave fidelity out")

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
        found = evaluate(self.loaded, self.task, policy, part="train", reference=self.reference)
        trial.set_user_attr("policy", text)
        for name in _MEASURED:
            trial.set_user_attr(name, getattr(found, name))
        return self.value(found)

    def value(self, found: "Evaluation") -> float | tuple[float, ...]:
        """Return what is minimized."""
        worse = self.task.worse_by(found.metric, self.reference.metric)
        if not math.isfinite(worse):
            worse = 1.0
        if self.multi:
            return worse, found.bops_ratio
        loss = found.loss
        if self.fidelity and found.drift is not None:
            loss = found.drift
        if not math.isfinite(loss):
            loss = 1e3
        if self.tolerance is not None:
            loss += BARRIER * max(0.0, worse - self.tolerance)
        if self.budget is not None:
            loss += BUDGET_BARRIER * max(0.0, found.bops_ratio - self.budget)
        return loss + self.weight * found.bops_ratio


def storage_of(where: str) -> Any:
    """Return an Optuna storage: a URL, or a file (``*.journal`` or SQLite).

    A journal file and a PostgreSQL URL serve workers on many machines; SQLite those of one.

    Raises
    ------
    ValueError
        If the driver of a database is not installed or the database cannot be opened.
    """
    if "://" in where:
        return _database(where)
    if where.endswith(".journal"):
        return optuna.storages.JournalStorage(JournalFileBackend(where))
    # A path is data, not a part of a URL's syntax: ``?``, ``%`` and ``#`` mean themselves.
    url = URL.create("sqlite", database=str(Path(where).absolute())).render_as_string()
    made = _database(url, engine_kwargs={"connect_args": {"timeout": 60}})
    _serialize(made.engine)
    return made


def _serialize(engine: Engine) -> None:
    """Let each transaction of SQLite take the write lock as it begins.

    Optuna reads a waiting trial, then sets it running, and locks its row meanwhile. SQLite knows no
    such locks: two workers would take the same trial, and the second to finish would die of it.
    """

    @event.listens_for(engine, "connect")
    def connect(connection: Any, record: object) -> None:
        del record
        connection.isolation_level = None  # else the driver begins, and late

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    # Connections made so far know nothing of this.
    engine.dispose()


def _database(url: str, **options: Any) -> Any:
    kind = url.partition(":")[0]
    for attempt in itertools.count(1):
        # A worker that dies leaves its trial running: the heartbeat lets others give it up.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            try:
                return optuna.storages.RDBStorage(
                    url, heartbeat_interval=30, grace_period=120, **options
                )
            except ImportError as e:
                raise ValueError(
                    f"cannot open {kind} storage: {e}; install the driver of the database "
                    "(PostgreSQL: pip install 'dtqatten[postgresql]')"
                ) from None
            except DBAPIError as e:
                # Workers that start together make the same tables: all but one fail, once.
                if attempt == OPENINGS:
                    raise ValueError(
                        f"cannot open {kind} storage: {e.orig}; check the address and that the "
                        "server runs and has the database"
                    ) from None
        time.sleep(1)


def open_study(
    storage: str,
    name: str,
    space: Space | SpattenSpace,
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
    space : Space or SpattenSpace
    sampler : str
        ``tpe``, ``gp`` (multi-objective: with expected hypervolume) or ``random``.
    seed : int
        Of the sampler; give each worker its own.
    multi : bool
        Minimize loss of metric and BOPs together.
    settings : mapping, optional
        What a trial's value depends on beside its parameters, as JSON knows it. Kept with the
        study, because trials of other settings cannot be compared.

    Raises
    ------
    ValueError
        If there is no such sampler, or the study exists with another number of objectives or with
        other settings.
    """
    if sampler not in SAMPLERS:
        raise ValueError(f"no sampler {sampler!r}: choose one of {', '.join(SAMPLERS)}")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    kept = storage_of(storage)
    made: Any
    if sampler == "tpe":
        # Constant liar: parallel workers do not try the same point.
        made = optuna.samplers.TPESampler(
            seed=seed, multivariate=True, group=False, constant_liar=True, n_startup_trials=16
        )
    elif sampler == "gp":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            made = optuna.samplers.GPSampler(
                seed=seed, n_startup_trials=10, deterministic_objective=True
            )
    else:
        made = optuna.samplers.RandomSampler(seed=seed)
    directions = [StudyDirection.MINIMIZE] * (2 if multi else 1)
    study = optuna.create_study(
        storage=kept, study_name=name, sampler=made, directions=directions, load_if_exists=True
    )
    if len(study.directions) != len(directions):
        raise ValueError(
            f"the study {name!r} has {len(study.directions)} objectives, asked for "
            f"{len(directions)}: use another name"
        )
    wanted = json.loads(json.dumps(settings or {}))
    held = study.user_attrs.get("settings", wanted)
    if odd := sorted(k for k in held | wanted if held.get(k) != wanted.get(k)):
        raise ValueError(
            f"the study {name!r} was begun with another {', '.join(odd)}: its trials cannot be "
            "compared with new ones; use another name or the same settings"
        )
    if "settings" not in study.user_attrs:
        study.set_user_attr("settings", wanted)
    if not study.get_trials(deepcopy=False):
        for params in space.starts():
            study.enqueue_trial(params, skip_if_exists=True)
    return study


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
    budget, the one of least BOPs whose loss is within ``tolerance``. Where nothing is within, the
    nearest.

    Raises
    ------
    ValueError
        If no trial has finished.
    """
    trials = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    if not trials:
        raise ValueError(f"the study {study.study_name!r} has no finished trial: run it longer")
    if len(study.directions) == 1:
        best = min(trials, key=lambda t: t.value if t.value is not None else math.inf)
    else:
        # Loss of metric and BOPs: the first is limited, the second minimized, or the reverse.
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
        **{f"train_{k}": attrs[k] for k in _MEASURED if attrs.get(k) is not None},
    }
    return Policy.from_json(attrs["policy"]).replace(record=record)


def pareto(study: optuna.Study) -> list[tuple[float, float, Policy]]:
    """Return the front of a multi-objective study: loss of metric, BOPs and policy, by BOPs."""
    front = [
        (t.values[0], t.values[1], Policy.from_json(t.user_attrs["policy"]))
        for t in study.best_trials
    ]
    return sorted(front, key=lambda x: (x[1], x[0]))
