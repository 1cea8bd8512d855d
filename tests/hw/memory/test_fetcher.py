"""All that a layer reads, as streams for the core: every beat, and every burst, of a chain."""

import numpy as np
import pytest

from dtqatten.configuration.system import ReadStream
from dtqatten.golden.memory import layer_reads
from dtqatten.hw.memory.fetcher import Fetcher
from dtqatten.interface.descriptor import Flag
from dtqatten.interface.registers import ErrorCode
from dtqatten.sim.engines.native import collect, offer, run, watch
from dtqatten.sim.lockstep.port_memory import PortMemory
from fetched_layers import CORE, GAINS, STREAMS, SYSTEM, chain

READERS = {
    "q": lambda p: (list(p.nibbles), p.precision.value, p.last),
    "k": lambda p: (list(p.nibbles), p.precision.value, p.last),
    "v": lambda p: (list(p.nibbles), p.precision.value, p.last, p.follows),
    "queries": lambda p: (p.id, p.gain, p.narrow),
    "keys": lambda p: (p.id, p.gain, p.value_gain, p.narrow, p.last),
    "heads": lambda p: (p.multiplier, p.shift, p.causal, p.output.codes, p.output.shift),
}


#: What comes from where, in every combination that there is.
SHAPES = [
    (GAINS | Flag.CAUSAL, 4, 2, "all", "keys"),
    (GAINS | Flag.FOLLOWS, 3, 1, "chained", "keys"),
    (Flag.V_GAINS | Flag.CODES | Flag.FOLLOWS | Flag.FOLLOWS_QUERY, 2, 2, "chained", "keys"),
    (Flag.FOLLOWS_QUERY, 1, 1, "all", "keys"),
    (Flag.Q_GAINS | Flag.FOLLOWS, 2, 2, "all", "all"),
    (GAINS | Flag.FOLLOWS_QUERY, 4, 2, "all", "list"),
    (GAINS | Flag.CAUSAL, 2, 1, "list", "all"),
    (GAINS, 2, 2, "chained", "all"),
    (Flag.K_GAINS, 2, 1, "list", "list"),
    (GAINS, 1, 1, "chained", "keys"),
    (Flag(0), 1, 1, "chained", "list"),
]


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_a_chain_of_layers(stall: float) -> None:
    rng = np.random.default_rng(4)
    data = bytearray()
    layers, kept = chain(rng, SHAPES, data)
    memory = PortMemory(SYSTEM, bytes(data) + bytes(64), rng, stall)
    dut = Fetcher(SYSTEM)
    found, ports = zip(*map(memory.reads, dut.ports), strict=True)
    per_layer = [layer.beats() for layer in layers]
    expected = {name: [b for one in per_layer for b in one[name]] for name in STREAMS}
    sinks = {
        name: collect(getattr(dut, name), len(expected[name]), rng, stall, READERS[name])
        for name in STREAMS
    }

    async def start(ctx) -> None:
        for layer, ids in zip(layers, kept, strict=True):
            assert ctx.get(dut.idle)
            await layer.set(ctx, dut)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            assert not ctx.get(dut.idle)
            assert not ctx.get(dut.ids_complete)
            # The core keeps none before it has keys.
            while not ctx.get(dut.keys.valid):
                await ctx.tick()
            await offer(dut.ids, ids, rng, stall)(ctx)
            while not (ctx.get(dut.idle) and ctx.get(dut.ids_complete)):
                await ctx.tick()

    run(dut, start, *(bench for _, bench in sinks.values()), background=ports)
    for name in STREAMS:
        assert sinks[name][0] == expected[name], name
    reads = [layer_reads(SYSTEM, 0, layer.fields, layer.ids, layer.four_bit) for layer in layers]
    for stream in SYSTEM.read_streams:
        if stream is ReadStream.DESCRIPTOR:
            assert not found[stream]
        else:
            assert found[stream] == [burst for one in reads for burst in one[stream]], stream


