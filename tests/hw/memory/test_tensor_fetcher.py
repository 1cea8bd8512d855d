"""A tensor's tokens in the planes that they need, head by head, replayed for shared heads."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.cycles.tiles import load_beats
from dtqatten.golden.memory import bursts, runs, tensor_bytes
from dtqatten.golden.numerics.codes import quantize
from dtqatten.golden.numerics.order import alternate
from dtqatten.hw.memory.tensor_fetcher import TensorFetcher
from dtqatten.sim.engines.native import collect, offer, run, watch
from dtqatten.sim.lockstep.port_memory import PortMemory
from dtqatten.sim.lockstep.row_table import grant_rows, grant_runs

CORE = Config(rows=2, cols=2, depth=2, d_head=16, n_max=12, capacity=20)
BASE = 4096 - 64  # the first head crosses a page


def beats_of(
    codes: np.ndarray, ids: list[int], slots: np.ndarray, four_bit: int, repeats: int, nibbles: int
) -> list:
    """Return the beats: each token's high plane, and the low one of slots from ``four_bit`` on."""
    rows = np.array(ids)[slots]
    return [
        ([int(v) & 15 for v in beat.nibbles], int(beat.wide), int(beat.last))
        for head in codes
        for _ in range(repeats)
        for beat in load_beats(CORE, head[rows], slots >= four_bit, nibbles)
    ]


def read(beat) -> tuple:
    return list(beat.nibbles), beat.precision.value, beat.last


LAYERS = [
    # tokens, whether those of the table, four_bit
    (list(range(12)), 0, 12),
    (list(range(12)), 1, 0),
    (list(range(7)), 0, 4),
    ([7], 1, 0),
    ([0, 19], 1, 2),
    ([3], 1, 1),
    ([0, 1, 4, 11, 2, 3, 5, 6, 9], 1, 4),
    ([0, 1, 4, 11, 2, 3, 5, 6, 9], 1, 2),
]


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize(("bits", "nibbles", "grouped"), [(64, 4, 1), (64, 16, 0), (256, 8, 1)])
def test_layer_after_layer(bits: int, nibbles: int, grouped: int, stall: float) -> None:
    system = SystemConfig(core=CORE, bus_bits=bits, burst_beats=4, buffer_bursts=2, address_bits=20)
    rng = np.random.default_rng(bits + nibbles)
    heads, stored = 3, 20
    codes = quantize(rng.normal(size=(heads, stored, CORE.d_head))).codes
    memory = PortMemory(system, rng.bytes(BASE) + tensor_bytes(codes) + bytes(64), rng, stall)
    dut = TensorFetcher(system, nibbles, grouped)
    found, ports = zip(*map(memory.reads, (dut.high, dut.low)), strict=True)
    expected, plans = [], []
    reads: list[list] = [[], []]
    for number, (ids, chained, four_bit) in enumerate(LAYERS):
        repeats = 1 + number % 3 if grouped else 1
        used = 1 + number % heads
        plan = {"base": BASE, "heads": used, "repeats": repeats, "capacity": stored}
        plan |= {"tokens": len(ids), "four_bit": four_bit, "listed": chained}
        plans.append((plan, ids))
        slots = np.arange(len(ids))
        if not grouped:
            slots = alternate(four_bit, len(ids), CORE.rows)
        expected += beats_of(codes[:used], ids, slots, four_bit, repeats, nibbles)
        size = system.plane_bytes
        for plane, rows in ((0, np.array(ids)[slots]), (1, ids[four_bit:])):
            for head in range(used):
                at = BASE + (2 * head + plane) * stored * size
                for first, count in runs(rows):
                    reads[plane] += bursts(system, at + first * size, count * size)
    taken, sink = collect(dut.o, len(expected), rng, stall, read)
    table: list[int] = []

    async def start(ctx) -> None:
        for plan, ids in plans:
            table[:] = ids
            assert ctx.get(dut.idle)
            ctx.set(dut.plan, plan)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            assert not ctx.get(dut.idle)
            while not ctx.get(dut.idle):
                await ctx.tick()

    grants = (grant_runs if grouped else grant_rows)(dut, table, rng, stall)
    run(dut, start, sink, background=[*ports, grants])
    assert taken == expected
    assert list(found) == reads


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("bits", [64, 256])
def test_keys_of_a_trial_come_twice(bits: int, stall: float) -> None:
    """High planes are read once, low ones of flat heads alone; other layers are as ever."""
    core = CORE.replace(progressive=True)
    system = SystemConfig(core=core, bus_bits=bits, burst_beats=4, buffer_bursts=2, address_bits=20)
    rng = np.random.default_rng(bits)
    heads, stored, nibbles, size = 4, 20, 8, system.plane_bytes
    codes = quantize(rng.normal(size=(heads, stored, CORE.d_head))).codes
    memory = PortMemory(system, rng.bytes(BASE) + tensor_bytes(codes) + bytes(64), rng, stall)
    dut = TensorFetcher(system, nibbles, 1, True)
    found, ports = zip(*map(memory.reads, (dut.high, dut.low)), strict=True)
    layers = [
        ([0, 1, 4, 11, 2, 3], 1, 1, [1, 0, 1, 0]),
        (list(range(7)), 0, 1, [0, 1, 1]),
        (list(range(9)), 0, 0, [0, 0]),
        ([7], 1, 1, [0, 1, 0, 0]),
    ]
    expected, verdicts = [], []
    reads: list[list] = [[], []]
    for ids, _, trial, flat in layers:
        slots = np.arange(len(ids))
        for head, wide in enumerate(flat):
            own = codes[head : head + 1]
            edges = [len(ids), 0 if wide else len(ids)] if trial else [2]
            for edge in edges:
                expected += beats_of(own, ids, slots, edge, 1, nibbles)
            if trial:
                verdicts.append({"flat": wide, "rows": wide})
            for plane, rows in ((0, ids), (1, ids[edges[-1] :])):
                at = BASE + (2 * head + plane) * stored * size
                for first, count in runs(rows):
                    reads[plane] += bursts(system, at + first * size, count * size)
    taken, sink = collect(dut.o, len(expected), rng, stall, read)
    table: list[int] = []

    async def start(ctx) -> None:
        for ids, listed, trial, flat in layers:
            table[:] = ids
            plan = {"base": BASE, "heads": len(flat), "repeats": 1 + trial, "capacity": stored}
            plan |= {"tokens": len(ids), "four_bit": 2 if len(ids) > 2 else 0, "listed": listed}
            ctx.set(dut.plan, plan | {"trial": trial})
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            while not ctx.get(dut.idle):
                await ctx.tick()

    told = offer(dut.verdicts, verdicts, rng, stall)
    run(dut, start, sink, told, background=[*ports, grant_runs(dut, table, rng, stall)])
    assert taken == expected
    assert list(found) == reads


