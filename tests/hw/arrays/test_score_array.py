"""The whole score array in Amaranth's simulator, equal to the cycle model in every cycle."""

import numpy as np
import pytest

from dtqatten import PRESETS, Config, Schedule
from dtqatten.hw.arrays.score_array import ScoreArray
from dtqatten.sim.engines.bench import MismatchError
from dtqatten.sim.engines.native import run_lockstep
from dtqatten.sim.lockstep.score_array import Head, Lockstep, random_head

SLOW = {"product_stages": 2}
SHAPES = [
    {"rows": 1, "cols": 1, "depth": 1, "d_head": 8, "n_max": 3},
    {"rows": 3, "cols": 5, "depth": 2, "d_head": 24, "n_max": 16},
    {"rows": 8, "cols": 2, "depth": 8, "d_head": 8, "n_max": 40},
    {"rows": 5, "cols": 3, "depth": 5, "d_head": 80, "n_max": 9},
    {"rows": 2, "cols": 7, "depth": 3, "d_head": 24, "n_max": 1},
    {"rows": 6, "cols": 3, "depth": 40, "d_head": 40, "n_max": 20},
    {"rows": 8, "cols": 2, "depth": 8, "d_head": 16, "n_max": 40, "product_stages": 2},
    {"rows": 3, "cols": 6, "depth": 2, "d_head": 24, "n_max": 16, "pod_cols": 2},
    {"rows": 1, "cols": 4, "depth": 8, "d_head": 8, "n_max": 9, "pod_cols": 4},
    {**SLOW, "rows": 5, "cols": 6, "depth": 4, "d_head": 8, "n_max": 9, "pod_cols": 3},
]


def lockstep(config: Config, heads: int = 3, **options) -> Lockstep:
    rng = np.random.default_rng(options.get("seed", 0))
    return Lockstep(config, [random_head(config, rng) for _ in range(heads)], **options)


@pytest.mark.parametrize("schedule", list(Schedule))
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s.values())))
@pytest.mark.parametrize(("stall", "lazy"), [(0.0, False), (0.5, True)])
def test_equals_cycle_model(schedule, shape, stall, lazy) -> None:
    config = Config(schedule=schedule, **shape)
    bench = lockstep(config, stall=stall, lazy=lazy, seed=shape["rows"])
    run_lockstep(ScoreArray(config, monitored=True), bench)
    assert len(bench.rows) == bench.expected_rows


@pytest.mark.parametrize("pod", [1, 4, 12])
@pytest.mark.parametrize("stall", [0.0, 0.3])
def test_a_short_head_ends_after_the_last_lane_has_read_a_long_one(stall: float, pod: int) -> None:
    """A head of one token is there long before twelve lanes have read the bank that it goes to."""
    config = Config(rows=5, cols=12, depth=8, d_head=8, n_max=12, pod_cols=pod)
    rng = np.random.default_rng(0)
    heads = [
        random_head(config, rng, queries=queries, keys=keys)
        for queries, keys in [(5, 12), (5, 12), (1, 1), (1, 1), (5, 2)] * 4
    ]
    bench = Lockstep(config, heads, stall=stall)
    run_lockstep(ScoreArray(config, monitored=True), bench)
    assert len(bench.rows) == bench.expected_rows


def test_a_bank_is_loaded_right_after_its_last_step() -> None:
    """Heads of one tile, 8 queries by 8 keys in 8 bits: 32 steps, and 32 beats for each side."""
    config = Config(rows=8, cols=8, depth=4, d_head=32, n_max=8)
    codes, wide = np.ones((8, 32), dtype=int), np.ones(8, dtype=bool)
    bench = Lockstep(config, [Head(codes, codes, wide, wide)] * 12)
    starts = []
    while not bench.done:
        if bench.model.stepping and bench.model.steps % 32 == 0:
            starts.append(bench.model.cycle)
        bench.clock()
    # A bank's round takes its steps, its beats and 4 cycles between them; there are two banks.
    assert [b - a for a, b in zip(starts, starts[2:], strict=False)] == [32 + 32 + 4] * 10


def test_a_consumer_that_never_reads_stops_the_array_and_loses_nothing() -> None:
    config = PRESETS["tiny"]
    bench = lockstep(config, heads=2, stall=0.9)
    run_lockstep(ScoreArray(config, monitored=True), bench)
    assert len(bench.rows) == bench.expected_rows


def test_a_wrong_port_is_reported_with_its_cycle() -> None:
    """The comparison itself can fail: an array of another schedule is caught."""
    config = PRESETS["tiny"]
    other = ScoreArray(config.replace(schedule=Schedule.INTERLEAVED), monitored=True)
    with pytest.raises(MismatchError, match=r"cycle \d+: acc is 0x"):
        run_lockstep(other, lockstep(config))


@pytest.mark.parametrize(
    ("stages", "pod", "latency"), [(1, 1, 11), (2, 1, 14), (1, 2, 9), (1, 4, 8), (2, 4, 11)]
)
def test_latency_is_as_stated(stages: int, pod: int, latency: int) -> None:
    """As documented, steps back to back: a hop for each pod of four columns."""
    config = PRESETS["tiny"].replace(n_max=4, product_stages=stages, pod_cols=pod)
    codes = np.ones((3, 32), dtype=int)
    from dtqatten.sim.lockstep.score_array import Head

    wide = np.zeros(3, dtype=bool)
    bench = Lockstep(config, [Head(codes, codes, wide, wide)])
    steps, rows = [], []
    clock = bench.clock

    def spy() -> None:
        cycle, before = bench.model.cycle, bench.model.steps
        if bench.model.scores is not None:
            rows.append(cycle)
        clock()
        # The counter shows a step one cycle late; the clock has just moved on by one.
        if bench.model.steps > before:
            steps.append(cycle)

    bench.clock = spy  # type: ignore[method-assign]
    run_lockstep(ScoreArray(config, monitored=True), bench)
    assert steps == list(range(steps[0], steps[0] + config.steps))
    assert rows == [steps[-1] + r + latency for r in range(3)]