@pytest.mark.parametrize(
    ("name", "at", "value", "code"),
    [
        ("q_gains", 0, 0, ErrorCode.GAIN),
        ("q_gains", CORE.n_max + 3, 0, ErrorCode.GAIN),
        ("k_gains", CORE.n_max - 1, 0, ErrorCode.GAIN),
        ("v_gains", 2 * CORE.n_max - 1, 0, ErrorCode.GAIN),
        ("head_table", 2, 41, ErrorCode.HEAD_TABLE),
        ("head_table", 10, 64, ErrorCode.HEAD_TABLE),
        ("head_table", 11, 1, ErrorCode.HEAD_TABLE),
        *(("head_table", at, 1 << at % 8, ErrorCode.HEAD_TABLE) for at in range(3, 8)),
        ("head_table", 31, 0x80, ErrorCode.HEAD_TABLE),
        ("head_table", 26, 40, ErrorCode.NONE),
        ("k_gains", 1, 1, ErrorCode.NONE),
    ],
)
def test_what_may_not_be_is_told_with_its_place(
    name: str, at: int, value: int, code: ErrorCode
) -> None:
    rng = np.random.default_rng(1)
    data = bytearray()
    (layer,), _ = chain(rng, [(GAINS, 4, 2, "all", "keys")], data)
    data[layer.fields[name] + at] = value
    memory = PortMemory(SYSTEM, bytes(data) + bytes(64), rng)
    dut = Fetcher(SYSTEM)
    ports = [memory.reads(port)[1] for port in dut.ports]

    async def testbench(ctx) -> None:
        await layer.set(ctx, dut)
        for stream in STREAMS:
            ctx.set(getattr(dut, stream).ready, 1)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        while not ctx.get(dut.idle):
            await ctx.tick()
        await ctx.tick()
        assert ctx.get(dut.fault) == code
        if code:
            entry = at // 8 * 8 if name == "head_table" else at
            assert ctx.get(dut.fault_address) == layer.fields[name] + entry

    run(dut, testbench, background=ports)


def test_a_stream_that_is_not_taken_holds_up_no_other() -> None:
    rng = np.random.default_rng(0)
    data = bytearray()
    layers, kept = chain(rng, [(GAINS, 1, 1, "all", "keys")] * len(STREAMS), data)
    memory = PortMemory(SYSTEM, bytes(data) + bytes(64), rng)
    dut = Fetcher(SYSTEM)
    ports = [memory.reads(port)[1] for port in dut.ports]
    passed, monitors = zip(
        *(watch(getattr(dut, name), READERS[name]) for name in STREAMS), strict=True
    )
    logs = dict(zip(STREAMS, passed, strict=True))

    async def testbench(ctx) -> None:
        for held, layer, ids in zip(STREAMS, layers, kept, strict=True):
            expected = layer.beats()
            for log in passed:
                log.clear()
            await layer.set(ctx, dut)
            for name in STREAMS:
                ctx.set(getattr(dut, name).ready, int(name != held))
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            await offer(dut.ids, ids, rng)(ctx)
            for _ in range(110):
                await ctx.tick()
                assert not ctx.get(dut.idle)
            for name in STREAMS:
                assert len(logs[name]) == (0 if name == held else len(expected[name])), name
            ctx.set(getattr(dut, held).ready, 1)
            while not ctx.get(dut.idle):
                await ctx.tick()
            await ctx.tick()
            for name in STREAMS:
                assert [beat for _, beat in logs[name]] == expected[name], (held, name)

    run(dut, testbench, background=[*ports, *monitors])


def test_latency() -> None:
    rng = np.random.default_rng(0)
    data = bytearray()
    (layer,), _ = chain(rng, [(Flag(0), 2, 2, "all", "keys")], data)
    memory = PortMemory(SYSTEM, bytes(data) + bytes(64), rng)
    dut = Fetcher(SYSTEM)
    ports = [memory.reads(port)[1] for port in dut.ports]
    passed, monitors = zip(*(watch(getattr(dut, name)) for name in STREAMS), strict=True)

    async def testbench(ctx) -> None:
        await layer.set(ctx, dut)
        for name in STREAMS:
            ctx.set(getattr(dut, name).ready, 1)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        while not ctx.get(dut.idle):
            await ctx.tick()

    run(dut, testbench, background=[*ports, *monitors])
    first = {name: log[0][0] for name, log in zip(STREAMS, passed, strict=True)}
    # The memory answers in the cycle after a request.
    assert first["heads"] == 8 + 1
    assert first["queries"] == first["keys"] == 1 + 3
    # All of a head's keys are one run. Of queries a run of a burst's tokens, 8 here, and the one
    # behind it, or less, as row blocks take turns.
    assert first["k"] == first["v"] == 1 + 3 + 6 + 1
    assert first["q"] <= 1 + 2 + (8 + 1 + 1) + 6 + 1