def test_queries_of_a_trial_come_twice() -> None:
    core = CORE.replace(progressive=True)
    system = SystemConfig(core=core, bus_bits=64, burst_beats=4, address_bits=20)
    rng = np.random.default_rng(2)
    codes = quantize(rng.normal(size=(3, 12, CORE.d_head))).codes
    memory = PortMemory(system, tensor_bytes(codes) + bytes(64), rng)
    dut = TensorFetcher(system, 8, 0)
    found, ports = zip(*map(memory.reads, (dut.high, dut.low)), strict=True)
    # A head of as many rows as a row block has twice, then one of more rows once.
    expected = []
    for tokens, repeats in ((2, 2), (12, 1), (1, 2)):
        ids = list(range(tokens))
        slots = alternate(0, tokens, CORE.rows)
        expected += beats_of(codes[:, :tokens], ids, slots, 0, repeats, 8)
    taken, sink = collect(dut.o, len(expected), rng, 0.3, read)

    async def start(ctx) -> None:
        for tokens, repeats in ((2, 2), (12, 1), (1, 2)):
            plan = {"base": 0, "heads": 3, "repeats": repeats, "capacity": 12, "tokens": tokens}
            ctx.set(dut.plan, plan)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            while not ctx.get(dut.idle):
                await ctx.tick()

    grants = grant_rows(dut, list(range(12)), rng)
    run(dut, start, sink, background=[*ports, grants])
    assert taken == expected
    assert len(found[0]) < len(expected)


def test_it_runs_ahead_and_waits_for_nothing_but_the_core() -> None:
    """What the core does not take yet waits in the buffers; then a beat comes each cycle."""
    system = SystemConfig(core=CORE, bus_bits=64, burst_beats=4, buffer_bursts=4, address_bits=20)
    rng = np.random.default_rng(0)
    codes = quantize(rng.normal(size=(2, 12, CORE.d_head))).codes
    memory = PortMemory(system, tensor_bytes(codes), rng)
    dut = TensorFetcher(system, 16, 0)
    found, ports = zip(*map(memory.reads, (dut.high, dut.low)), strict=True)
    plan = {"base": 0, "heads": 2, "repeats": 1, "capacity": 12, "tokens": 12, "four_bit": 0}
    passed, monitor = watch(dut.o, read)

    async def testbench(ctx) -> None:
        ctx.set(dut.plan, plan)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        for cycle in range(60):
            if cycle < 17:
                # Start to a run of a burst's tokens and the next one, to the request 3, the memory
                # 1, to the beat 3.
                assert ctx.get(dut.o.valid) == (cycle >= 8 + 3 + 1 + 3)
            await ctx.tick()
        # Both planes as far as their buffers go, and not farther.
        assert [sum(burst.beats for burst in each) for each in found] == [16, 16]
        ctx.set(dut.o.ready, 1)
        while not ctx.get(dut.idle):
            await ctx.tick()

    run(dut, testbench, background=[*ports, monitor])
    assert [beat for _, beat in passed] == beats_of(codes, list(range(12)), np.arange(12), 0, 1, 16)
    cycles = [cycle for cycle, _ in passed]
    assert cycles == list(range(cycles[0], cycles[0] + 48))
