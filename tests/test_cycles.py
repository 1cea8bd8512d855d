"""Cycles of the presets as numbers: what RTL and model both take from a wrong configuration shows.

Lockstep proves the RTL equal to the models, and both take sizes and intervals from one
configuration. So a machine that waits too long passes there. No number here is computed from a
configuration: each is written down, with the sum that it comes from.
"""

import dataclasses
from collections import deque

import numpy as np
import pytest

from dtqatten import PRESETS, Config
from dtqatten.driver.expected import compare_results, expected
from dtqatten.golden.cycles.core_run import CoreRun
from dtqatten.golden.cycles.layers import CoreLayer
from dtqatten.golden.cycles.score_array import ArrayModel
from dtqatten.golden.cycles.tiles import load_beats
from dtqatten.golden.cycles.topk import TopKModel, score_beats
from dtqatten.golden.numerics.codes import Codes
from dtqatten.golden.numerics.segments import equal_cuts
from dtqatten.hw.ranking.importance_finish import topk_config
from dtqatten.model.core import causal_cycles, run_core
from dtqatten.model.workload import Workload, core_layer
from dtqatten.sim.lockstep.core import CoreLockstep, build_core
from dtqatten.sim.lockstep.runs import run_heads
from dtqatten.sim.lockstep.score_array import Head
from dtqatten.sim.lockstep.topk import Run
from dtqatten.sim.machine.axi import simulated_device
from dtqatten.sim.machine.samples import DRIVEN
from dtqatten.sim.studies.system_bench import last_layer, reference_chain
from dtqatten.sim.studies.topk_bench import run_cycles

#: First beat offered to last row of scores, of a full tile with 4-bit tokens: beats of the longer
#: edge + 3 until it is described + steps + way out of a row + rows but one.
TILE = {
    "tiny": 33,  # 8 + 3 + 8 + 11 + 3
    "edge": 64,  # 32 + 3 + 8 + 14 + 7
    "base": 93,  # 64 + 3 + 8 + 11 + 7
    "paper": 427,  # 264 + 3 + 64 + 73 + 23
}
#: The same with 8-bit tokens: twice the beats, four times the steps.
WIDE_TILE = {
    "tiny": 65,  # 16 + 3 + 32 + 11 + 3
    "edge": 120,  # 64 + 3 + 32 + 14 + 7
    "base": 181,  # 128 + 3 + 32 + 11 + 7
    "paper": 883,  # 528 + 3 + 256 + 73 + 23
}
#: Two row blocks of queries by so many keys, in 4 bits: tiles back to back, whoever reads at once.
HEAD = {
    "tiny": (8, 64, 401),  # 128 + 3 + 32 tiles * 8 + 11 + 3
    "edge": (16, 64, 536),  # 256 + 3 + 32 tiles * 8 + 14 + 7
    "base": (16, 512, 1301),  # 1024 + 3 + 32 tiles * 8 + 11 + 7
    "paper": (48, 512, 3171),  # 2048 + 3 + 16 tiles * 64 + 73 + 23
}
#: A head of one 4-bit token through the core, and the mean of the next two heads after it. The
#: score is there 23, 28, 23 or 143 cycles after the first operand; its weight 2, 2, 5 or 7 levels
#: of a tree and 27 later; P x V starts 4 later, and its last sum comes 2 steps, the drains of all
#: channel passes but one, and the way out of a row later; the last output 11 and its beats but one
#: later.
ONE_TOKEN = {
    # Here the record is last: 23 + 2 * 2 + 47, its way 1 + 11, 32 beats. A beat a cycle follows.
    "tiny": (118, 32),
    "edge": (212, 128),  # 28 + 29 + 4 + 2 + 15 * 8 + 14 + 11 + 4; 16 passes of 8
    # The record is last here, too. Two passes drain 8 rows each: 16 cycles, of the second head 13.
    "base": (96, 15),  # 23 + 2 * 5 + 47 + 1 + 11 + 4 beats
    # Two heads take 135 = 64 + 68 + 3: Q x K^T, then all lanes have read their keys.
    "paper": (271, 68),  # 143 + 34 + 4 + 2 + 73 + 11 + 4
}
#: The reference layer: tokens, cycles of the first head and of a later one. A later one takes row
#: blocks * (2 * 4-bit groups + 4 * 8-bit groups of keys) * channel passes: P x V never waits.
LAYER = {
    "tiny": (64, 3852, 3264),  # 12 * (2 * 7 + 4 * 5) * 8
    "edge": (64, 4671, 3456),  # 6 * (2 * 6 + 4 * 6) * 16
    "base": (384, 6769, 5616),  # 36 * 156, see docs/core.md
    "paper": (384, 15251, 12544),  # 14 * (2 * 212 + 4 * 118) * 1
}
#: Later heads of 4-bit tokens, causal and not, where tiles are skipped: tokens and cycles. P x V
#: takes 16 (tiny) or 12 (base) cycles a tile that a row block visits, so 16 row blocks of 16 tiles
#: take 4096 and 64 take 12288. Of a causal head they visit 1 to 16: 2176 and 6528, and those of
#: fewer than 8 or 3 tiles wait for the normalizer, which takes 128 or 32 a row block.
CAUSAL = {"tiny": (64, 2596, 4096), "base": (512, 6638, 12288)}
#: Heads of so many tokens in the paper's shares, as many more kept as fill a key tile of ``base``.
SHORT_HEADS = {
    16: 68,  # 8 queries in 8 bits hold a bank for 32 beats, 32 steps and 4 cycles
    24: 96,  # 24 rows * 2 passes * 2 beats of the output
    32: 136,  # 2 * 68
    64: 300,  # 3 * (32 beats + 48 steps + 4) of queries in 8 bits, the last 2 * 24 in 4 bits
    128: 680,  # 7 * (8 + 2 * 16) + 5 * (16 + 2 * 32): Q x K^T without a pause
}
#: Decode steps of queries in 4 bits, or in 8: cycles with as many keys as fit, and what each
#: segment of as many takes besides. That is the beats of 64 keys, 8 or 16 each: nothing waits for
#: a merge.
#: Without the option the first ones take 6 cycles less, a merge's way through a lane.
SEGMENTS = {
    (1, False): (806, 512),
    (4, False): (818, 512),
    (1, True): (1574, 1024),
    (4, True): (1586, 1024),
    # A chunk of a prefill: 16 row blocks by 16 tiles, 16 cycles each, of P x V.
    (64, False): (4658, 4096),
}
#: Scores that ascend, three quarters kept and a quarter in 8 bits: thresholds after a pass, and
#: the last id; R rows are loaded, R + 10 cycles take a pass, R + 1 a class of ids.
TOPK = {
    "tiny": (29, 44),  # 3 + 12 + 14; 2 * 5 + 5
    "edge": (151, 286),  # 63 + 13 + 75: slow logic takes a cycle more, twice; 2 * 65 + 5
    "base": (85, 156),  # 31 + 12 + 42; 2 * 33 + 5
    "paper": (85, 156),
}

