"""Heads come as their table has them, with mask and output of the layer; or are refused."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.memory import bursts, head_table_bytes
from dtqatten.golden.numerics.softmax import Multiplier
from dtqatten.hw.memory.head_table import HeadTable
from dtqatten.hw.payloads.softmax import NO_SINK
from dtqatten.interface.descriptor import Flag, pack
from dtqatten.sim.engines.native import collect, run
from dtqatten.sim.lockstep.port_memory import PortMemory

CORE = Config(rows=2, cols=2, depth=2, d_head=8, n_max=24, capacity=100, heads=9)
BASE = 4096 - 16  # across a page


def system(core: Config, bits: int = 64) -> SystemConfig:
    return SystemConfig(core=core, bus_bits=bits, burst_beats=4, buffer_bursts=2, address_bits=20)


def descriptor(flags: Flag | int, heads: int, **fields: int) -> int:
    given = {"flags": int(flags), "heads": heads, "head_table": BASE} | fields
    return int.from_bytes(pack(given), "little")


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("bits", [64, 256])
@pytest.mark.parametrize("options", [{}, {"windows": True}, {"windows": True, "sinks": True}])
def test_layer_after_layer(options: dict, bits: int, stall: float) -> None:
    core, rng = CORE.replace(**options), np.random.default_rng(bits)
    config = system(core, bits)
    memory = PortMemory(config, bytes(8192), rng, stall)
    dut = HeadTable(config)
    found, port = memory.reads(dut.port)
    layers = [
        # heads, flags, window, what the core sees of it
        (1, Flag.CAUSAL, 0, 0),
        (9, Flag.CODES | Flag.SINKS, 0, 0),
        (2, Flag.WINDOW, 1, 1),
        (3, Flag.WINDOW | Flag.SINKS | Flag.CAUSAL, 100, 100),
        (2, Flag.WINDOW, 101, 0),
        (4, Flag.WINDOW, 65536, 0),
    ]
    expected, wanted = [], []

    def read(p) -> tuple:
        return (
            p.multiplier, p.shift, p.causal, p.output.codes, p.output.shift,
            p.window if core.windows else None, p.sink if core.sinks else None,
        )  # fmt: skip

    tables = []
    for heads, flags, _, shown in layers:
        factors = rng.integers(0, 1 << 16, heads), rng.integers(0, 41, heads)
        sinks = rng.integers(-(1 << 15), 1 << 15, heads) if flags & Flag.SINKS else None
        tables.append(head_table_bytes(*factors, sinks))
        wanted += bursts(config, BASE, 8 * heads)
        for head in range(heads):
            expected.append((
                int(factors[0][head]), int(factors[1][head]), int(bool(flags & Flag.CAUSAL)),
                int(bool(flags & Flag.CODES)), 5, shown if core.windows else None,
                (NO_SINK if sinks is None else int(sinks[head])) if core.sinks else None,
            ))  # fmt: skip
    taken, sink = collect(dut.o, len(expected), rng, stall, read)

    async def testbench(ctx) -> None:
        for (heads, flags, window, _), table in zip(layers, tables, strict=True):
            assert ctx.get(dut.idle)
            memory.data[BASE : BASE + len(table)] = table
            raw = descriptor(flags, heads, window=window, output_shift=5)
            ctx.set(dut.layer.as_value(), raw)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            while not ctx.get(dut.idle):
                assert not ctx.get(dut.fault)
                await ctx.tick()

    run(dut, testbench, sink, background=[port])
    assert taken == expected
    assert found == wanted


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_weights_of_the_heads_that_are_left(stall: float) -> None:
    """All entries are read; factors and weights of pruned heads are dropped."""
    core, rng = CORE.replace(head_pruning=True), np.random.default_rng(2)
    config = system(core)
    memory = PortMemory(config, bytes(8192), rng, stall)
    dut = HeadTable(config)
    found, port = memory.reads(dut.port)
    layers = [(7, None), (9, [1, 4, 8]), (9, [4]), (1, None)]
    factors, given, wanted, tables = [], [], [], []
    for stored, left in layers:
        factor = rng.integers(0, 1 << 16, stored), rng.integers(0, 41, stored)
        weight = Multiplier(rng.integers(0, 1 << 16, stored), rng.integers(0, 41, stored))
        tables.append(head_table_bytes(*factor, None, weight))
        wanted += bursts(config, BASE, 8 * stored)
        for head in range(stored) if left is None else left:
            factors.append((int(factor[0][head]), int(factor[1][head])))
            given.append((int(weight.m[head]), int(weight.shift[head])))
    taken, sink = collect(dut.o, len(factors), rng, stall, lambda p: (p.multiplier, p.shift))
    weighed, other = collect(dut.weights, len(given), rng, stall, lambda p: (p.multiplier, p.shift))

    async def testbench(ctx) -> None:
        for (stored, left), table in zip(layers, tables, strict=True):
            memory.data[BASE : BASE + len(table)] = table
            fields = {"keep_heads": 1}
            flags, heads, kept = Flag(0), stored, ~0
            if left is not None:
                flags, heads, kept = Flag.HEADS_CHAINED, len(left), sum(1 << i for i in left)
                fields |= {"stored_heads": stored}
            ctx.set(dut.layer.as_value(), descriptor(flags, heads, **fields))
            ctx.set(dut.kept, kept & 0x1FF)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            while not ctx.get(dut.idle):
                assert not ctx.get(dut.fault)
                await ctx.tick()

    run(dut, testbench, sink, other, background=[port])
    assert taken == factors
    assert weighed == given
    assert found == wanted


def faults_of(core: Config, at: int, layer: int, kept: int | None = None) -> list[int]:
    """Return where a table is refused whose second entry has 41 in one byte, all others 0."""
    config = system(core)
    memory = PortMemory(config, bytes(8192), np.random.default_rng(0))
    memory.data[BASE + 8 + at] = 41
    dut = HeadTable(config)
    _, port = memory.reads(dut.port)
    faults = []

    async def testbench(ctx) -> None:
        ctx.set(dut.layer.as_value(), layer)
        ctx.set(dut.o.ready, 1)
        if kept is not None:
            ctx.set(dut.kept, kept)
            ctx.set(dut.weights.ready, 1)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        while not ctx.get(dut.idle):
            if ctx.get(dut.fault):
                faults.append(ctx.get(dut.fault_address))
            await ctx.tick()

    run(dut, testbench, background=[port])
    return faults


@pytest.mark.parametrize("keep", [0, 2])
@pytest.mark.parametrize("at", [3, 6, 7])
def test_weights_come_with_ranked_heads_only(at: int, keep: int) -> None:
    """Bytes are 0 where heads are not ranked; a shift is at most 40, of pruned heads, too."""
    layer = descriptor(Flag.HEADS_CHAINED, 2, keep_heads=keep, stored_heads=3)
    faults = faults_of(CORE.replace(head_pruning=True), at, layer, kept=0b101)
    assert faults == ([] if keep and at > 3 else [BASE + 8])


@pytest.mark.parametrize("sinks", [False, True])
@pytest.mark.parametrize("at", range(2, 8))
def test_reserved_bytes_are_zero(at: int, sinks: bool) -> None:
    """Those of the sink, too, unless the layer has sinks; a shift is at most 40."""
    layer = descriptor(Flag.SINKS if sinks else 0, 3)
    faults = faults_of(CORE.replace(sinks=True), at, layer)
    assert faults == ([] if sinks and at in (4, 5) else [BASE + 8])
