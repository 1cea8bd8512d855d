"""Sweeps: every combination, in order, whoever runs them."""

import csv
from concurrent.futures import ThreadPoolExecutor
from io import StringIO

import pytest

from dtqatten.configuration.core import PRESETS, ConfigError
from dtqatten.golden.numerics.select import PAPER_SHARES
from dtqatten.model.core import run_core
from dtqatten.model.plots import sweep_figure
from dtqatten.model.sweep import Result, bus_beats, evaluate, executor, points, run, to_csv
from dtqatten.model.workload import Workload

WORK = points(
    {"tiny": PRESETS["tiny"]}, {"rows": [2, 4]}, [5, 16], [PAPER_SHARES, (0.0, 1.0, 0.0)], d_head=32
)


@pytest.fixture(scope="module")
def results() -> list[Result]:
    heard: list[Result] = []
    with ThreadPoolExecutor(1) as pool:
        done = run(WORK, pool, heard.append, evaluate)
    assert sorted(map(str, heard)) == sorted(map(str, done))
    return done


def test_every_combination_in_order(results: list[Result]) -> None:
    assert [(r.machine, r.tokens, r.share_4) for r in results] == [
        (f"tiny rows={rows}", tokens, four)
        for rows in (2, 4)
        for tokens in (5, 16)
        for four in (0.414, 1.0)
    ]
    for point, result in zip(WORK, results, strict=True):
        ran = run_core(point.config, point.workload)
        assert result.head_cycles == ran.head_cycles
        assert result.gops == 2 * point.workload.macs / ran.head_cycles


def test_a_narrow_bus_bounds_a_large_array() -> None:
    """Planes of 32 bytes are 4 beats of 64 bits; outputs of 32 channels take 8 of them."""
    config = PRESETS["base"]
    workload = Workload(tokens=64, shares=(0.0, 0.5, 0.5))
    # V of 22 tokens, two groups of 11, has no low plane, and Q and K of 32.
    planes = 3 * 64 + 32 + 32 + 42
    assert bus_beats(config, workload, 64) == 4 * planes
    assert bus_beats(config, workload, 512) == planes
    assert bus_beats(config, Workload(tokens=64, shares=(0.0, 1.0, 0.0)), 64) == 64 * 2 * 8
    small = [(0.0, 1.0, 0.0)]
    (narrow, wide) = map(
        evaluate, points({"base": PRESETS["base"]}, {}, [64], small, buses=(64, 512))
    )
    core = run_core(config, Workload(tokens=64, shares=small[0])).head_cycles
    assert wide.head_cycles == core < narrow.head_cycles == 64 * 2 * 8
    assert narrow.bus_busy == 1 > wide.bus_busy
    assert narrow.limit_share == pytest.approx(wide.limit_share * core / 1024)
    with pytest.raises(ConfigError, match="bus_bits is 100"):
        points({"tiny": PRESETS["tiny"]}, {}, [16], small, d_head=32, buses=(100,))


def test_weights_follow_what_is_asked_for() -> None:
    work = [{"tiny": PRESETS["tiny"]}, {}, [32], [(0.0, 0.5, 0.5)]]
    plain, pairs = (
        evaluate(*points(*work, d_head=32, follows=follow, follows_query=follow))
        for follow in (False, True)
    )
    assert not plain.follows_query
    assert pairs.follows
    assert pairs.follows_query
    assert pairs.head_cycles < plain.head_cycles


def test_processes(results: list[Result]) -> None:
    with executor(1, None) as pool:
        assert run(WORK[:1], pool, lambda result: None, evaluate) == results[:1]


def test_dask(results: list[Result]) -> None:
    """A scheduler with one worker, in this process."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        executor(None, cluster.scheduler_address) as pool,
    ):
        assert run(WORK[:2], pool, lambda result: None, evaluate) == results[:2]


def test_no_scheduler() -> None:
    pytest.importorskip("distributed")
    with pytest.raises(OSError, match=r"127\.0\.0\.1:1"), executor(None, "tcp://127.0.0.1:1"):
        pass


def test_table(results: list[Result]) -> None:
    rows = list(csv.DictReader(StringIO(to_csv(results, Result))))
    assert len(rows) == len(results)
    assert rows[3]["machine"] == "tiny rows=2"
    assert float(rows[3]["limit_share"]) == results[3].limit_share


def test_picture(results: list[Result]) -> None:
    left, right = sweep_figure(results).axes
    assert len(left.lines) == len(right.lines) == 4


def test_impossible_machines_are_named() -> None:
    with pytest.raises(ConfigError, match=r"tiny depth=5: depth is 5"):
        points({"tiny": PRESETS["tiny"]}, {"depth": [5]}, [16], [PAPER_SHARES], d_head=32)
