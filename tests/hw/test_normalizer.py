"""The normalizer, equal to its cycle model in every cycle, and to the golden functions."""

import functools

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.golden import softmax
from dtqatten.golden.attention import normalize, requantize
from dtqatten.golden.normalizer import NormalizerModel
from dtqatten.golden.softmax_cycles import OutputForm, RowRecord
from dtqatten.golden.tiles import Row
from dtqatten.hw.layout import score_row_layout
from dtqatten.hw.normalizer import Normalizer, output_beat_layout
from dtqatten.hw.softmax_layout import row_record_layout
from dtqatten.sim.native import run_lockstep
from dtqatten.sim.streams import StreamLockstep
from dtqatten.sim.verilated import VerilatedModel

CONFIGS = [
    Config(rows=1, cols=1, depth=1, d_head=8, n_max=1),
    Config(rows=3, cols=5, depth=2, d_head=24, n_max=16),
    Config(rows=4, cols=12, depth=8, d_head=8, n_max=20, planes=3, v_gains=True),
]


class Bench(StreamLockstep):
    """Heads' weighted sums ``[queries, channels]``, divisors and leads streamed through."""

    def __init__(self, config: Config, heads: list, **stalls) -> None:
        self.config, rows, records, self.expected_beats = config, [], [], []
        cols, lanes = config.cols, config.output_lanes
        for sums, divisor, lead, form in heads:
            mantissa, exponent = softmax.reciprocal(divisor)
            narrowed = softmax.Narrowed(np.zeros(0), lead, divisor)
            output = normalize(sums, narrowed)
            output = requantize(output, form.shift) if form.codes else output
            for top in range(0, len(sums), config.rows):
                block = range(top, min(top + config.rows, len(sums)))
                last_block = block.stop == len(sums)
                for r in block:
                    numbers = (int(a[r]) for a in (divisor, mantissa, exponent, lead))
                    records.append(RowRecord(*numbers, form, r == block[-1], last_block))
                for left in range(0, config.d_head, cols):
                    last_tile = left + cols >= config.d_head
                    for r in block:
                        taken = sums[r, left : left + cols]
                        place = (r == block[-1], last_tile, last_block)
                        padded = np.pad(taken, (0, cols - len(taken)))
                        rows.append(Row(padded, len(taken), *place))
                        for at in range(left, left + len(taken), lanes):
                            end = min(at + lanes, left + len(taken))
                            last = end == left + len(taken)
                            beat = (output[r, at:end].tolist(), last, *place)
                            self.expected_beats.append(beat)
        beats = len(self.expected_beats)
        super().__init__(
            NormalizerModel(config),
            {
                "sums": score_row_layout(config, config.sum_width),
                "records": row_record_layout(config),
            },
            {"outputs": output_beat_layout(config)},
            {"sums": rows, "records": records},
            {"outputs": beats},
            work=beats + len(records) + 50,
            **stalls,
        )

    def source_ready(self, offered) -> dict[str, bool]:
        model = self.model
        return {"sums": model.sums_ready(offered["sums"]), "records": model.records_ready}

    def step(self, offered, ready) -> None:
        self.model.clock(offered["sums"], offered["records"], ready["outputs"])

    def right(self) -> bool:
        """Whether the beats taken are what the golden functions compute."""
        got = [
            (
                beat.values[: beat.channels].tolist(),
                beat.last_part,
                beat.last_row,
                beat.last_tile,
                beat.last_block,
            )
            for _, beat in self.taken["outputs"]
        ]
        return got == self.expected_beats


def heads_of(config: Config, count: int, seed: int = 0) -> list:
    """Sums at both ends of what they can be, and random ones; rows that saw nothing."""
    rng = np.random.default_rng(seed)
    top = {2: 119, 3: 1911}[config.planes]
    heads = []
    for _ in range(count):
        queries = int(rng.integers(1, min(config.n_max, 3 * config.rows) + 1))
        weight = rng.integers(1, config.n_max * top + 1, queries)
        reach = np.minimum(1.0, rng.exponential(0.5, (queries, config.d_head)))
        sums = (rng.choice([-120, 119], reach.shape) * weight[:, None] * reach).astype(np.int64)
        lead = rng.integers(0, 9, queries) * config.v_gains
        divisor = np.maximum(1, 16 * weight // 2**lead)
        nothing = rng.random(queries) < 0.1
        sums[nothing], divisor[nothing] = 0, 0
        form = OutputForm(bool(rng.integers(2)), int(rng.integers(8)))
        heads.append((sums, divisor, lead, form))
    return heads


@functools.cache
def build(config: Config) -> VerilatedModel:
    return VerilatedModel(Normalizer(config), "normalizer")


def run_verilated(bench: Bench) -> Bench:
    rtl = build(bench.config)
    rtl.reset()
    while not bench.done:
        bench.check(rtl.step(bench.inputs()))
        bench.clock()
    return bench


@pytest.mark.parametrize("config", CONFIGS, ids=["1x1", "3x5", "4x12"])
@pytest.mark.parametrize(("stall", "lazy"), [(0.0, False), (0.5, True), (0.9, False)])
def test_verilog_equals_cycle_model_and_golden(config, stall, lazy, compared) -> None:
    bench = run_verilated(Bench(config, heads_of(config, 40), stall=stall, lazy=lazy))
    assert bench.right()
    compared["verilator, in process"] += bench.compared


def test_equals_cycle_model_in_amaranths_simulator() -> None:
    config = CONFIGS[1]
    bench = Bench(config, heads_of(config, 4), stall=0.3)
    run_lockstep(Normalizer(config), bench)  # type: ignore[arg-type]
    assert bench.right()


def test_latency_and_throughput_are_as_stated() -> None:
    config = CONFIGS[1]
    bench = run_verilated(Bench(config, heads_of(config, 20)))
    cycles = [cycle for cycle, _ in bench.taken["outputs"]]
    # A row of five channels takes three beats; the last one sets out when the row is accepted.
    assert cycles[2] == bench.accepted["sums"][0] + 7
    late = np.diff(cycles[40:-40])
    assert (late == 1).all()
