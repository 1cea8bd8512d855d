"""Searching: the space, resuming, several workers on one study, and one that is killed."""

import json
import os
import signal
import subprocess
import sys
import time

import optuna
import pytest
import torch

from dtqatten.algorithm import evaluate
from dtqatten.algorithm.evaluate import Evaluation
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import PolicyError
from dtqatten.algorithm.search.objective import Objective
from dtqatten.algorithm.search.spaces import Space, SpattenSpace
from dtqatten.algorithm.search.study import best_policy, open_study, optimize, pareto
from dtqatten.algorithm.spatten import spatten
from dtqatten.algorithm.tasks.perplexity import Perplexity
from dtqatten.algorithm.tasks.task import Score, Task


class Made(Task):
    """A task that needs no model: pruning costs metric, bits cost bit operations."""

    metric = "accuracy"

    examples = score = loss = inputs = None


def pretend(loaded, task, policy, part, reference, **_):
    drift = 0.1 * len(policy.protect) + (policy.importance == "block")
    zero, four, eight = (
        sum(x) / len(policy.layers) for x in zip(*(y.shares for y in policy.layers), strict=True)
    )
    metric = 0.9 - 0.5 * zero**2 - 0.01 * four
    bops = (four * 4 + eight * 8) ** 2 / 64
    return Evaluation(
        "m", "t", "accuracy", metric, 0.9, 1 - metric, zero, four, eight, bops, bops, 0, 1, 1, 1,
        drift,
    )  # fmt: skip


@pytest.fixture
def objective(monkeypatch):
    monkeypatch.setattr(evaluate, "evaluate", pretend)

    def make(space, **options):
        return Objective(None, Made(), space, Score(0.9, 0.1, 1.0, 1), 0.37, **options)

    return make


def names(space):
    return {
        name: space.suggest(optuna.trial.FixedTrial(params)).to_json()
        for name, params in enumerate(space.starts())
    }


@pytest.mark.parametrize("layers", [1, 2, 6, 30])
@pytest.mark.parametrize("max_eight", [0, 0.3, 1])
def test_first_trials_are_policies_on_the_grid(layers, max_eight):
    groups = min(5, max(layers - 1, 1))
    space = Space(Policy.flat(layers, rotate=True), groups, max_eight)
    found = [Policy.from_json(x) for x in names(space).values()]
    assert all(p.rotate for p in found)
    for policy in found:
        for layer in policy.layers:
            assert all(abs(s * 20 - round(s * 20)) < 1e-9 for s in layer.shares)
            assert layer.share_8 <= max_eight
        shares = [layer.share_0 for layer in policy.layers]
        assert shares == sorted(shares)
    if layers > 1:
        assert {space.group(i) for i in range(layers)} == set(range(groups + 1))


@pytest.mark.parametrize(("groups", "eight"), [(0, 1), (6, 1), (2, 1.5)])
def test_impossible_spaces_are_refused(groups, eight):
    with pytest.raises(PolicyError):
        Space(Policy.flat(6), groups, eight)


def test_spattens_schedule():
    policy = spatten(5, tokens=0.4, heads=0.2, values=0.1, threshold=0.1, eight=1)
    assert [x.share_0 for x in policy.layers] == [0, 0.1, 0.2, 0.3, 0.4]
    assert [x.share_8 for x in policy.layers] == [1, 0, 0, 0, 0]
    assert [x.heads for x in policy.layers] == [1, 0.95, 0.9, 0.85, 0.8]
    assert [x.values for x in policy.layers] == [1, 0.9, 0.9, 0.9, 0.9]
    assert [x.threshold for x in policy.layers] == [None, 0.1, 0.1, 0.1, 0.1]
    late = spatten(5, tokens=0.4, late=2)
    assert [x.share_0 for x in late.layers] == [0, 0.025, 0.1, 0.225, 0.4]
    for bad in ({"tokens": 1}, {"values": -0.1}, {"eight": 6}):
        with pytest.raises(PolicyError):
            spatten(5, **bad)
    assert len(names(SpattenSpace(Policy.flat(4)))) == 7
    plain = SpattenSpace(Policy.flat(4), progressive=False)
    assert len(names(plain)) == 6
    assert all(
        set(start) == {"tokens", "heads", "values", "eight", "late"} for start in plain.starts()
    )
    whole = SpattenSpace(Policy.flat(4), prune_heads=False)
    assert "heads" not in names(whole)
    for start in whole.starts():
        assert not whole.suggest(optuna.trial.FixedTrial(start)).prunes_heads
    trial = optuna.trial.FixedTrial(plain.starts()[-1])
    assert all(layer.threshold is None for layer in plain.suggest(trial).layers)


