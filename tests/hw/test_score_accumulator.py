"""The score accumulator, equal to its cycle model in every cycle, and to the golden importance."""

import functools
from dataclasses import dataclass, replace

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.golden import attention
from dtqatten.golden.softmax_cycles import AccumulatorModel
from dtqatten.golden.tiles import tile_rows
from dtqatten.hw.score_accumulator import ScoreAccumulator, importance_layout, run_layout
from dtqatten.hw.softmax_layout import probability_row_layout
from dtqatten.sim.native import run_lockstep
from dtqatten.sim.streams import StreamLockstep
from dtqatten.sim.verilated import VerilatedModel

CONFIG = Config(rows=3, cols=4, depth=8, d_head=8, n_max=18, heads=5)
#: Four, two and one importances a cycle, and one with its count of queries.
CONFIGS = [
    CONFIG,
    CONFIG.replace(topk_lanes=2),
    CONFIG.replace(cumulative=True),
    CONFIG.replace(count_normalize=True),
]


@dataclass(frozen=True, eq=False)
class Run:
    """Probabilities ``[heads, n_q, n_k]`` and which keys the queries see, ``[n_q, n_k]``."""

    probabilities: np.ndarray
    seen: np.ndarray


class Bench(StreamLockstep):
    """Runs streamed through an accumulator."""

    def __init__(
        self, config: Config, runs: list[Run], *, sink_stall: float | None = None, **stalls
    ) -> None:
        self.config = config
        rows = [
            replace(row, seen=seen.values) if config.count_normalize else row
            for run in runs
            for head in run.probabilities
            for row, seen in zip(tile_rows(config, head), tile_rows(config, run.seen), strict=True)
        ]
        lanes = config.importance_lanes
        wanted = sum(
            -(-min(config.cols, run.seen.shape[1] - tile) // lanes)
            for run in runs
            for tile in range(0, run.seen.shape[1], config.cols)
        )
        super().__init__(
            AccumulatorModel(config),
            {"runs": run_layout(config), "probabilities": probability_row_layout(config)},
            {"importance": importance_layout(config)},
            {"runs": [len(run.probabilities) for run in runs], "probabilities": rows},
            {"importance": wanted},
            work=len(rows) + wanted / (1 - (sink_stall or 0)) + 100,
            **stalls,
        )
        if sink_stall is not None:
            self.stall = sink_stall

    def pack(self, name: str, beat) -> int:
        if name == "runs":
            beat = {"heads": beat}
        if name == "importance":
            beat = {**vars(beat), "scores": beat.values}
        return super().pack(name, beat)

    def source_ready(self, offered) -> dict[str, bool]:
        model = self.model
        return {"runs": model.runs_ready, "probabilities": model.probabilities_ready}

    def step(self, offered, ready) -> None:
        self.model.clock(offered["runs"], offered["probabilities"], ready["importance"])

    def importances(self) -> list[list[tuple[int, int]]]:
        """Importance of each key of each run, and how many queries saw it."""
        got: list[list[tuple[int, int]]] = [[]]
        for _, beat in self.taken["importance"]:
            both = zip(beat.values.tolist(), beat.seen.tolist(), strict=True)
            got[-1] += list(both)[: beat.tokens]
            if beat.last:
                got.append([])
        return got[:-1]


def random_runs(rng: np.random.Generator, count: int) -> list[Run]:
    """Runs of every size; every second one of the greatest probabilities or with zeros."""
    runs = []
    for number in range(count):
        heads, n_q, n_k = rng.integers(1, CONFIG.heads + 1), *rng.integers(1, 19, 2)
        top = 65536 if number % 2 else int(rng.choice([1, 300]))
        probabilities = rng.integers(0, top, (heads, n_q, n_k))
        if number % 4 == 1:
            probabilities[:] = 65535
        runs.append(Run(probabilities, rng.integers(0, 2, (n_q, n_k))))
    return runs


def golden(config: Config, runs: list[Run]) -> list[list[tuple[int, int]]]:
    return [
        list(
            zip(
                attention.importance(run.probabilities).tolist(),
                (run.seen.sum(0) * config.count_normalize).tolist(),
                strict=True,
            )
        )
        for run in runs
    ]


@functools.cache
def build(config: Config) -> VerilatedModel:
    return VerilatedModel(ScoreAccumulator(config), "score_accumulator")


def run_verilated(bench: Bench) -> Bench:
    rtl = build(bench.config)
    rtl.reset()
    while not bench.done:
        bench.check(rtl.step(bench.inputs()))
        bench.clock()
    return bench


@pytest.mark.parametrize("config", CONFIGS, ids=["4", "2", "1", "counted"])
def test_verilog_equals_cycle_model_and_golden(config: Config, compared) -> None:
    patterns = [(0.0, 0.0, False), (0.5, 0.5, True), (0.0, 0.5, False), (0.0, 0.95, False)]
    for stall, sink_stall, lazy in patterns:
        runs = random_runs(np.random.default_rng(0), 60)
        bench = run_verilated(Bench(config, runs, stall=stall, sink_stall=sink_stall, lazy=lazy))
        assert bench.importances() == golden(config, runs)
        compared["verilator, in process"] += bench.compared


def test_equals_cycle_model_in_amaranths_simulator() -> None:
    for config in (CONFIGS[0], CONFIGS[3]):
        runs = random_runs(np.random.default_rng(3), 3)
        bench = Bench(config, runs, stall=0.3)
        run_lockstep(ScoreAccumulator(config), bench)  # type: ignore[arg-type]
        assert bench.importances() == golden(config, runs)


def test_the_largest_sum_fits_exactly() -> None:
    """As many rows as the configuration takes, all of the largest probability."""
    config = Config(rows=3, cols=4, depth=8, d_head=8, n_max=820, heads=40)
    run = Run(np.full((40, 820, 3), 65535), np.ones((820, 3), dtype=int))
    bench = run_verilated(Bench(config, [run]))
    assert [total for total, _ in bench.importances()[0]] == [40 * 820 * 65535] * 3
    assert 2**31 < 40 * 820 * 65535 < 2**32


def test_throughput_and_latency_are_as_stated() -> None:
    rng = np.random.default_rng(0)
    runs = [Run(rng.integers(0, 65536, (3, n, n)), np.ones((n, n), int)) for n in (18, 1, 18)]
    bench = run_verilated(Bench(CONFIG, runs))
    ends = np.cumsum([3 * n * -(-n // 4) for n in (18, 1, 18)])
    steps = np.diff(bench.accepted["probabilities"])
    assert set(np.flatnonzero(steps != 1)) == {ends[0] - 1, ends[1] - 1}
    assert (
        bench.taken["importance"][0][0]
        == bench.accepted["probabilities"][ends[0] - 1] + ScoreAccumulator.LATENCY
    )
    beats = [cycle for cycle, _ in bench.taken["importance"][:5]]
    assert beats == list(range(beats[0], beats[0] + 5))
    assert steps[ends[0] - 1] == 3
