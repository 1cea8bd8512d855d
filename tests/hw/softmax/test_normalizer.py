"""The normalizer, equal to its cycle model in every cycle, and to the golden functions."""

import functools

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.hw.softmax.normalizer import Normalizer
from dtqatten.sim.engines.native import run_lockstep
from dtqatten.sim.engines.verilated import VerilatedModel
from dtqatten.sim.lockstep.normalizer import NormalizerLockstep, random_heads

CONFIGS = [
    Config(rows=1, cols=1, depth=1, d_head=8, n_max=1),
    Config(rows=3, cols=5, depth=2, d_head=24, n_max=16),
    # Lanes that do not divide the columns; as many as there are columns.
    Config(
        rows=4, cols=12, depth=8, d_head=8, n_max=20, planes=3, v_gains=True, normalizer_lanes=5
    ),
    Config(rows=2, cols=6, depth=8, d_head=8, n_max=8, normalizer_lanes=6),
    Config(rows=2, cols=3, depth=8, d_head=8, n_max=8, planes=3, unsigned_weights=True),
    Config(rows=2, cols=3, depth=8, d_head=8, n_max=8, v_gains=True, block_exponents=True),
]


@functools.cache
def build(config: Config) -> VerilatedModel:
    return VerilatedModel(Normalizer(config), "normalizer")


def run_verilated(bench: NormalizerLockstep) -> NormalizerLockstep:
    rtl = build(bench.config)
    rtl.run(bench)
    return bench


@pytest.mark.parametrize(
    "config", CONFIGS, ids=["1x1", "3x5", "4x12", "2x6", "unsigned", "exponents"]
)
@pytest.mark.parametrize(("stall", "lazy"), [(0.0, False), (0.5, True), (0.9, False)])
def test_verilog_equals_cycle_model_and_golden(config, stall, lazy, compared) -> None:
    bench = run_verilated(
        NormalizerLockstep(
            config, random_heads(config, np.random.default_rng(0), 40), stall=stall, lazy=lazy
        )
    )
    assert bench.right()
    compared["verilator, in process"] += bench.compared


def test_equals_cycle_model_in_amaranths_simulator() -> None:
    config = CONFIGS[1]
    bench = NormalizerLockstep(config, random_heads(config, np.random.default_rng(0), 4), stall=0.3)
    run_lockstep(Normalizer(config), bench)
    assert bench.right()


def test_latency_and_throughput_are_as_stated() -> None:
    config = CONFIGS[1]
    bench = run_verilated(
        NormalizerLockstep(config, random_heads(config, np.random.default_rng(0), 20))
    )
    cycles = [cycle for cycle, _ in bench.taken["outputs"]]
    # A row of five channels takes three beats; the last one sets out when the row is accepted.
    assert cycles[2] == bench.accepted["sums"][0] + 11
    late = np.diff(cycles[40:-40])
    assert (late == 1).all()