KINDS = ("more_0_{}", "share_8_{}", "values_{}")
#: The first layer prunes nothing.
FIXED = {"more_0_0"}


def test_a_space_without_pruning_has_eight_bit_shares_only():
    space = Space(Policy.flat(6), 2, max_zero=0.0)
    assert all(set(start) == {"share_8_0", "share_8_1", "share_8_2"} for start in space.starts())
    assert [start["share_8_0"] for start in space.starts()] == [0, 3, 6, 12]
    trial = optuna.trial.FixedTrial({f"share_8_{g}": 5 for g in range(3)})
    assert {x.shares for x in space.suggest(trial).layers} == {(0.0, 0.75, 0.25)}
    for bad, message in ((1.0, "a token is left"), (-0.1, "outside 0"), (0.0, "nothing to search")):
        with pytest.raises(PolicyError, match=message):
            Space(Policy.flat(6), 2, max_eight=0.0, max_zero=bad)


def test_a_space_of_values_searches_the_share_of_v_of_each_group():
    space = Space(Policy.flat(6), 2, max_eight=0.0, max_zero=0.0, min_values=0.3)
    every = [{f"values_{g}": share for g in range(3)} for share in (10, 20)]
    assert space.starts() == every
    trial = optuna.trial.FixedTrial({"values_0": 20, "values_1": 6, "values_2": 13})
    assert [x.values for x in space.suggest(trial).layers] == [1, 0.3, 0.3, 0.3, 0.65, 0.65]
    mixed = Space(Policy.flat(6), 2, min_values=0.75).starts()
    assert {x["values_1"] for x in mixed} == {15, 20}
    assert all(set(x) == {n.format(g) for n in KINDS for g in range(3)} - FIXED for x in mixed)
    for bad in (0.0, 1.1):
        with pytest.raises(PolicyError, match="use 1 for all V"):
            Space(Policy.flat(6), 2, min_values=bad)


@pytest.mark.parametrize("sampler", ["tpe", "random", "gp"])
def test_a_study_finds_a_better_policy_than_its_first_trials(tmp_path, objective, sampler):
    space = Space(Policy.flat(6), 2)
    study = open_study(str(tmp_path / "s.journal"), "s", space, sampler=sampler, seed=1)
    first = len(space.starts())
    optimize(study, objective(space), first + 14)
    values = [t.value for t in study.trials if t.value is not None]
    assert len(values) == first + 14
    if sampler != "random":
        assert min(values[first:]) < min(values[:first])
    best = best_policy(study)
    assert best.record["trial"] == values.index(min(values))
    assert len(best.layers) == 6


def test_tolerance_and_budget_are_barriers(objective):
    space = Space(Policy.flat(6), 2)
    found = pretend(
        None,
        None,
        space.template.replace(layers=space.build([(0, 0, None), (8, 0, None), (8, 0, None)])),
        "train",
        None,
    )
    worse = (0.9 - found.metric) / 0.9
    plain = objective(space, tolerance=None).value(found, found.bops_ratio)
    assert plain == pytest.approx(found.loss + 0.37 * found.bops_ratio)
    assert objective(space).value(found, found.bops_ratio) == pytest.approx(
        plain + 50 * (worse - 0.01)
    )
    tight = objective(space, tolerance=None, budget=0.1).value(found, found.bops_ratio)
    assert tight == pytest.approx(plain + 2000 * (found.bops_ratio - 0.1))
    assert objective(space, multi=True).value(found, found.bops_ratio) == (
        pytest.approx(worse),
        found.bops_ratio,
    )


