"""The attention core, equal to its cycle model in every cycle, and to the golden block."""

import functools

import numpy as np
import pytest

from dtqatten import Config, Schedule
from dtqatten.hw.core import AttentionCore
from dtqatten.sim.core import CoreLayer, CoreLockstep, random_layer
from dtqatten.sim.verilated import VerilatedModel

CONFIGS = {
    "one PE": Config(rows=1, cols=1, depth=1, d_head=8, n_max=3, topk_lanes=1),
    "4x4": Config(rows=4, cols=4, depth=4, d_head=32, n_max=24),
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
        depth=16,
        d_head=128,
        n_max=20,
        cumulative=True,
        count_normalize=True,
        topk_lanes=8,
    ),
}


@functools.cache
def build(config: Config) -> VerilatedModel:
    return VerilatedModel(AttentionCore(config), "core", reset_cycles=config.rows + config.cols + 4)


def run(config: Config, layers: list[CoreLayer], **stalls) -> CoreLockstep:
    bench = CoreLockstep(config, layers, **stalls)
    rtl = build(config)
    rtl.reset()
    while not bench.done:
        bench.check(rtl.step(bench.inputs()))
        bench.clock()
    bench.verify()
    return bench


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize(("stall", "lazy"), [(0.0, False), (0.4, True)])
def test_verilog_equals_cycle_model_and_golden(name, stall, lazy, compared) -> None:
    config = CONFIGS[name]
    rng = np.random.default_rng(int(10 * stall))
    layers = [random_layer(config, rng) for _ in range(6)]
    bench = run(config, layers, stall=stall, lazy=lazy)
    compared["verilator, in process"] += bench.compared
