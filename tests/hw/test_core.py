"""The attention core, equal to its cycle model in every cycle, and to the golden block."""

import numpy as np
import pytest

from dtqatten import Config, Schedule
from dtqatten.golden.cycles.random_layers import random_chain, random_layer
from dtqatten.hw.core import AttentionCore
from dtqatten.sim.engines.native import run_lockstep
from dtqatten.sim.lockstep.core import CoreLockstep, build_core

CONFIGS = {
    "one PE": Config(rows=1, cols=1, depth=1, d_head=8, n_max=3, topk_lanes=1),
    "4x4": Config(rows=4, cols=4, depth=4, d_head=32, n_max=24, load_bits=128, normalizer_lanes=4),
    "12 bits, gains": Config(
        rows=3,
        cols=5,
        depth=5,
        d_head=80,
        n_max=17,
        schedule=Schedule.INTERLEAVED,
        planes=3,
        v_gains=True,
    ),
    "counted": Config(
        rows=2,
        cols=6,
        pod_cols=3,
        depth=16,
        value_depth=5,
        d_head=128,
        n_max=20,
        cumulative=True,
        count_normalize=True,
        topk_lanes=8,
    ),
    "generation": Config(
        rows=4,
        cols=3,
        pod_cols=3,
        depth=4,
        d_head=16,
        n_max=20,
        capacity=1000,
        windows=True,
        grouped=True,
        held_importance=True,
        skip_tiles=True,
        topk_lanes=4,
    ),
    "skips, counted": Config(
        rows=2,
        cols=3,
        depth=4,
        d_head=8,
        n_max=14,
        schedule=Schedule.INTERLEAVED,
        planes=3,
        v_gains=True,
        windows=True,
        count_normalize=True,
        cumulative=True,
        skip_tiles=True,
        topk_lanes=2,
    ),
    "sinks": Config(
        rows=2,
        cols=4,
        pod_cols=2,
        depth=4,
        d_head=16,
        n_max=18,
        planes=3,
        sinks=True,
        unsigned_weights=True,
        block_exponents=True,
        count_normalize=True,
        topk_lanes=4,
    ),
    "sinks of grouped heads": Config(
        rows=4,
        cols=3,
        depth=8,
        d_head=16,
        n_max=12,
        capacity=300,
        v_gains=True,
        windows=True,
        sinks=True,
        grouped=True,
        skip_tiles=True,
        topk_lanes=4,
    ),
    "biases": Config(
        rows=3,
        cols=4,
        depth=4,
        d_head=16,
        n_max=14,
        v_gains=True,
        bias_heads=1,
        cumulative=True,
        progressive=True,
        topk_lanes=4,
    ),
    "biases of grouped heads": Config(
        rows=4,
        cols=3,
        depth=4,
        d_head=8,
        n_max=12,
        capacity=500,
        windows=True,
        sinks=True,
        bias_heads=3,
        grouped=True,
        skip_tiles=True,
        merge_rows=9,
        topk_lanes=2,
    ),
    "segments": Config(
        rows=3,
        cols=4,
        pod_cols=4,
        depth=4,
        d_head=16,
        n_max=10,
        capacity=300,
        windows=True,
        sinks=True,
        topk_lanes=4,
        merge_rows=7,
    ),
    "segments of grouped heads": Config(
        rows=4,
        cols=3,
        pod_cols=3,
        depth=8,
        d_head=8,
        n_max=7,
        capacity=65536,
        planes=3,
        unsigned_weights=True,
        block_exponents=True,
        v_gains=True,
        windows=True,
        sinks=True,
        grouped=True,
        skip_tiles=True,
        local_values=True,
        topk_lanes=4,
        merge_rows=20,
        product_stages=2,
    ),
    "local values": Config(
        rows=3,
        cols=4,
        pod_cols=2,
        depth=4,
        value_depth=3,
        d_head=16,
        n_max=26,
        v_gains=True,
        unsigned_weights=True,
        block_exponents=True,
        windows=True,
        cumulative=True,
        skip_tiles=True,
        local_values=True,
        topk_lanes=4,
    ),
    "progressive": Config(
        rows=4,
        cols=3,
        depth=4,
        d_head=16,
        n_max=14,
        capacity=300,
        windows=True,
        sinks=True,
        grouped=True,
        skip_tiles=True,
        local_values=True,
        progressive=True,
        topk_lanes=4,
    ),
    "progressive, gains": Config(
        rows=3,
        cols=4,
        pod_cols=4,
        depth=8,
        d_head=8,
        n_max=22,
        schedule=Schedule.INTERLEAVED,
        planes=3,
        v_gains=True,
        count_normalize=True,
        progressive=True,
        product_stages=2,
        topk_lanes=4,
    ),
    "chosen values": Config(
        rows=4,
        cols=4,
        depth=4,
        value_depth=2,
        d_head=16,
        n_max=26,
        capacity=300,
        windows=True,
        sinks=True,
        grouped=True,
        held_importance=True,
        skip_tiles=True,
        local_values=True,
        chosen_values=True,
        topk_lanes=4,
    ),
    "chosen values, gains": Config(
        rows=6,
        cols=5,
        pod_cols=5,
        depth=8,
        value_depth=2,
        d_head=8,
        n_max=22,
        schedule=Schedule.INTERLEAVED,
        planes=3,
        block_exponents=True,
        v_gains=True,
        windows=True,
        cumulative=True,
        skip_tiles=True,
        local_values=True,
        chosen_values=True,
        progressive=True,
        product_stages=2,
        topk_lanes=4,
    ),
    "chosen values of biased heads": Config(
        rows=4,
        cols=3,
        depth=4,
        d_head=16,
        n_max=20,
        unsigned_weights=True,
        block_exponents=True,
        windows=True,
        sinks=True,
        bias_heads=3,
        grouped=True,
        progressive=True,
        skip_tiles=True,
        local_values=True,
        chosen_values=True,
        topk_lanes=4,
    ),
    "256 channels": Config(
        rows=2, cols=6, depth=64, value_depth=4, d_head=256, n_max=15, planes=3, v_gains=True
    ),
    # As on FPGAs.
    "slow logic": Config(
        rows=3, cols=4, pod_cols=2, depth=8, d_head=32, n_max=22, product_stages=2, topk_lanes=4
    ),
}
#: `make test` runs the smallest core on cocotb, and counts in a system, tests/sim/machine.
LONG = ("one PE", "counted", "skips, counted", "sinks")
NAMES = [pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in CONFIGS]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("stall", "lazy"), [(0.0, False), (0.4, True)])
def test_verilog_equals_cycle_model_and_golden(name, stall, lazy, compared) -> None:
    config = CONFIGS[name]
    rng = np.random.default_rng(int(10 * stall))
    layers = random_chain(config, rng, 6)
    bench = CoreLockstep(config, layers, stall=stall, lazy=lazy)
    build_core(config).run(bench)
    bench.verify()
    compared["verilator, in process"] += bench.compared


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("stall", "held"), [(0.0, "outputs"), (0.6, None)])
def test_buffers_full_of_short_heads_lose_nothing(name, stall, held, compared) -> None:
    """A row block of one tile has as many records as rows, and may be left half read."""
    config = CONFIGS[name]
    rng = np.random.default_rng(5)
    layers = [
        random_layer(config, rng, heads=config.heads, tokens=min(config.rows + 1, config.cols))
        for _ in range(2)
    ]
    bench = CoreLockstep(config, layers, stall=stall, held=held)
    build_core(config).run(bench)
    bench.verify()
    compared["verilator, in process"] += bench.compared


def test_amaranths_simulator_agrees_on_generation() -> None:
    """All of generation in one, where the dot products are plain sums."""
    config = Config(
        rows=2,
        cols=2,
        pod_cols=2,
        depth=4,
        d_head=8,
        n_max=8,
        capacity=40,
        windows=True,
        grouped=True,
        sinks=True,
        skip_tiles=True,
        topk_lanes=2,
        merge_rows=8,
    )
    rng = np.random.default_rng(9)
    layer = random_layer(config, rng, heads=2, tokens=19, queries=3, causal=True)
    assert (layer.window, len(layer.q.codes), layer.cuts) == (10, 4, (5, 11, 18))
    bench = CoreLockstep(config, [layer], stall=0.2, lazy=True)
    run_lockstep(AttentionCore(config), bench)
    bench.verify()