def test_options_can_be_searched_beside_the_ratios(tmp_path, objective):
    template = Policy.flat(6, importance="block", protect=("first", "last"))
    space = Space(template, 1, 0.0, vary=("importance", "protect"))
    assert all(s["importance"] == "block" and s["protect"] == "first+last" for s in space.starts())
    predicted = torch.zeros(1, 2)
    measure = Objective(
        None, Made(), space, Score(0.9, 0.1, 1.0, 1, predicted), 0.0, tolerance=None, fidelity=True
    )
    study = open_study(str(tmp_path / "s.journal"), "s", space, seed=2)
    optimize(study, measure, len(space.starts()) + 20)
    best = best_policy(study)
    assert (best.importance, best.protect) == ("cumulative", ())
    assert best.record["train_drift"] == 0
    schedule = SpattenSpace(template, vary=("importance",))
    assert all(start["importance"] == "block" for start in schedule.starts())
    # What the template has and the search does not try is left to the sampler.
    odd = Space(template.replace(smooth=0.4), 1, vary=("smooth",))
    assert all("smooth" not in start for start in odd.starts())
    with pytest.raises(PolicyError, match="cannot vary colour: choose of granularity"):
        Space(template, 1, vary=("colour",))


def test_fidelity_needs_classes(objective):
    space = Space(Policy.flat(6), 2)
    found = pretend(None, None, Policy.flat(6, protect=("first",)), "train", None)
    with pytest.raises(ValueError, match="no classes to be true to"):
        objective(space, fidelity=True)
    true = Objective(
        None, Made(), space, Score(0.9, 0.1, 1.0, 1, torch.zeros(1, 2)), 0.5, fidelity=True
    )
    assert true.value(found, found.bops_ratio) == pytest.approx(0.1 + 0.5 * found.bops_ratio)


def test_a_study_is_not_continued_with_other_settings(tmp_path, objective):
    """Else a search with another template would return the old one's policy."""
    path = str(tmp_path / "study.db")
    space = Space(Policy.flat(6), 2)
    settings = {"template": Policy.flat(6).to_json(), "limit": 4, "budget": None}
    study = open_study(path, "s", space, settings=settings)
    optimize(study, objective(space), 1)
    assert len(open_study(path, "s", space, settings=settings).trials) == len(study.trials)
    other = {**settings, "template": Policy.flat(6, importance="block").to_json()}
    with pytest.raises(ValueError, match="begun with another template"):
        open_study(path, "s", space, settings=other)
    with pytest.raises(ValueError, match="begun with another budget, limit"):
        open_study(path, "s", space, settings={**settings, "limit": 5, "budget": 0.3})
    open_study(path, "other", space, settings=other)


def test_a_stopped_study_goes_on(tmp_path, objective):
    space = Space(Policy.flat(6), 2)
    path = str(tmp_path / "study.db")
    optimize(open_study(path, "s", space), objective(space), 5)
    seen = []
    again = open_study(path, "s", space)
    optimize(again, objective(space), 8, seen.append)
    assert len(seen) == 3
    assert len(again.trials) == len(space.starts())  # the queue was made once
    optimize(again, objective(space), 8, seen.append)
    assert len(seen) == 3


