"""Benchmark of the memory system: a layer of the reference workload over width and latency."""

from collections.abc import Callable
from typing import Any

import numpy as np

from dtqatten.config import Config
from dtqatten.driver.device import Device
from dtqatten.driver.layers import Layer
from dtqatten.golden.codes import Codes
from dtqatten.golden.memory import ideal_bytes, layer_reads
from dtqatten.golden.order import boundaries, promote, round_up_kept
from dtqatten.golden.select import PAPER_SHARES, counts
from dtqatten.model.workload import Workload
from dtqatten.sim.axi import SimulatedBus, simulated_device
from dtqatten.sim.chains import Expected, compare_results, expected
from dtqatten.sim.core import CoreLayer, CoreLockstep, build_core
from dtqatten.sim.core_bench import HEADS
from dtqatten.system_config import ReadStream, SystemConfig

__all__ = ["BUS_BITS", "LATENCIES", "core_cycles", "measure_system", "reference_chain"]

#: Of the layer before.
TOKENS = Workload().tokens
BUS_BITS = (64, 128, 256, 512)
LATENCIES = (10, 60, 120, 200)


def reference_chain(config: Config, heads: int = HEADS, tokens: int = TOKENS) -> list[Layer]:
    """Return a layer of one head that keeps the paper's shares, and the layer that is measured."""
    rng = np.random.default_rng(0)
    k0, k1 = counts(tokens, PAPER_SHARES)
    k0 = round_up_kept(k0, tokens, config.cols)

    def codes(many: int) -> Codes:
        values = rng.integers(-120, 120, (many, tokens, config.d_head)).astype(np.int8)
        return Codes(values, np.full(many, 1e-3))

    first = Layer(q=codes(1), k=codes(1), v=codes(1), k0=k0, k1=k1)
    keep, wide = counts(k0, PAPER_SHARES)
    second = Layer(q=codes(heads), k=codes(heads), v=codes(heads), k0=keep, k1=wide, chained=True)
    return [first, second]


def core_cycles(config: Config, chain: list[Layer]) -> int:
    """Return the cycles of the chain's last layer in the core alone, every stream always ready."""
    golden = expected(config, chain)[-1]
    layer, four_bit = chain[-1], golden.four_bit
    n = len(golden.rows)
    edges = boundaries(four_bit, n, config.rows, config.cols, config.group)
    alone = CoreLayer(
        q=layer.q.take(golden.rows),
        k=layer.k.take(golden.rows),
        v=layer.v.take(golden.rows),
        q_bits=promote(edges.q, n),
        k_bits=promote(edges.k, n),
        v_bits=promote(edges.v, n),
        q_ids=np.arange(n),
        k_ids=np.arange(n),
        k0=layer.k0,
        k1=layer.k1,
    )
    bench = CoreLockstep(config, [alone])
    beats = {
        name: [bench.pack(name, beat) for beat in beats][::-1]
        for name, beats in alone.beats(config).items()
    }
    rtl = build_core(config)
    rtl.reset()
    left = bench.wanted["outputs"]
    cycles = 0
    sinks = {f"{name}__ready": 1 for name in CoreLockstep.SINKS}
    ready = [f"{name}__ready" for name in beats]
    while left:
        inputs = dict(sinks)
        for name, waiting in beats.items():
            if waiting:
                inputs |= {f"{name}__valid": 1, f"{name}__payload": waiting[-1]}
        ports = rtl.step(inputs, "outputs__valid", *ready)
        left -= ports["outputs__valid"]
        for name, waiting in beats.items():
            if waiting and ports[f"{name}__ready"]:
                waiting.pop()
        cycles += 1
    return cycles


def measure_system(
    config: Config, tell: Callable[[str], object], *, heads: int = HEADS, tokens: int = TOKENS
) -> dict[str, Any]:
    """Run the layer on every bus, bit-exact to the golden model; ``tell`` hears what is done.

    ``dma_overhead``: cycles from the layer's first read of Q, K or V to the acknowledgement of its
    last write, over those of the core alone, less 1. ``bytes_ratio``: all bytes read for the layer
    over ``d/2`` of each 4-bit and ``d`` of each 8-bit token of Q, K and V.

    Raises
    ------
    AssertionError
        If a result differs.
    """
    chain = reference_chain(config, heads, tokens)
    golden = expected(config, chain)
    tell("the core alone")
    alone = core_cycles(config, chain)
    result: dict[str, Any] = {
        "config": str(config),
        "tokens": tokens,
        "kept": len(golden[-1].rows),
        "heads": heads,
        "core_cycles": alone,
        "cycles": {},
        "dma_overhead": {},
        "bytes_ratio": {},
    }
    for bits in BUS_BITS:
        tell(f"compiling, {bits} bits")
        system = SystemConfig(core=config, bus_bits=bits)
        device = simulated_device(system, size=1 << 24, timeout=4_000_000)
        bus = device.bus
        assert isinstance(bus, SimulatedBus)
        for name in ("cycles", "dma_overhead", "bytes_ratio"):
            result[name][str(bits)] = {}
        for latency in LATENCIES:
            tell(f"{bits} bits, latency {latency}")
            bus.configure(latency=(latency, latency))
            bus.record()
            compare_results(chain, device.run(chain), golden)
            took, read = _measured(system, device, golden)
            result["cycles"][str(bits)][str(latency)] = took
            result["dma_overhead"][str(bits)][str(latency)] = took / alone - 1
            result["bytes_ratio"][str(bits)][str(latency)] = read
    return result


def _measured(system: SystemConfig, device: Device, golden: list[Expected]) -> tuple[int, float]:
    """Return cycles and bytes over the ideal of a chain's last layer, which has just run."""
    bus = device.bus
    assert isinstance(bus, SimulatedBus)
    (before, one), (address, fields) = device.chain[-2:]
    last = golden[-1]
    reads = bus.reads()
    earlier = layer_reads(system, before, one)
    wanted = layer_reads(system, address, fields, last.rows, last.four_bit)
    read = sum(burst.beats for bursts in wanted.values() for burst in bursts) * system.bus_bytes
    for stream in ReadStream:
        assert reads[stream] == earlier[stream] + wanted[stream]
    tensors = [s for s in ReadStream if ReadStream.Q_HIGH <= s <= ReadStream.V_LOW]
    first = min(bus.read_cycle(s, len(earlier[s])) for s in tensors if wanted[s])
    return bus.interrupted - first, read / ideal_bytes(system, fields, last.four_bit)
