"""Sweeps: every combination, in order, whoever runs them."""

import csv
from concurrent.futures import ThreadPoolExecutor
from io import StringIO

import pytest

from dtqatten.config import ConfigError
from dtqatten.golden.select import PAPER_SHARES
from dtqatten.model.core import run_core
from dtqatten.model.plots import sweep_figure
from dtqatten.model.sweep import Result, executor, points, run, to_csv

WORK = points(["tiny"], {"rows": [2, 4]}, [5, 16], [PAPER_SHARES, (0.0, 1.0, 0.0)], d_head=32)


@pytest.fixture(scope="module")
def results() -> list[Result]:
    heard: list[Result] = []
    with ThreadPoolExecutor(1) as pool:
        done = run(WORK, pool, heard.append)
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


def test_processes(results: list[Result]) -> None:
    with executor(1, None) as pool:
        assert run(WORK[:1], pool, lambda result: None) == results[:1]


def test_dask(results: list[Result]) -> None:
    """A scheduler with one worker, in this process."""
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=1, processes=False, dashboard_address=None
        ) as cluster,
        executor(None, cluster.scheduler_address) as pool,
    ):
        assert run(WORK[:2], pool, lambda result: None) == results[:2]


def test_no_scheduler() -> None:
    pytest.importorskip("distributed")
    with pytest.raises(OSError, match=r"127\.0\.0\.1:1"), executor(None, "tcp://127.0.0.1:1"):
        pass


def test_table(results: list[Result]) -> None:
    rows = list(csv.DictReader(StringIO(to_csv(results))))
    assert len(rows) == len(results)
    assert rows[3]["machine"] == "tiny rows=2"
    assert float(rows[3]["limit_share"]) == results[3].limit_share


def test_picture(results: list[Result]) -> None:
    left, right = sweep_figure(results).axes
    assert len(left.lines) == len(right.lines) == 4


def test_impossible_machines_are_named() -> None:
    with pytest.raises(ConfigError, match=r"tiny depth=5: depth is 5"):
        points(["tiny"], {"depth": [5]}, [16], [PAPER_SHARES], d_head=32)
