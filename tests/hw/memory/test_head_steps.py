"""Of the heads in memory those that are left are read, and no other; faults have their place."""

import numpy as np
import pytest

from dtqatten.configuration.system import ReadStream, SystemConfig
from dtqatten.golden.memory import layer_reads
from dtqatten.hw.memory.fetcher import Fetcher
from dtqatten.interface.descriptor import Flag
from dtqatten.interface.registers import ErrorCode
from dtqatten.sim.engines.native import collect, run
from dtqatten.sim.lockstep.port_memory import PortMemory
from fetched_layers import CORE, GAINS, Layer

#: As many heads as are no power of two.
SYSTEM = SystemConfig(
    core=CORE.replace(heads=5, head_pruning=True),
    bus_bits=64,
    burst_beats=4,
    buffer_bursts=2,
    address_bits=20,
)
READERS = {
    "q": lambda p: (list(p.nibbles), p.precision.value, p.last),
    "k": lambda p: (list(p.nibbles), p.precision.value, p.last),
    "v": lambda p: (list(p.nibbles), p.precision.value, p.last, p.follows),
    "queries": lambda p: (p.id, p.gain, p.narrow),
    "keys": lambda p: (p.id, p.gain, p.value_gain, p.narrow, p.last),
    "heads": lambda p: (p.multiplier, p.shift, p.causal, p.output.codes, p.output.shift),
}


def chosen(rng: np.random.Generator, data: bytearray, left: list[int]) -> Layer:
    """Return a layer that has five heads in memory, some of which are left."""
    layer = Layer(rng, data, flags=GAINS, heads=5, kv_heads=5, stored=7, four_bit=5)
    many = {"heads": len(left), "kv_heads": len(left), "stored_heads": 5, "keep_heads": 1}
    layer.fields |= many | {"flags": layer.fields["flags"] | Flag.HEADS_CHAINED}
    return layer


async def begin(ctx, dut: Fetcher, layer: Layer, left: list[int]) -> None:
    await layer.set(ctx, dut)
    ctx.set(dut.repeats, 1)
    ctx.set(dut.kept, sum(1 << head for head in left))
    ctx.set(dut.start, 1)
    await ctx.tick()
    ctx.set(dut.start, 0)


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_heads_that_are_left(stall: float) -> None:
    rng, data = np.random.default_rng(1), bytearray()
    kept = [[1, 4], [0], [4], [0, 2, 3], [0, 1, 2, 3, 4], [3, 4]]
    layers = [chosen(rng, data, left) for left in kept]
    memory = PortMemory(SYSTEM, bytes(data) + bytes(64), rng, stall)
    dut = Fetcher(SYSTEM)
    found, ports = zip(*map(memory.reads, dut.ports), strict=True)
    expected: dict[str, list] = {name: [] for name in READERS}
    for layer, left in zip(layers, kept, strict=True):
        for name, beats in layer.beats().items():
            size = len(beats) // 5
            expected[name] += [beat for h in left for beat in beats[h * size : (h + 1) * size]]
    sinks = {
        name: collect(getattr(dut, name), len(expected[name]), rng, stall, read)
        for name, read in READERS.items()
    }
    weights = sum(map(len, kept))
    _, weighed = collect(dut.weights, weights, rng, stall, lambda p: (p.multiplier, p.shift))

    async def start(ctx) -> None:
        for layer, left in zip(layers, kept, strict=True):
            await begin(ctx, dut, layer, left)
            while not ctx.get(dut.idle):
                await ctx.tick()

    run(dut, start, weighed, *(bench for _, bench in sinks.values()), background=ports)
    for name in READERS:
        assert sinks[name][0] == expected[name], name
    reads = [
        layer_reads(SYSTEM, 0, layer.fields, layer.ids, layer.four_bit, left)
        for layer, left in zip(layers, kept, strict=True)
    ]
    for stream in SYSTEM.read_streams:
        if stream is not ReadStream.DESCRIPTOR:
            assert found[stream] == [burst for one in reads for burst in one[stream]], stream


@pytest.mark.parametrize(
    ("name", "head", "code"),
    [
        *((name, 4, ErrorCode.GAIN) for name in ("q_gains", "k_gains", "v_gains")),
        *((name, 1, ErrorCode.GAIN) for name in ("q_gains", "k_gains", "v_gains")),
        # Of pruned heads none is read.
        *((name, 2, ErrorCode.NONE) for name in ("q_gains", "k_gains", "v_gains")),
    ],
)
def test_a_gain_of_zero_is_told_with_its_place(name: str, head: int, code: ErrorCode) -> None:
    rng, data = np.random.default_rng(2), bytearray()
    layer, left = chosen(rng, data, [1, 4]), [1, 4]
    place = layer.fields[name] + 7 * head + 3
    data[place] = 0
    memory = PortMemory(SYSTEM, bytes(data) + bytes(64), rng)
    dut = Fetcher(SYSTEM)
    ports = [memory.reads(port)[1] for port in dut.ports]

    async def testbench(ctx) -> None:
        for sink in ("q", "k", "v", "queries", "keys", "heads", "weights"):
            ctx.set(getattr(dut, sink).ready, 1)
        await begin(ctx, dut, layer, left)
        while not ctx.get(dut.idle):
            await ctx.tick()
        await ctx.tick()
        assert ctx.get(dut.fault) == code
        if code:
            assert ctx.get(dut.fault_address) == place

    run(dut, testbench, background=ports)