#: A layer of 28 of 40 tokens, 12 of them in 8 bits, and twelve heads on a memory that answers
#: reads and writes after so many cycles: cycles from the first read of a tensor to the interrupt,
#: and bytes read over those of Q, K and V: descriptor and head table take 256 + 12 * 8 bytes. The
#: core alone takes 2040 + 11 * 1664 = 20344.
SYSTEM = {1: (20474, 1.048), 60: (20616, 1.048)}

#: Preset tiny with room for fewer tokens: other tests compile it too.
TINY_CORE = Config(rows=4, cols=4, depth=4, d_head=32, n_max=24)


def array_cycles(config: Config, queries: int, keys: int, *, wide: bool = False) -> int:
    """Return cycles of a head in the model of the score array, every row read at once."""
    model = ArrayModel(config, observed=False)
    q, k = (
        deque(load_beats(config, np.zeros((n, config.d_head), int), np.full(n, wide)))
        for n in (queries, keys)
    )
    left = queries * -(-keys // config.cols)
    while left:
        left -= model.scores is not None
        q_ready, k_ready = model.q_ready, model.k_ready
        model.clock(q[0] if q else None, k[0] if k else None, True)
        for beats, ready in ((q, q_ready), (k, k_ready)):
            if beats and ready:
                beats.popleft()
        assert model.cycle < 50_000
    return model.cycle


def topk_run(config: Config) -> Run:
    n = config.n_max
    ascending = np.arange(n, dtype=np.uint64) * np.uint64((1 << 32) // n)
    return Run(ascending, 3 * n // 4, n // 4)


@pytest.mark.parametrize("preset", list(PRESETS))
def test_a_tile_and_a_head_of_the_score_array(preset: str) -> None:
    config = PRESETS[preset]
    assert array_cycles(config, config.rows, config.cols) == TILE[preset]
    assert array_cycles(config, config.rows, config.cols, wide=True) == WIDE_TILE[preset]
    queries, keys, cycles = HEAD[preset]
    assert array_cycles(config, queries, keys) == cycles


@pytest.mark.parametrize(
    ("queries", "keys", "wide", "cycles"),
    [(4, 4, False, TILE["tiny"]), (4, 4, True, WIDE_TILE["tiny"]), (*HEAD["tiny"][:2], False, 401)],
)
def test_a_tile_and_a_head_of_the_score_arrays_verilog(queries, keys, wide, cycles) -> None:
    q, k = np.zeros((queries, 32), int), np.zeros((keys, 32), int)
    head = Head(q, k, np.full(queries, wide), np.full(keys, wide))
    assert run_heads(PRESETS["tiny"], [head]).cycles == cycles


@pytest.mark.parametrize("preset", ["tiny", pytest.param("base", marks=pytest.mark.long)])
def test_a_causal_head_leaves_out_what_nobody_sees(preset: str) -> None:
    tokens, causal, full = CAUSAL[preset]
    assert causal_cycles(PRESETS[preset], tokens) == (causal, full)
    # Row blocks skip nothing of a head that is not causal, and lose no cycle.
    config = PRESETS[preset]
    blocks, tiles = -(-tokens // config.rows), -(-tokens // config.cols)
    assert full == blocks * tiles * 2 * config.parts * config.channel_passes


@pytest.mark.parametrize("preset", list(PRESETS))
def test_a_head_of_one_token(preset: str) -> None:
    config = PRESETS[preset]
    ran = run_core(config, Workload(tokens=1, d_head=config.d_head))
    assert (ran.first_head_cycles, ran.head_cycles) == ONE_TOKEN[preset]


def test_a_head_of_one_token_in_verilog() -> None:
    bench = CoreLockstep(TINY_CORE, [core_layer(TINY_CORE, Workload(tokens=1, d_head=32), 2)])
    build_core(TINY_CORE).run(bench)
    ends = [cycle + 1 for cycle, _ in bench.taken["outputs"]]
    first, later = ONE_TOKEN["tiny"]
    assert (ends[31], ends[63]) == (first, first + later)


@pytest.mark.parametrize("preset", list(PRESETS))
def test_the_reference_layer(preset: str) -> None:
    tokens, first, later = LAYER[preset]
    config = PRESETS[preset]
    ran = run_core(config, Workload(tokens=tokens, d_head=config.d_head, full_tiles=True))
    assert (ran.first_head_cycles, ran.head_cycles) == (first, later)


@pytest.mark.parametrize("tokens", list(SHORT_HEADS))
def test_short_heads(tokens: int) -> None:
    workload = Workload(tokens=tokens, d_head=64, full_tiles=True)
    assert run_core(PRESETS["base"], workload).head_cycles == SHORT_HEADS[tokens]


def test_the_layer_of_the_docs() -> None:
    """Twelve heads, as ``dtqatten bench --part core`` measures them on the RTL."""
    _, first, later = LAYER["base"]
    assert first + 11 * later == 68545


def test_pods_of_one_column() -> None:
    """A row of 32 pods has 32 hops in place of 4: each array's way out is 39 cycles, not 11."""
    alone = PRESETS["base"].replace(pod_cols=1)
    assert array_cycles(alone, 8, 32) == 121  # 64 + 3 + 8 + 39 + 7
    assert array_cycles(alone, 8, 32, wide=True) == 209  # 128 + 3 + 32 + 39 + 7
    assert array_cycles(alone, 16, 512) == 1329  # 1024 + 3 + 32 tiles * 8 + 39 + 7
    # Two heads take 52 = 1 + 8 + 9 + 34: a bank of values from beat to beat.
    ran = run_core(alone, Workload(tokens=1, d_head=64))
    # 51 + 32 + 4 + 2 + 8 + 39 + 11 + 2
    assert (ran.first_head_cycles, ran.head_cycles) == (149, 26)
    ran = run_core(alone, Workload(tokens=384, d_head=64, full_tiles=True))
    assert (ran.first_head_cycles, ran.head_cycles) == (6825, 5616)  # 6769 + 2 * 28


def decode_step(config: Config, queries: int, keys: int, *, wide: bool = False) -> CoreLayer:
    """Return the last queries of as many tokens as there are keys, in segments of ``n_max``."""

    def codes(n: int) -> Codes:
        return Codes(np.zeros((1, n, config.d_head), np.int8), np.ones(1), None)

    def bits(n: int) -> np.ndarray:
        return np.full(n, 8 if wide else 4)

    return CoreLayer(
        q=codes(queries),
        k=codes(keys),
        v=codes(keys),
        q_bits=bits(queries),
        k_bits=bits(keys),
        v_bits=bits(keys),
        q_ids=np.arange(keys - queries, keys),
        k_ids=np.arange(keys),
        cuts=equal_cuts(keys, config.n_max),
    )


def core_cycles(config: Config, layer: CoreLayer) -> int:
    """Return cycles from the first operand offered to the last output, in the core's model."""
    run = CoreRun(config, [layer])
    while not run.done:
        run.clock()
        assert run.model.cycle < 50_000
    return run.taken["outputs"][-1][0] + 1


@pytest.mark.parametrize(("queries", "wide"), list(SEGMENTS))
def test_a_segment_takes_what_its_keys_take_to_load(queries: int, wide: bool) -> None:
    config = PRESETS["tiny"].replace(capacity=4096, merge_rows=64)
    first, more = SEGMENTS[queries, wide]
    for segments in (1, 2, 5):
        layer = decode_step(config, queries, 64 * segments, wide=wide)
        assert core_cycles(config, layer) == first + (segments - 1) * more
    if queries < 64:
        layer = decode_step(config, queries, 64, wide=wide)
        assert core_cycles(PRESETS["tiny"], layer) == first - 6


def test_a_decode_step_of_segments_in_verilog() -> None:
    """24 keys, 24 more and 18: 8 beats each, and the last row of tiles is shorter."""
    config = TINY_CORE.replace(capacity=100, merge_rows=4)
    for queries, keys, cycles in ((1, 24, 326), (1, 48, 518), (4, 48, 558), (1, 66, 646)):
        bench = CoreLockstep(config, [decode_step(config, queries, keys)])
        build_core(config).run(bench)
        bench.verify()
        assert bench.taken["outputs"][-1][0] + 1 == cycles


@pytest.mark.parametrize("preset", list(PRESETS))
def test_top_k(preset: str) -> None:
    sizes, run = topk_config(PRESETS[preset]), topk_run(PRESETS[preset])
    model = TopKModel(sizes.lanes, sizes.n_max, slow_logic=sizes.slow_logic)
    beats = deque(score_beats(run.scores, run.k0, run.k1, sizes.lanes))
    known = 0
    while model.ids is None or not model.ids.last:
        model.clock(beats.popleft() if beats else None, True)
        known = known or model.cycle * (model.thresholds is not None)
        assert model.cycle < 1000
    assert (known, model.cycle) == TOPK[preset]


def test_top_k_in_verilog() -> None:
    ran = run_cycles(topk_config(PRESETS["tiny"]), topk_run(PRESETS["tiny"]))
    assert (ran.known, ran.known + ran.ids - 1) == TOPK["tiny"]


def patched(monkeypatch: pytest.MonkeyPatch, name: str, wrong) -> None:
    right = getattr(Config, name).fget
    monkeypatch.setattr(Config, name, property(lambda config: wrong(config, right(config))))


@pytest.mark.parametrize("preset", list(PRESETS))
def test_rows_for_one_tile_only_show(preset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    patched(monkeypatch, "score_rows", lambda config, _: config.rows)
    queries, keys, cycles = HEAD[preset]
    assert array_cycles(PRESETS[preset], queries, keys) > 1.05 * cycles


@pytest.mark.parametrize("preset", ["edge", "base"])
def test_a_drain_that_takes_twice_as_long_shows(preset: str, monkeypatch) -> None:
    """Where a tile's rows drain for as long as it computes; the others have time left."""
    patched(monkeypatch, "drain_interval", lambda _, right: 2 * right)
    queries, keys, cycles = HEAD[preset]
    assert array_cycles(PRESETS[preset], queries, keys) == cycles + 31 * 8


@pytest.mark.parametrize("preset", list(PRESETS))
@pytest.mark.parametrize("name", ["word_stages", "grid_stages"])
def test_a_stage_more_shows(preset: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if name == "word_stages":
        patched(
            monkeypatch,
            "timing",
            lambda _, right: dataclasses.replace(right, word_stages=right.word_stages + 1),
        )
    else:
        patched(monkeypatch, name, lambda _, right: right + 1)
    config = PRESETS[preset]
    assert array_cycles(config, config.rows, config.cols) == TILE[preset] + 1


@pytest.mark.parametrize("latency", list(SYSTEM))
def test_a_layer_of_the_whole_machine(latency: int) -> None:
    device = simulated_device(DRIVEN, timeout=400_000, optimize=0)
    bus = device.bus
    bus.configure(latency=(latency, latency))
    bus.record()
    chain = reference_chain(DRIVEN.core, Workload(tokens=40, d_head=32), 12)
    golden = expected(DRIVEN.core, chain)
    compare_results(chain, device.run(chain), golden)
    cycles, read = last_layer(DRIVEN, device, golden)
    assert (cycles, round(read, 3)) == SYSTEM[latency]
