"""The top-k engine in Amaranth's simulator, equal to the cycle model in every cycle."""

import re
from collections import Counter

import numpy as np
import pytest

from dtqatten.configuration.choices import TopKEngine
from dtqatten.golden.cycles.quick_select import quick_select
from dtqatten.hw.base.export import verilog
from dtqatten.hw.payloads.topk import TopKConfig
from dtqatten.hw.ranking.topk import TopK
from dtqatten.sim.engines.bench import MismatchError
from dtqatten.sim.engines.native import run_lockstep
from dtqatten.sim.lockstep.topk import (
    Run,
    TopKLockstep,
    adversaries,
    pivot_killer,
    random_runs,
)

QUICK = TopKEngine.QUICK_SELECT

SHAPES = [
    TopKConfig(1, 1),
    TopKConfig(1, 7, index_bits=2),
    TopKConfig(2, 2, score_width=8, index_bits=4),
    TopKConfig(4, 22, score_width=6, index_bits=6),
    TopKConfig(8, 40, score_width=16, index_bits=3),
    TopKConfig(16, 50, index_bits=5),
    TopKConfig(4, 40, slow_logic=True),
    TopKConfig(1, 9, index_bits=2, slow_logic=True),
    TopKConfig(1, 1, engine=QUICK),
    TopKConfig(1, 7, engine=QUICK),
    TopKConfig(2, 2, score_width=2, engine=QUICK),
    TopKConfig(4, 22, score_width=5, engine=QUICK),
    TopKConfig(8, 40, score_width=64, engine=QUICK),
    TopKConfig(16, 50, score_width=33, slow_logic=True, engine=QUICK),
]


@pytest.mark.parametrize("config", SHAPES, ids=str)
@pytest.mark.parametrize(("stall", "lazy"), [(0.0, False), (0.5, False), (0.5, True)])
def test_equals_cycle_model(config, stall, lazy, compared: Counter[str]) -> None:
    runs = random_runs(config, np.random.default_rng(config.lanes), 8)
    bench = TopKLockstep(config, runs, stall=stall, lazy=lazy)
    run_lockstep(TopK(config), bench)
    compared["amaranth"] += bench.compared


@pytest.mark.parametrize("engine", TopKEngine)
@pytest.mark.parametrize("width", [11, 32])
def test_adversaries_equal_cycle_model(width: int, engine: TopKEngine) -> None:
    """Thresholds that part in the first bit and stay unknown to the last one."""
    config = TopKConfig(4, 44, score_width=width, index_bits=4, engine=engine)
    runs = [Run(scores, 32, 14) for scores in adversaries(config, 44).values()]
    run_lockstep(TopK(config), TopKLockstep(config, runs))


def test_quick_select_outlasts_its_pivots() -> None:
    """Eighty passes: pivots run out, both thresholds are bisected, the lower one waits."""
    config = TopKConfig(4, 100, engine=QUICK)
    scores = pivot_killer(config, 100)
    found = quick_select(scores, 72, 31, 4, capacity=100)
    assert (len(found.rows), found.bisections) == (77, 63)
    run_lockstep(TopK(config), TopKLockstep(config, [Run(scores, 72, 31)]))


@pytest.mark.parametrize("engine", TopKEngine)
def test_corner_counts(engine: TopKEngine) -> None:
    config = TopKConfig(4, 12, engine=engine)
    rng = np.random.default_rng(0)
    runs = [
        Run(rng.integers(0, 4, n, np.uint64), k0, k1)
        for n in (1, 4, 5, 12)
        for k0 in {1, n}
        for k1 in {0, 1, k0}
    ]
    bench = TopKLockstep(config, runs)
    run_lockstep(TopK(config), bench)


@pytest.mark.parametrize("engine", TopKEngine)
@pytest.mark.parametrize("lanes", [1, 4])
def test_rows_in_flight_do_not_meet_the_next_run(lanes: int, engine: TopKEngine) -> None:
    """The only id leaves while later rows are on their way, and the next run is there at once."""
    config = TopKConfig(lanes, 24, engine=engine)
    rng = np.random.default_rng(lanes)
    runs = [Run(rng.integers(0, 1 << 16, 24, np.uint64), 1, k % 2) for k in range(20)]
    run_lockstep(TopK(config), TopKLockstep(config, runs))


