# amaranth: UnusedElaboratable=no
"""The softmax unit, equal to its cycle model in every cycle."""

import functools
import re
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from dtqatten import PRESETS, Config
from dtqatten.golden.cycles.softmax_beats import HeadFactor, Key, Query
from dtqatten.hw.base.export import verilog
from dtqatten.hw.softmax.softmax import Softmax
from dtqatten.sim.engines.bench import MismatchError
from dtqatten.sim.engines.native import run_lockstep
from dtqatten.sim.engines.verilated import VerilatedModel
from dtqatten.sim.lockstep.softmax import SoftmaxHead, SoftmaxLockstep, random_softmax_head

OPTIONS = [
    {"planes": 2, "v_gains": False},
    {"planes": 3, "v_gains": False, "count_normalize": True},
    {"planes": 2, "v_gains": True},
    {"planes": 3, "v_gains": True, "count_normalize": True},
    {"windows": True, "grouped": True},
    {"windows": True, "v_gains": True, "capacity": 60000},
    {"sinks": True},
    {"sinks": True, "v_gains": True, "planes": 3},
    {"sinks": True, "grouped": True, "planes": 3},
    {"unsigned_weights": True},
    {"unsigned_weights": True, "sinks": True, "v_gains": True, "planes": 3},
    {"block_exponents": True},
    {"block_exponents": True, "unsigned_weights": True, "v_gains": True, "grouped": True},
    {"block_exponents": True, "sinks": True, "planes": 3, "progressive": True},
    {"progressive": True, "sinks": True},
    {"progressive": True, "v_gains": True, "windows": True, "product_stages": 2},
    {"bias_heads": 1},
    {"bias_heads": 1, "v_gains": True, "windows": True, "progressive": True},
    {"bias_heads": 3, "grouped": True, "sinks": True, "planes": 3, "signed_gains": True},
    {"bias_heads": 3, "grouped": True, "sinks": True, "merge_rows": 9, "product_stages": 2},
]
#: Keys wait in registers of their own.
SLOW = {"planes": 2, "v_gains": True, "product_stages": 2}
STALLS = [(0.0, False), (0.5, False), (0.5, True), (0.9, True)]
MIDDLE = Config(rows=3, cols=5, depth=2, d_head=24, n_max=40)
TALL = Config(rows=6, cols=2, depth=16, d_head=128, n_max=9)


@functools.cache
def build(config: Config) -> VerilatedModel:
    return VerilatedModel(Softmax(config), "softmax")


def heads_of(config: Config, count: int, seed: int = 0, **shape) -> list[SoftmaxHead]:
    rng = np.random.default_rng(seed)
    return [random_softmax_head(config, rng, **shape) for _ in range(count)]


def run_verilated(rtl: VerilatedModel, bench: SoftmaxLockstep) -> SoftmaxLockstep:
    rtl.run(bench)
    return bench


@pytest.mark.parametrize("options", [*OPTIONS, SLOW], ids=str)
@pytest.mark.parametrize(
    "shape",
    [
        {"rows": 1, "cols": 1, "depth": 1, "d_head": 8, "n_max": 1},
        {"rows": 1, "cols": 3, "depth": 8, "d_head": 8, "n_max": 7},
        {"rows": 2, "cols": 1, "depth": 8, "d_head": 8, "n_max": 3},
    ],
    ids=lambda s: "x".join(map(str, s.values())),
)
def test_equals_cycle_model_in_amaranths_simulator(shape, options) -> None:
    config = Config(**shape, **options)
    for stall, lazy in STALLS[:3]:
        bench = SoftmaxLockstep(config, heads_of(config, 5), stall=stall, lazy=lazy)
        run_lockstep(Softmax(config), bench)


@pytest.mark.parametrize("options", [*OPTIONS[:3], *OPTIONS[4:], SLOW], ids=str)
@pytest.mark.parametrize("config", [MIDDLE, TALL], ids=["3x5", "6x2"])
def test_verilog_equals_cycle_model(config, options, compared: Counter[str]) -> None:
    config = config.replace(**options)
    for stall, lazy in STALLS:
        heads = heads_of(config, 60, seed=int(10 * stall) + lazy)
        bench = SoftmaxLockstep(config, heads, stall=stall, lazy=lazy)
        run_verilated(build(config), bench)
        compared["verilator, in process"] += bench.compared


