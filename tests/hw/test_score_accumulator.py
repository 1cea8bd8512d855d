"""The score accumulator, equal to its cycle model in every cycle, and to the golden importance."""

import functools
import gc

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.golden import attention
from dtqatten.golden.softmax_cycles import AccumulatorModel, ImportanceBeat, Row, Run
from dtqatten.hw.score_accumulator import ScoreAccumulator
from dtqatten.sim.lockstep import MismatchError, Source
from dtqatten.sim.native import run_lockstep
from dtqatten.sim.ports import pack
from dtqatten.sim.softmax import pack_fields, pack_row, score_rows
from dtqatten.sim.verilated import VerilatedModel

CONFIG = Config(rows=3, cols=4, depth=8, d_head=8, n_max=18)
HEADS = 5
Runs = list[tuple[np.ndarray, bool]]  # probabilities [heads, n_q, n_k], keep


class Bench:
    """Runs streamed through the cycle model, and what a device must show meanwhile."""

    def __init__(
        self,
        runs: Runs,
        lanes: int,
        *,
        stall: float = 0.0,
        sink_stall: float | None = None,
        lazy: bool = False,
        seed: int = 0,
    ) -> None:
        self.model = AccumulatorModel(CONFIG, lanes=lanes)
        self.lanes, self.lazy = lanes, lazy
        self.stall = stall if sink_stall is None else sink_stall
        self.rng = np.random.default_rng(seed)
        rows = [
            Row(row.scores, row.keys, row.last_row, row.last_tile, row.last_block)
            for probabilities, _ in runs
            for head in probabilities
            for row in score_rows(CONFIG, head)
        ]
        self.sources = {
            "runs": Source([Run(len(p), keep) for p, keep in runs], stall, self.rng),
            "probabilities": Source(rows, stall, self.rng),
        }
        self.accepted: list[int] = []
        self.taken: list[tuple[int, ImportanceBeat]] = []
        self.wanted = sum(-(-p.shape[2] // lanes) for p, _ in runs)
        self.deadline = int(8 * (len(rows) + self.wanted + 100) / (1 - max(stall, self.stall)))
        self.compared = 0
        self.draw()

    def draw(self) -> None:
        willing = bool(self.rng.random() >= self.stall)
        self.ready = willing and (not self.lazy or self.model.importance is not None)

    @property
    def done(self) -> bool:
        return all(s.done for s in self.sources.values()) and len(self.taken) == self.wanted

    def inputs(self) -> dict[str, int]:
        run, row = (self.sources[name].offered for name in ("runs", "probabilities"))
        return {
            "runs__valid": int(run is not None),
            "runs__payload": 0 if run is None else pack_fields((run.heads, 3), (run.keep, 1)),
            "probabilities__valid": int(row is not None),
            "probabilities__payload": 0 if row is None else pack_row(CONFIG, row, 16),
            "importance__ready": int(self.ready),
        }

    def expected(self) -> dict[str, int]:
        model, beat = self.model, self.model.importance
        ports = {
            "runs__ready": int(model.runs_ready),
            "probabilities__ready": int(model.probabilities_ready),
            "importance__valid": int(beat is not None),
        }
        if beat is not None:
            ports["importance__payload"] = pack_fields(
                (pack(beat.values, 32), 32 * self.lanes),
                (beat.tokens, self.lanes.bit_length()),
                (beat.last, 1),
            )
        return ports

    def check(self, ports) -> None:
        for name, value in self.expected().items():
            if ports[name] != value:
                raise MismatchError(
                    f"cycle {self.model.cycle}: {name} {ports[name]:#x}, {value:#x}"
                )
        self.compared += 1
        if self.compared > self.deadline:
            raise MismatchError("deadline")

    def clock(self) -> None:
        model = self.model
        ready = {"runs": model.runs_ready, "probabilities": model.probabilities_ready}
        offered = {name: source.offered for name, source in self.sources.items()}
        if offered["probabilities"] is not None and ready["probabilities"]:
            self.accepted.append(model.cycle)
        if model.importance is not None and self.ready:
            self.taken.append((model.cycle, model.importance))
        model.clock(offered["runs"], offered["probabilities"], self.ready)
        for name, source in self.sources.items():
            source.clock(ready[name])
        self.draw()

    def importances(self) -> list[list[int]]:
        got: list[list[int]] = [[]]
        for _, beat in self.taken:
            got[-1] += beat.values[: beat.tokens].tolist()
            if beat.last:
                got.append([])
        return got[:-1]


def random_runs(rng: np.random.Generator, count: int, *, keep: float = 0.5) -> Runs:
    """Runs of every size; every second one of the greatest probabilities or with zeros."""
    runs: Runs = []
    for number in range(count):
        shape = rng.integers(1, HEADS + 1), rng.integers(1, 19), rng.integers(1, 19)
        top = 65536 if number % 2 else int(rng.choice([1, 300]))
        probabilities = rng.integers(0, top, shape)
        if number % 4 == 1:
            probabilities[:] = 65535
        runs.append((probabilities, bool(number and rng.random() < keep)))
    return runs


def golden(runs: Runs) -> list[list[int]]:
    """Importance of each run; one that keeps has the last one's for as many keys as both have."""
    result: list[list[int]] = []
    for probabilities, keep in runs:
        total = attention.importance(probabilities)
        earlier = np.zeros_like(total)
        if keep:
            both = min(len(total), len(result[-1]))
            earlier[:both] = result[-1][:both]
        result.append(attention.accumulate(total, earlier).tolist())
    return result


@functools.cache
def build(lanes: int) -> VerilatedModel:
    return VerilatedModel(ScoreAccumulator(CONFIG, heads=HEADS, lanes=lanes), "score_accumulator")


def run_verilated(lanes: int, bench: Bench) -> Bench:
    rtl = build(lanes)
    rtl.reset()
    while not bench.done:
        bench.check(rtl.step(bench.inputs()))
        bench.clock()
    return bench


@pytest.mark.parametrize("lanes", [4, 2, 1])
def test_verilog_equals_cycle_model_and_golden(lanes: int, compared) -> None:
    patterns = [(0.0, 0.0, False), (0.5, 0.5, True), (0.0, 0.5, False), (0.0, 0.95, False)]
    for stall, sink_stall, lazy in patterns:
        runs = random_runs(np.random.default_rng(lanes), 60)
        bench = Bench(runs, lanes, stall=stall, sink_stall=sink_stall, lazy=lazy)
        run_verilated(lanes, bench)
        assert bench.importances() == golden(runs)
        compared["verilator, in process"] += bench.compared


def test_equals_cycle_model_in_amaranths_simulator() -> None:
    runs = [(p[:, :5, :7], keep) for p, keep in random_runs(np.random.default_rng(3), 6, keep=0.9)]
    for stall in (0.0, 0.5):
        bench = Bench(runs, 4, stall=stall)
        run_lockstep(ScoreAccumulator(CONFIG, heads=HEADS), bench)  # type: ignore[arg-type]
        assert bench.importances() == golden(runs)


def test_long_sums_of_the_largest_probability_are_exact() -> None:
    """Kept on and on, to beyond 2**29; a sign bit or a bit too few would show."""
    runs = [(np.full((HEADS, 18, 3), 65535), number > 0) for number in range(100)]
    bench = run_verilated(4, Bench(runs, 4))
    assert bench.importances()[-1] == [100 * HEADS * 18 * 65535] * 3
    assert 100 * HEADS * 18 * 65535 < 2**32


def test_throughput_and_latency_are_as_stated() -> None:
    rng = np.random.default_rng(0)
    runs = [(rng.integers(0, 65536, (3, n, n)), False) for n in (18, 1, 18)]
    bench = run_verilated(4, Bench(runs, 4))
    ends = np.cumsum([3 * n * -(-n // 4) for n in (18, 1, 18)])
    steps = np.diff(bench.accepted)
    assert set(np.flatnonzero(steps != 1)) == {ends[0] - 1, ends[1] - 1}
    assert bench.taken[0][0] == bench.accepted[ends[0] - 1] + ScoreAccumulator.LATENCY
    beats = [cycle for cycle, _ in bench.taken[:5]]
    assert beats == list(range(beats[0], beats[0] + 5))
    assert steps[ends[0] - 1] == 3


@pytest.mark.filterwarnings("ignore:.*created but never used")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 2, "lanes": 3}, "lanes is 3, which does not divide cols = 4: use one of 1, 2"),
        ({"heads": 2, "lanes": 8}, "lanes is 8, which does not divide cols = 4"),
        ({"heads": 0}, r"heads is 0, outside 1\.\.3640"),
        ({"heads": 3641}, r"heads is 3641, outside 1\.\.3640: 65537 rows of up to n_max = 18"),
    ],
)
def test_impossible_options_are_refused(options, message) -> None:
    with pytest.raises(ValueError, match=message):
        ScoreAccumulator(CONFIG, **options)
    gc.collect()  # of the refused component, which Amaranth reports as unused