@pytest.mark.parametrize("engine", TopKEngine)
def test_a_sink_that_hardly_reads_loses_nothing(engine: TopKEngine) -> None:
    config = TopKConfig(4, 30, engine=engine)
    bench = TopKLockstep(config, random_runs(config, np.random.default_rng(1), 4), stall=0.9)
    run_lockstep(TopK(config), bench)


@pytest.mark.parametrize("engine", TopKEngine)
def test_impossible_counts_are_limited_and_do_not_hang(engine: TopKEngine) -> None:
    """The lockstep's own selection refuses such runs, so only the ports are compared."""
    config = TopKConfig(4, 16, engine=engine)
    scores = np.array([5, 1, 4, 2, 3], np.uint64)
    bench = TopKLockstep(config, [Run(scores, k0, k1) for k0, k1 in ((0, 3), (15, 9), (3, 9))])
    selected = iter([(1, 1), (5, 5), (3, 3)])

    def limit() -> None:
        k0, k1 = next(selected)
        bench._runs[bench._selected] = Run(scores, k0, k1)
        compare()

    compare, bench._compare_run = bench._compare_run, limit
    run_lockstep(TopK(config), bench)
    assert next(selected, None) is None


def test_a_wrong_port_is_reported_with_its_cycle() -> None:
    """The comparison itself can fail: an engine of other latency is caught."""
    config = TopKConfig(4, 16)
    runs = [Run(np.arange(900, 916, dtype=np.uint64) ** 3, 9, 4)]
    with pytest.raises(MismatchError, match=r"cycle \d+: known is 0x"):
        run_lockstep(TopK(TopKConfig(4, 16, index_bits=4)), TopKLockstep(config, runs))


def test_a_run_without_an_end_ends_with_the_memory() -> None:
    """More tokens than fit are cut off, not written over the first ones."""
    config = TopKConfig(2, 6)
    bench = TopKLockstep(config, [Run(np.arange(12, dtype=np.uint64), 2, 1)])
    for _ in range(40):
        bench.model.clock(bench._beats[0], False)
    assert bench.model.thresholds is not None


def test_adversaries_are_what_their_names_say() -> None:
    config = TopKConfig(4, 64)
    by_name = adversaries(config, 64)
    assert (np.diff(by_name["ascending"].astype(float)) > 0).all()
    assert (by_name["descending"] == by_name["ascending"][::-1]).all()
    assert len(set(by_name["all equal"].tolist())) == 1
    assert len(set(by_name["two values"].tolist())) == 2
    assert not by_name["killer"][:4].any()
    assert sorted(by_name["pivot killer"].tolist())[:12] == list(range(12))
    assert all(len(scores) == 64 for scores in by_name.values())


@pytest.mark.parametrize("engine", TopKEngine)
def test_ports_are_flat_and_documented_names(engine: TopKEngine) -> None:
    text = verilog(TopK(TopKConfig(4, 16, engine=engine)), "topk")
    (header,) = [line for line in text.splitlines() if line.startswith("module dtqatten_topk(")]
    ports = header[header.index("(") + 1 : header.index(")")].split(", ")
    assert " ".join(sorted(ports)) == (
        "clk ids__payload ids__ready ids__valid k0 k1 known rst "
        "scores__payload scores__ready scores__valid thresholds"
    )
    # A memory a beat wide, and two FIFOs of scores.
    memories = re.findall(r"reg \[127:0\] \w+ \[\d+:0\]", text)
    assert len(memories) == (1 if engine is TopKEngine.COUNTING else 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lanes": 12}, "lanes is 12, not a power of two: use 8 or 16"),
        ({"lanes": 0}, r"lanes is 0, outside 1\.\.64"),
        ({"n_max": 0}, r"n_max is 0, outside 1\.\.65536"),
        ({"n_max": 4.0}, r"n_max must be an integer, not 4\.0"),
        ({"index_bits": 9}, r"index_bits is 9, outside 2\.\.8"),
        ({"score_width": 5, "index_bits": 6}, "index_bits is 6, more than the 5 bits of a score"),
        ({"score_width": True}, "score_width must be an integer, not True"),
        ({"engine": "sort"}, "engine is 'sort': choose one of counting, quick_select"),
    ],
)
def test_impossible_sizes_are_refused(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        TopKConfig(**({"lanes": 4, "n_max": 16} | changes))