@pytest.mark.parametrize("options", [*OPTIONS[:3], SLOW], ids=str)
def test_no_bubble_whatever_the_shape(options) -> None:
    """With keys and queries ahead, every cycle takes a row and gives one, across heads.

    Heads of one key tile per row give a record a cycle; the longest fill every ring.
    """
    config = MIDDLE.replace(**options)
    rtl = build(config)
    # As many rows as keys at least, since keys come one a cycle.
    shapes = [(40, 40), (3, 3), (12, 5), (2, 1), (40, 39), (1, 1), (9, 9), (30, 5)] * 3
    rng = np.random.default_rng(0)
    heads = [random_softmax_head(MIDDLE, rng, queries=q, keys=k) for q, k in shapes]
    bench = SoftmaxLockstep(config, heads)
    run_verilated(rtl, bench)
    first, last = bench.accepted["scores"][0], bench.accepted["scores"][-1]
    waited = last - first + 1 - len(bench.accepted["scores"])
    assert waited <= 40, "the first head's keys are waited for"
    busy = bench.accepted["scores"][400:]
    assert busy == list(range(busy[0], busy[0] + len(busy)))
    for name in ("weights", "probabilities"):
        cycles = [cycle for cycle, _ in bench.taken[name]]
        assert cycles[400:] == list(range(cycles[400], cycles[400] + len(cycles) - 400))


@pytest.mark.parametrize("cols", [1, 4, 5])
@pytest.mark.parametrize(
    "options", [OPTIONS[0], OPTIONS[2], OPTIONS[2] | {"bias_heads": 1}], ids=str
)
def test_latency_is_as_stated(cols: int, options) -> None:
    config = Config(rows=3, cols=cols, depth=8, d_head=8, n_max=2 * cols + 2, **options)
    levels = (cols - 1).bit_length()
    heads = heads_of(config, 1, queries=3, keys=2 * cols)
    bench = SoftmaxLockstep(config, heads)
    run_lockstep(Softmax(config), bench)
    rows, end = len(bench.accepted["scores"]), bench.accepted["scores"][-1]
    first = {name: beats[0][0] for name, beats in bench.taken.items()}
    end += 7 * ("bias_heads" in options)
    assert first["probabilities"] == end + 2 * levels + 57 + rows - 1
    if options["v_gains"]:
        assert first["weights"] == first["probabilities"]
    else:
        assert first["weights"] == end + levels + 27
    assert first["records"] == end + 2 * levels + 47 + rows - 3


@pytest.mark.parametrize("cols", [1, 5])
@pytest.mark.parametrize("v_gains", [False, True])
def test_a_trial_is_judged_alone_and_soon(cols: int, v_gains: bool) -> None:
    """Nothing of it leaves but the verdict, and the first row behind it is accepted then."""
    options = {"v_gains": v_gains, "progressive": True}
    config = Config(rows=3, cols=cols, depth=8, d_head=8, n_max=2 * cols, **options)
    levels = (cols - 1).bit_length()
    (head,) = heads_of(config, 1, queries=3, keys=2 * cols)
    factor = replace(head.factor, progressive=True, flat_sum=0)
    bench = SoftmaxLockstep(config, [replace(head, factor=factor, trial=head.scores)])
    run_lockstep(Softmax(config), bench)
    # Two tiles of three rows, in the trial and behind it.
    end, then = bench.accepted["scores"][5:7]
    ((told, verdict),) = bench.taken["verdicts"]
    assert told == end + 2 * levels + 27 + 6 - 1
    assert then == told
    assert verdict.rows == sum(record.divisor > 0 for _, record in bench.taken["records"])
    for name, count in (("weights", 6), ("probabilities", 6), ("records", 3)):
        assert len(bench.taken[name]) == count
        assert bench.taken[name][0][0] > told


@pytest.mark.parametrize("group", [1, 3])
def test_rows_wait_for_all_biases_of_their_head_and_for_no_more(group: int) -> None:
    """A bias a cycle; those of the next head but one come 11 cycles after a head's last row."""
    config = MIDDLE.replace(bias_heads=3, grouped=True)
    rng = np.random.default_rng(3)
    heads = []
    for _ in range(4):
        head = random_softmax_head(config, rng, queries=3, keys=20)
        queries = [replace(query, member=i % group) for i, query in enumerate(head.queries)]
        biases = rng.integers(-500, 500, (group, 20))
        factor = replace(head.factor, biased=True)
        heads.append(replace(head, queries=queries, biases=biases, factor=factor))
    bench = SoftmaxLockstep(config, heads)
    run_verilated(build(config), bench)
    biases, rows = bench.accepted["biases"], bench.accepted["scores"]
    of_head, of_rows = 20 * group, 3 * 4
    # Rows of a head begin in the cycle after its last bias.
    assert rows[0] == biases[of_head - 1] + 1
    assert biases[2 * of_head - 1] == biases[0] + 2 * of_head - 1
    assert biases[2 * of_head] == max(biases[2 * of_head - 1] + 1, rows[of_rows - 1] + 11)


