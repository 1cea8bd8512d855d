"""The score accumulator, equal to its cycle model in every cycle, and to the golden importance."""

import functools

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.golden.numerics.importance import importance
from dtqatten.hw.ranking.score_accumulator import ScoreAccumulator
from dtqatten.sim.engines.native import run_lockstep
from dtqatten.sim.engines.verilated import VerilatedModel
from dtqatten.sim.lockstep.score_accumulator import AccumulatorLockstep, AccumulatorRun, random_runs

CONFIG = Config(rows=3, cols=4, depth=8, d_head=8, n_max=18, heads=5)
#: Four, two and one importances a cycle, and one with its count of queries.
CONFIGS = [
    CONFIG,
    CONFIG.replace(topk_lanes=2),
    CONFIG.replace(cumulative=True),
    CONFIG.replace(count_normalize=True),
    CONFIG.replace(product_stages=2),
    CONFIG.replace(product_stages=2, topk_lanes=2, count_normalize=True),
    CONFIG.replace(skip_tiles=True, count_normalize=True),
    CONFIG.replace(skip_tiles=True, product_stages=2),
]
IDS = ["4", "2", "1", "counted", "slow", "slow counted", "skips", "skips, slow"]


def golden(config: Config, runs: list[AccumulatorRun]) -> list[list[tuple[int, int]]]:
    return [
        list(
            zip(
                importance(run.probabilities).tolist(),
                (run.seen.sum(0) * config.count_normalize).tolist(),
                strict=True,
            )
        )
        for run in runs
    ]


@functools.cache
def build(config: Config) -> VerilatedModel:
    return VerilatedModel(ScoreAccumulator(config), "score_accumulator")


def run_verilated(bench: AccumulatorLockstep) -> AccumulatorLockstep:
    rtl = build(bench.config)
    rtl.run(bench)
    return bench


@pytest.mark.parametrize("config", CONFIGS, ids=IDS)
def test_verilog_equals_cycle_model_and_golden(config: Config, compared) -> None:
    patterns = [(0.0, 0.0, False), (0.5, 0.5, True), (0.0, 0.5, False), (0.0, 0.95, False)]
    for stall, sink_stall, lazy in patterns:
        runs = random_runs(config, np.random.default_rng(0), 60)
        bench = run_verilated(
            AccumulatorLockstep(config, runs, stall=stall, sink_stall=sink_stall, lazy=lazy)
        )
        assert bench.importances() == golden(config, runs)
        compared["verilator, in process"] += bench.compared


def test_equals_cycle_model_in_amaranths_simulator() -> None:
    for config in (CONFIGS[0], CONFIGS[3]):
        runs = random_runs(CONFIG, np.random.default_rng(3), 3)
        bench = AccumulatorLockstep(config, runs, stall=0.3)
        run_lockstep(ScoreAccumulator(config), bench)
        assert bench.importances() == golden(config, runs)


def test_the_largest_sum_fits_exactly() -> None:
    """As many rows as the configuration takes, all of the largest probability."""
    config = Config(rows=3, cols=4, depth=8, d_head=8, n_max=820, heads=40)
    run = AccumulatorRun(np.full((40, 820, 3), 65535), np.ones((820, 3), dtype=int))
    bench = run_verilated(AccumulatorLockstep(config, [run]))
    assert [total for total, _ in bench.importances()[0]] == [40 * 820 * 65535] * 3
    assert 2**31 < 40 * 820 * 65535 < 2**32


@pytest.mark.parametrize("config", [CONFIGS[0], CONFIGS[4]], ids=["4", "slow"])
def test_throughput_and_latency_are_as_stated(config: Config) -> None:
    rng = np.random.default_rng(0)
    runs = [
        AccumulatorRun(rng.integers(0, 65536, (3, n, n)), np.ones((n, n), int)) for n in (18, 1, 18)
    ]
    bench = run_verilated(AccumulatorLockstep(config, runs))
    ends = np.cumsum([3 * n * -(-n // 4) for n in (18, 1, 18)])
    steps = np.diff(bench.accepted["probabilities"])
    assert set(np.flatnonzero(steps != 1)) == {ends[0] - 1, ends[1] - 1}
    last_row = bench.accepted["probabilities"][ends[0] - 1]
    assert bench.taken["importance"][0][0] == last_row + ScoreAccumulator.latency(config)
    beats = [cycle for cycle, _ in bench.taken["importance"][:5]]
    assert beats == list(range(beats[0], beats[0] + 5))
    assert steps[ends[0] - 1] == 4 + config.timing.buffered_counters
