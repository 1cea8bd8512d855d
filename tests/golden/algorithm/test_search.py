"""Searching: the space, resuming, several workers on one study, and one that is killed."""

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

import optuna
import pytest

from dtqatten.golden.algorithm import evaluate
from dtqatten.golden.algorithm.evaluate import Evaluation
from dtqatten.golden.algorithm.policy import Policy, PolicyError
from dtqatten.golden.algorithm.search import (
    Objective,
    Space,
    SpattenSpace,
    best_policy,
    open_study,
    optimize,
    pareto,
    storage_of,
)
from dtqatten.golden.algorithm.spatten import spatten
from dtqatten.golden.algorithm.tasks import Perplexity, Score, Task


class Made(Task):
    """A task that needs no model: pruning costs metric, bits cost bit operations."""

    metric = "accuracy"

    def evaluate(self, loaded, session=None, *, part="dev", progress=None):
        raise NotImplementedError

    def calibration(self, loaded):
        return []


def pretend(loaded, task, policy, part, reference):
    zero, four, eight = (
        sum(x) / len(policy.layers) for x in zip(*(y.shares for y in policy.layers), strict=True)
    )
    metric = 0.9 - 0.5 * zero**2 - 0.01 * four
    bops = (four * 4 + eight * 8) ** 2 / 64
    return Evaluation(
        "m", "t", "accuracy", metric, 0.9, 1 - metric, zero, four, eight, bops, bops, 0, 1, 1, 1
    )


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
    found = pretend(None, None, space.build([(0, 0), (8, 0), (8, 0)]), "train", None)
    worse = (0.9 - found.metric) / 0.9
    plain = objective(space, tolerance=None).value(found)
    assert plain == pytest.approx(found.loss + 0.37 * found.bops_ratio)
    assert objective(space).value(found) == pytest.approx(plain + 50 * (worse - 0.01))
    tight = objective(space, tolerance=None, budget=0.1).value(found)
    assert tight == pytest.approx(plain + 2000 * (found.bops_ratio - 0.1))
    assert objective(space, multi=True).value(found) == (pytest.approx(worse), found.bops_ratio)


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
    with pytest.raises(ValueError, match="2 objectives, asked for 1"):
        open_study(str(tmp_path / "s.journal"), "s", space)


def test_refusals(tmp_path):
    space = Space(Policy.flat(6), 2)
    with pytest.raises(ValueError, match="choose one of tpe, gp, random"):
        open_study(str(tmp_path / "s.db"), "s", space, sampler="grid")
    with pytest.raises(ValueError, match="no finished trial"):
        best_policy(open_study(str(tmp_path / "s.journal"), "s", space))


@pytest.mark.skipif(
    importlib.util.find_spec("psycopg2") is not None, reason="psycopg2 is installed: it connects"
)
def test_a_postgresql_url_is_taken():
    """As far as its driver: a server is not to be had here."""
    with pytest.raises(ValueError, match=r"cannot open postgresql storage.*psycopg2-binary"):
        storage_of("postgresql://user@localhost/studies")


def test_perplexity_is_better_when_smaller():
    assert Made().worse_by(0.8, 1.0) == pytest.approx(0.2)
    assert Perplexity.worse_by(Perplexity, 12.0, 10.0) == pytest.approx(0.2)


WORKER = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
from dtqatten.golden.algorithm.policy import Policy
from dtqatten.golden.algorithm.search import Space, open_study, optimize
path, seed, trials, pause = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
space = Space(Policy.flat(6), 2)
def objective(trial):
    policy = space.suggest(trial)
    trial.set_user_attr("policy", policy.to_json())
    for name in ("metric", "loss", "bops_ratio", "bytes_ratio"):
        trial.set_user_attr(name, 0.5)
    trial.set_user_attr("worker", seed)
    time.sleep(pause)
    return sum(x.share_8 for x in policy.layers)
study = open_study(path, "shared", space, seed=seed)
optimize(study, objective, trials)
"""


def start(path, seed, trials, pause=0.05):
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, path, str(seed), str(trials), str(pause)]
    )


@pytest.mark.parametrize("file", ["study.db", "study.journal"])
def test_workers_share_a_study_and_a_killed_one_loses_no_finished_trial(tmp_path, file):
    path = str(tmp_path / file)
    space = Space(Policy.flat(6), 2)
    study = open_study(path, "shared", space)

    def done():
        return [t for t in study.get_trials(deepcopy=False) if t.state.name == "COMPLETE"]

    doomed = start(path, 1, 1000, 0.3)
    try:
        deadline = time.monotonic() + 60
        while len(done()) < 2:
            assert time.monotonic() < deadline, "the first worker finishes no trial"
            time.sleep(0.1)
        others = [start(path, seed, 14) for seed in (2, 3)]
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
