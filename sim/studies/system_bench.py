"""Benchmark of the memory system: a layer of the reference workload over width and latency."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import ReadStream, SystemConfig
from dtqatten.driver.device import Device
from dtqatten.driver.expected import Expected, compare_results, expected
from dtqatten.driver.layers import Layer
from dtqatten.golden.memory import ideal_bytes, layer_reads
from dtqatten.golden.numerics.codes import Codes
from dtqatten.golden.numerics.order import round_up_kept
from dtqatten.golden.numerics.select import PAPER_SHARES, counts
from dtqatten.interface.registers import REGISTERS, Control, offset_of
from dtqatten.model.workload import Workload
from dtqatten.sim.machine.axi import SimulatedBus, simulated_device

__all__ = ["BUS_BITS", "LATENCIES", "last_layer", "measure_system", "reference_chain"]

BUS_BITS = (64, 128, 256, 512)
LATENCIES = (10, 60, 120, 200)


def reference_chain(config: Config, workload: Workload, heads: int) -> list[Layer]:
    """Return a layer of one head that keeps a workload's tokens, and the layer that is measured."""
    rng = np.random.default_rng(0)
    tokens = workload.tokens
    k0, k1 = counts(tokens, workload.shares)
    if workload.full_tiles:
        k0 = round_up_kept(k0, tokens, config.cols)

    def codes(many: int) -> Codes:
        values = rng.integers(-120, 120, (many, tokens, config.d_head)).astype(np.int8)
        return Codes(values, np.full(many, 1e-3))

    first = Layer(q=codes(1), k=codes(1), v=codes(1), k0=k0, k1=k1)
    keep, wide = counts(k0, PAPER_SHARES)
    second = Layer(q=codes(heads), k=codes(heads), v=codes(heads), k0=keep, k1=wide, chained=True)
    return [first, second]


def measure_system(
    config: Config,
    workload: Workload,
    heads: int,
    alone: int,
    tell: Callable[[str], object],
    *,
    buses: Sequence[int] = BUS_BITS,
    latencies: Sequence[int] = LATENCIES,
    optimize: int = 2,
) -> dict[str, Any]:
    """Run a layer on every bus, bit-exact to the golden model.

    ``dma_overhead``: cycles from the layer's first read of Q, K or V to the acknowledgement of its
    last write, over those of the core alone, less 1. ``bytes_ratio``: all bytes read for the layer
    over ``d/2`` of each 4-bit and ``d`` of each 8-bit token of Q, K and V.

    Parameters
    ----------
    config : Config
    workload : Workload
    heads : int
    alone : int
        Cycles of the core alone, every stream of it always ready:
        :func:`dtqatten.sim.studies.core_bench.measure_core`.
    tell : callable
        Hears what is done.
    buses, latencies : sequence of int
        Bits; cycles from an address to its first word, and from a write to its answer.
    optimize : int
        As of :func:`dtqatten.sim.engines.compiler.compiled`.

    Raises
    ------
    AssertionError
        If a result differs.
    """
    chain = reference_chain(config, workload, heads)
    golden = expected(config, chain)
    result: dict[str, Any] = {
        "config": str(config),
        "kept": len(golden[-1].rows),
        "heads": heads,
        "core_cycles": alone,
        "cycles": {},
        "dma_overhead": {},
        "bytes_ratio": {},
        "counters": {},
    }
    for bits in buses:
        tell(f"compiling, {bits} bits")
        system = SystemConfig(core=config, bus_bits=bits)
        device = simulated_device(system, size=1 << 24, timeout=4_000_000, optimize=optimize)
        bus = device.bus
        assert isinstance(bus, SimulatedBus)
        for name in ("cycles", "dma_overhead", "bytes_ratio", "counters"):
            result[name][str(bits)] = {}
        for latency in latencies:
            tell(f"{bits} bits, latency {latency}")
            bus.configure(latency=(latency, latency))
            bus.record()
            device.set_register("control", Control.CLEAR_COUNTERS)
            compare_results(chain, device.run(chain), golden)
            took, read = last_layer(system, device, golden)
            result["cycles"][str(bits)][str(latency)] = took
            result["dma_overhead"][str(bits)][str(latency)] = took / alone - 1
            result["bytes_ratio"][str(bits)][str(latency)] = read
            result["counters"][str(bits)][str(latency)] = {
                register.name: device.register(register.name)
                for register in REGISTERS
                if register.offset >= offset_of("cycles")
            }
    return result


def last_layer(system: SystemConfig, device: Device, golden: list[Expected]) -> tuple[int, float]:
    """Return cycles and bytes over the ideal of a chain's last layer, which has just run.

    Cycles are those from the layer's first read of Q, K or V to the interrupt. The bus has recorded
    the run, and the chain has two layers, the second chained.
    """
    bus = device.bus
    assert isinstance(bus, SimulatedBus)
    (before, one), (address, fields) = device.chain[-2:]
    last = golden[-1]
    reads = bus.reads()
    earlier = layer_reads(system, before, one)
    wanted = layer_reads(system, address, fields, last.rows, last.four_bit)
    read = sum(burst.size for bursts in wanted.values() for burst in bursts)
    for stream in ReadStream:
        assert reads[stream] == earlier[stream] + wanted[stream]
    tensors = [s for s in ReadStream if ReadStream.Q_HIGH <= s <= ReadStream.V_LOW]
    first = min(bus.read_cycles(s)[len(earlier[s])] for s in tensors if wanted[s])
    return bus.interrupted - first, read / ideal_bytes(system, fields, last.four_bit)