def test_the_pareto_front(tmp_path, objective):
    space = Space(Policy.flat(6), 2)
    study = open_study(str(tmp_path / "s.journal"), "s", space, multi=True)
    optimize(study, objective(space, multi=True), 25)
    front = pareto(study)
    assert len(front) > 2
    losses, bops = [x[0] for x in front], [x[1] for x in front]
    assert bops == sorted(bops)
    assert losses == sorted(losses, reverse=True)
    chosen = best_policy(study, 0.02)
    assert chosen.record["train_bops_ratio"] == min(
        b for w, b in zip(losses, bops, strict=True) if w <= 0.02
    )
    chosen = best_policy(study, budget=bops[1])
    assert chosen.record["train_bops_ratio"] == bops[1]
    nearest = best_policy(study, budget=0.01)
    assert nearest.record["train_bops_ratio"] == bops[0]
    with pytest.raises(ValueError, match="2 objectives, asked for 1"):
        open_study(str(tmp_path / "s.journal"), "s", space)


def test_refusals(tmp_path):
    space = Space(Policy.flat(6), 2)
    with pytest.raises(ValueError, match="choose one of tpe, gp, random"):
        open_study(str(tmp_path / "s.db"), "s", space, sampler="grid")
    with pytest.raises(ValueError, match="no finished trial"):
        best_policy(open_study(str(tmp_path / "s.journal"), "s", space))


def test_perplexity_is_better_when_smaller():
    assert Made().worse_by(0.8, 1.0) == pytest.approx(0.2)
    assert Perplexity.worse_by(12.0, 10.0) == pytest.approx(0.2)


WORKER = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.search.spaces import Space
from dtqatten.algorithm.search.study import open_study, optimize
path, name = sys.argv[1:3]
seed, trials, pause = int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5])
space = Space(Policy.flat(6), 2)
def objective(trial):
    policy = space.suggest(trial)
    trial.set_user_attr("policy", policy.to_json())
    for name in ("metric", "loss", "bops_ratio", "bytes_ratio", "cost"):
        trial.set_user_attr(name, 0.5)
    trial.set_user_attr("worker", seed)
    time.sleep(pause)
    return sum(x.share_8 for x in policy.layers)
study = open_study(path, name, space, seed=seed)
optimize(study, objective, trials)
"""


def start(path, name, seed, trials, pause=0.05):
    given = (path, name, seed, trials, pause)
    return subprocess.Popen([sys.executable, "-c", WORKER, *map(str, given)])


#: Address of a PostgreSQL database for the test, as `postgresql://user@host/database`.
DATABASE = os.environ.get("DTQATTEN_POSTGRESQL")


@pytest.mark.parametrize(
    "place",
    [
        "study.db",
        "study.journal",
        pytest.param(
            DATABASE,
            marks=pytest.mark.skipif(not DATABASE, reason="DTQATTEN_POSTGRESQL is not set"),
            id="postgresql",
        ),
    ],
)
def test_workers_share_a_study_and_a_killed_one_loses_no_finished_trial(tmp_path, place):
    path = place if "://" in place else str(tmp_path / place)
    space = Space(Policy.flat(6), 2)
    name = f"shared-{os.getpid()}"
    study = open_study(path, name, space)

    def done():
        return [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]

    doomed = start(path, name, 1, 1000, 0.3)
    try:
        deadline = time.monotonic() + 60
        while len(done()) < 2:
            assert time.monotonic() < deadline, "the first worker finishes no trial"
            time.sleep(0.1)
        others = [start(path, name, seed, 14) for seed in (2, 3)]
    finally:
        os.kill(doomed.pid, signal.SIGKILL)
        doomed.wait()
    before = {t.number: (t.value, json.dumps(t.params)) for t in done()}
    assert all(p.wait(timeout=120) == 0 for p in others)
    after = {t.number: (t.value, json.dumps(t.params)) for t in done()}
    assert len(after) >= 14
    assert all(after[number] == kept for number, kept in before.items())
    assert {t.user_attrs["worker"] for t in done()} >= {1}
    assert len({t.user_attrs["worker"] for t in done()}) >= 2
    assert len(best_policy(study).layers) == 6
    if "://" in path:
        database = study._storage._backend  # Optuna has no public way to hang up
        database.remove_session()
        database.engine.dispose()
