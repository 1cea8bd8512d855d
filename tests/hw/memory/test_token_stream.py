"""Tokens with their positions and gains, head by head."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.memory import bursts
from dtqatten.golden.numerics.order import aligned, alternate
from dtqatten.hw.memory.token_stream import GainTable, TokenStream
from dtqatten.sim.engines.native import collect, run, watch
from dtqatten.sim.lockstep.port_memory import PortMemory

CORE = Config(rows=2, cols=2, depth=2, d_head=8, n_max=24)
SYSTEM = SystemConfig(core=CORE, bus_bits=64, burst_beats=4, buffer_bursts=2, address_bits=20)
DATA = np.random.default_rng(0).bytes(1 << 13)


def gain_of(plan: dict, head: int, token: int) -> int:
    """Return the gain of a token for a query head."""
    if not plan["present"]:
        return 256
    return DATA[plan["base"] + head // plan["repeats"] * plan["stored"] + token]


def reads_of(plan: dict, heads: int) -> list:
    """Return the bursts that read the gains: those of a head each time that it is needed."""
    found = []
    for head in range(heads if plan["present"] else 0):
        at = plan["base"] + head // plan["repeats"] * plan["stored"]
        found += bursts(SYSTEM, at, plan["stored"])
    return found


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_gain_table(stall: float) -> None:
    rng = np.random.default_rng(1)
    dut = GainTable(SYSTEM)
    memory = PortMemory(SYSTEM, DATA, rng, stall)
    found, port = memory.reads(dut.port)
    layers = [(1, 24, 1, 2), (1, 1, 1, 3), (1, 24, 3, 6), (0, 24, 1, 2), (1, 17, 2, 4)]
    wanted = []

    async def testbench(ctx) -> None:
        for number, (present, stored, repeats, heads) in enumerate(layers):
            # The second table crosses a page.
            plan = {"present": present, "base": (64, 4095, 4090)[number % 3], "stored": stored}
            plan["repeats"] = repeats
            wanted.extend(reads_of(plan, heads))
            ctx.set(dut.plan, plan)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for head in range(heads):
                ctx.set(dut.load, 1)
                await ctx.tick()
                ctx.set(dut.load, 0)
                assert ctx.get(dut.loading) == present
                cycles = 0
                while ctx.get(dut.loading):
                    await ctx.tick()
                    cycles += 1
                if present and not stall:
                    # The memory answers in the cycle after a request.
                    assert cycles == stored + 4 + 1
                for token in (0, stored - 1, *rng.integers(0, stored, 5).tolist()):
                    ctx.set(dut.id, token)
                    await ctx.tick()
                    assert ctx.get(dut.gain) == gain_of(plan, head, token)

    run(dut, testbench, background=[port])
    assert found == wanted


def stream_layer(dut, layer: dict, table: list[tuple[int, int]], expected: list):
    """Return a testbench that starts a layer and answers for its token table until it is idle.

    ``table`` has the row and the position of each slot.
    """

    async def testbench(ctx) -> None:
        assert ctx.get(dut.idle)
        ctx.set(dut.heads, layer["heads"])
        ctx.set(dut.tokens, len(table))
        ctx.set(dut.four_bit, layer["four_bit"])
        for plan, wanted in zip(dut.plans, layer["plans"], strict=True):
            ctx.set(plan, wanted)
        ctx.set(dut.start, 1)
        first = True
        while first or not ctx.get(dut.idle):
            *_, slot = await ctx.tick().sample(dut.slot)
            first = False
            ctx.set(dut.start, 0)
            # One cycle after the slot, as the table's memory.
            if slot < len(table):
                ctx.set(dut.token, {"id": table[slot][0], "position": table[slot][1]})

    slots = range(len(table))
    if len(layer["plans"]) == 1:
        slots = alternate(layer["four_bit"], len(table), CORE.rows).tolist()
    for head in range(layer["heads"]):
        for number, slot in enumerate(slots):
            token, position = table[slot]
            gains = [gain_of(plan, head, token) for plan in layer["plans"]]
            expected.append((position, gains, slot, int(number == len(table) - 1)))
    return testbench


def read(item) -> tuple:
    return item.position, list(item.gains), item.slot, item.last


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("tables", [1, 2])
def test_layer_after_layer(tables: int, stall: float) -> None:
    rng = np.random.default_rng(tables)
    dut = TokenStream(SYSTEM, tables)
    memory = PortMemory(SYSTEM, DATA, rng, stall)
    found, ports = zip(*map(memory.reads, dut.ports), strict=True)
    benches, expected = [], []
    wanted = [[] for _ in range(tables)]
    # One token, all tokens; then any.
    for stored, tokens, heads in [(24, 1, 2), (24, 24, 2), (1, 1, 1)] + [(0, 0, 0)] * 6:
        stored = stored or int(rng.integers(1, 25))
        tokens = tokens or int(rng.integers(1, stored + 1))
        heads = heads or int(rng.integers(1, 5))
        repeats = int(rng.choice([r for r in range(1, heads + 1) if heads % r == 0]))
        positions = rng.integers(0, 24, tokens).tolist()
        table = list(zip(rng.permutation(stored)[:tokens].tolist(), positions, strict=True))
        plans = [
            {"present": int(rng.random() < 0.7), "base": int(rng.integers(0, 7000)),
             "stored": stored, "repeats": repeats}
            for _ in range(tables)
        ]  # fmt: skip
        for reads, plan in zip(wanted, plans, strict=True):
            reads += reads_of(plan, heads)
        four_bit = aligned(int(rng.integers(0, tokens + 1)), tokens, CORE.rows)
        layer = {"heads": heads, "plans": plans, "four_bit": four_bit}
        benches.append(stream_layer(dut, layer, table, expected))
    taken, sink = collect(dut.o, len(expected), rng, stall, read)

    async def layers(ctx) -> None:
        for bench in benches:
            await bench(ctx)

    run(dut, layers, sink, background=ports)
    assert taken == expected
    assert list(found) == wanted


def test_a_token_every_third_cycle() -> None:
    dut = TokenStream(SYSTEM, 1)
    table = [(i, i) for i in range(10)]
    expected: list = []
    plan = {"present": 0, "base": 0, "stored": 10, "repeats": 1}
    bench = stream_layer(dut, {"heads": 3, "plans": [plan], "four_bit": 4}, table, expected)
    taken, sink = collect(dut.o, len(expected), np.random.default_rng(0), 0.0, read)
    passed, monitor = watch(dut.o)
    run(dut, bench, sink, background=[monitor])
    assert taken == expected
    cycles = [cycle for cycle, _ in passed]
    # Two cycles before each head.
    assert np.diff(cycles).tolist() == ([3] * 9 + [5]) * 2 + [3] * 9
    assert cycles[0] == 5