def test_sinks_that_wait_for_each_other_do_not_deadlock() -> None:
    """A consumer of P x V reads a block's weights, then its records; importance comes last."""
    rtl = build(MIDDLE)
    rtl.reset()
    heads = heads_of(MIDDLE, 20)
    bench = SoftmaxLockstep(MIDDLE, heads)
    order = []  # of each block: its weights, then its records
    for head in heads:
        n_q, n_k = head.scores.shape
        for top in range(0, n_q, MIDDLE.rows):
            count = min(MIDDLE.rows, n_q - top)
            order += ["weights"] * count * -(-n_k // MIDDLE.cols) + ["records"] * count
    while not bench.done:
        at = sum(len(bench.taken[name]) for name in ("weights", "records"))
        turn = order[at] if at < len(order) else None
        bench.ready = {name: name == turn for name in ("weights", "records")}
        bench.ready["probabilities"] = bench.model.cycle % 2 == 0
        bench.check(rtl.step(bench.inputs()))
        bench.clock()


@pytest.mark.parametrize("held", SoftmaxLockstep.SINKS)
@pytest.mark.parametrize("options", [OPTIONS[0], OPTIONS[2]], ids=str)
def test_one_sink_held_back_fills_what_is_before_it_and_loses_nothing(held: str, options) -> None:
    """Each ring runs full and stops what fills it, while the other sinks take all they get."""
    config = MIDDLE.replace(**options)
    rtl = build(config)
    rtl.reset()
    bench = SoftmaxLockstep(config, heads_of(config, 40, seed=7), held=held)
    while not bench.done:
        bench.check(rtl.step(bench.inputs()))
        if bench.model.cycle == bench.HELD - 1:
            assert not bench.expected()["scores__ready"]
        bench.clock()


def test_rows_without_keys_and_rows_of_one_token_are_exact() -> None:
    config = MIDDLE
    limit = config.d_head * 120 * 120
    factor = HeadFactor(65535, 20, causal=True)
    queries = [Query(i, 256) for i in (0, 39, 5, 6)]
    keys = [Key(i, 256, 256, False, i == 7) for i in (6, 30, 31, 32, 33, 34, 7)]
    scores = np.full((4, 7), -limit)
    scores[1] = limit
    bench = SoftmaxLockstep(config, [SoftmaxHead(scores, factor, queries, keys)])
    run_verilated(build(config), bench)
    divisors = [record.divisor for _, record in bench.taken["records"]]
    # Ids 0 and 5 see nothing; 39 sees all, equally; 6 sees itself.
    assert divisors == [0, 7 * 119 * 16, 0, 119 * 16]
    assert [record.mantissa == 0 for _, record in bench.taken["records"]] == [True, False] * 2
    rows = [row.values for _, row in bench.taken["probabilities"]]
    assert [list(row[:5]) for row in rows[:3]] == [[0] * 5, [9362] * 5, [0] * 5]
    assert list(rows[6][:2]) == [65535, 0]


def test_a_reset_in_mid_run_starts_anew() -> None:
    rtl = build(MIDDLE)
    for stop in (30, 77, 150):
        cut_off = SoftmaxLockstep(MIDDLE, heads_of(MIDDLE, 30, seed=stop), stall=0.3)
        rtl.reset()
        for _ in range(stop):
            rtl.step(cut_off.inputs())
            cut_off.clock()
        run_verilated(rtl, SoftmaxLockstep(MIDDLE, heads_of(MIDDLE, 5)))


def test_a_wrong_device_is_reported_with_its_cycle() -> None:
    """The comparison itself can fail."""
    bench = SoftmaxLockstep(MIDDLE.replace(planes=3), heads_of(MIDDLE, 3))
    with pytest.raises(MismatchError, match=r"cycle \d+: weights__payload is 0x"):
        run_verilated(build(MIDDLE), bench)


def test_ports_are_flat() -> None:
    text = verilog(Softmax(PRESETS["tiny"]), "softmax")
    (ports,) = re.findall(r"^module dtqatten_softmax\((.*?)\);", text, re.MULTILINE | re.DOTALL)
    streams = ["scores", "heads", "queries", "keys", "weights", "records", "probabilities"]
    assert sorted(ports.replace("\n", "").replace(" ", "").split(",")) == sorted(
        ["clk", "rst", *(f"{s}__{p}" for s in streams for p in ("payload", "valid", "ready"))]
    )
