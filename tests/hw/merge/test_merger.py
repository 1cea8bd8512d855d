"""The merger, equal to its cycle model in every cycle, and to the golden merge of segments."""

import functools

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.hw.merge.merger import Merger
from dtqatten.sim.engines.native import run_lockstep
from dtqatten.sim.engines.verilated import VerilatedModel
from dtqatten.sim.lockstep.merger import MergedHead, MergerLockstep, random_merged_heads

CONFIGS = {
    "1x1": Config(rows=1, cols=1, depth=1, d_head=8, n_max=1, capacity=60, merge_rows=1),
    "3x5": Config(
        rows=3, cols=5, depth=2, d_head=24, n_max=16, capacity=65536, sinks=True, merge_rows=7
    ),
    # Lanes that do not divide the columns.
    "4x12": Config(
        rows=4,
        cols=12,
        depth=8,
        d_head=8,
        n_max=20,
        capacity=1000,
        planes=3,
        v_gains=True,
        sinks=True,
        normalizer_lanes=5,
        merge_rows=4,
    ),
    "2x6": Config(
        rows=2,
        cols=6,
        depth=8,
        d_head=8,
        n_max=8,
        capacity=100,
        v_gains=True,
        unsigned_weights=True,
        block_exponents=True,
        normalizer_lanes=6,
        merge_rows=12,
    ),
}


@functools.cache
def build(config: Config) -> VerilatedModel:
    return VerilatedModel(Merger(config), "merger")


def heads_of(config: Config, count: int, seed: int = 0, **shape) -> list[list[MergedHead]]:
    rng = np.random.default_rng(seed)
    return [random_merged_heads(config, rng, **shape) for _ in range(count)]


@pytest.mark.parametrize("name", list(CONFIGS))
@pytest.mark.parametrize(("stall", "lazy"), [(0.0, False), (0.5, True), (0.9, False)])
def test_verilog_equals_cycle_model_and_golden(name, stall, lazy, compared) -> None:
    config = CONFIGS[name]
    bench = MergerLockstep(config, heads_of(config, 60), stall=stall, lazy=lazy)
    build(config).run(bench)
    assert bench.right()
    compared["verilator, in process"] += bench.compared


@pytest.mark.parametrize("name", ["1x1", "4x12"])
def test_equals_cycle_model_in_amaranths_simulator(name) -> None:
    config = CONFIGS[name]
    bench = MergerLockstep(config, heads_of(config, 6, seed=3), stall=0.3)
    run_lockstep(Merger(config), bench)
    assert bench.right()
