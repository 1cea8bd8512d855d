"""Tokens with their positions and gains, head by head."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.memory import bursts, runs
from dtqatten.golden.numerics.order import aligned, alternate
from dtqatten.hw.memory.gain_table import GainTable
from dtqatten.hw.memory.token_stream import TokenStream
from dtqatten.sim.engines.native import collect, run, watch
from dtqatten.sim.lockstep.port_memory import PortMemory
from dtqatten.sim.lockstep.row_table import grant_rows, grant_runs

CORE = Config(rows=2, cols=2, depth=2, d_head=8, n_max=24, capacity=60)
SYSTEM = SystemConfig(core=CORE, bus_bits=64, burst_beats=4, buffer_bursts=2, address_bits=20)
#: Gains, one of 50 of them 0.
DATA = bytes(0 if i % 50 == 0 else 1 + value % 255 for i, value in enumerate(
    np.random.default_rng(0).bytes(1 << 13)))  # fmt: skip


def gain_of(plan: dict, head: int, token: int) -> int:
    """Return the gain of a token for a query head."""
    if not plan["present"]:
        return 256
    return DATA[plan["base"] + head // plan["repeats"] * plan["capacity"] + token]


def reads_of(plan: dict, places: list[int]) -> list:
    """Return the bursts that read the gains of the tokens: each head's once."""
    return [
        burst
        for head in range(plan["heads"] if plan["present"] else 0)
        for first, count in runs(places)
        for burst in bursts(SYSTEM, plan["base"] + head * plan["capacity"] + first, count)
    ]


def fields(plan: dict) -> dict:
    return {name: value for name, value in plan.items() if name != "present"}


@pytest.mark.parametrize(
    ("by_run", "has_sign"), [(False, False), (True, False), (False, True), (True, True)]
)
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_gain_table(stall: float, by_run: bool, has_sign: bool) -> None:
    rng = np.random.default_rng(1)
    dut = GainTable(SYSTEM, by_run, has_sign)
    memory = PortMemory(SYSTEM, DATA, rng, stall)
    found, port = memory.reads(dut.port)
    # present, listed, tokens, repeats, heads of K or V
    layers = [(1, 0, 24, 1, 2), (1, 1, 24, 3, 2), (1, 1, 1, 1, 3), (0, 0, 24, 1, 2)]
    layers += [(1, 0, 1, 2, 1), (1, 1, 17, 2, 2)]
    wanted = []
    table: list[int] = []

    async def testbench(ctx) -> None:
        for number, (present, listed, tokens, repeats, heads) in enumerate(layers):
            # The second table crosses a page.
            plan = {"present": present, "base": (64, 4095, 4090)[number % 3], "capacity": 60,
                    "listed": listed, "tokens": tokens, "repeats": repeats,
                    "heads": heads}  # fmt: skip
            table[:] = rng.permutation(60)[:tokens].tolist() if listed else range(tokens)
            wanted.extend(reads_of(plan, table))
            ctx.set(dut.plan, fields(plan))
            ctx.set(dut.present, present)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for head in range(heads * repeats):
                # After a long time all gains are here already.
                early = head > 0 and not stall
                if early:
                    await ctx.tick().repeat(120)
                ctx.set(dut.load, 1)
                await ctx.tick()
                ctx.set(dut.load, 0)
                assert ctx.get(dut.loading) == (present and head % repeats == 0)
                cycles = 0
                while ctx.get(dut.loading):
                    await ctx.tick()
                    cycles += 1
                # A run behind the next word's may still be on its way.
                if cycles and early and not listed:
                    assert cycles == tokens
                for slot in (0, tokens - 1, *rng.integers(0, tokens, 5).tolist()):
                    ctx.set(dut.slot, slot)
                    await ctx.tick()
                    gain = gain_of(plan, head, table[slot])
                    if has_sign and present:
                        assert ctx.get(dut.negative) == gain >> 7
                        gain = 2 * (gain & 0x7F)
                    assert ctx.get(dut.gain) == gain
                    assert ctx.get(dut.zero) == (gain == 0)
                if present:
                    at = plan["base"] + head // repeats * 60
                    assert ctx.get(dut.base) == at

    grants = (grant_runs if by_run else grant_rows)(dut, table, rng, stall)
    run(dut, testbench, background=[port, grants])
    assert found == wanted


def stream_layer(dut, layer: dict, table: list[tuple[int, int]], expected: list):
    """Return a testbench that starts a layer and answers for its token table until it is idle.

    ``table`` has the place and the position of each slot.
    """

    async def testbench(ctx) -> None:
        assert ctx.get(dut.idle)
        ctx.set(dut.heads, layer["heads"])
        ctx.set(dut.tokens, len(table))
        ctx.set(dut.four_bit, layer["four_bit"])
        for i, (plan, wanted) in enumerate(zip(dut.plans, layer["plans"], strict=True)):
            ctx.set(plan, fields(wanted))
            ctx.set(dut.present[i], wanted["present"])
        layer["places"][:] = [place for place, _ in table]
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
            zero = None
            for plan, gain in zip(layer["plans"], gains, strict=True):
                if gain == 0:
                    zero = plan["base"] + head // plan["repeats"] * plan["capacity"] + token
            expected.append((position, gains, slot, int(number == len(table) - 1), zero))
    return testbench


def read(item) -> tuple:
    return item.position, list(item.gains), item.slot, item.last


def zeros(dut) -> tuple[list, object]:
    """Return a list, and what notes in it the address of each token's gain that is 0, or None."""
    found: list = []

    async def testbench(ctx) -> None:
        while True:
            *_, valid, ready, zero, address = await ctx.tick().sample(
                dut.o.valid, dut.o.ready, dut.zero, dut.zero_address
            )
            assert valid or not zero
            if valid and ready:
                found.append(address if zero else None)

    return found, testbench


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("tables", [1, 2])
def test_layer_after_layer(tables: int, stall: float) -> None:
    rng = np.random.default_rng(tables)
    dut = TokenStream(SYSTEM, tables)
    memory = PortMemory(SYSTEM, DATA, rng, stall)
    found, ports = zip(*map(memory.reads, dut.ports), strict=True)
    benches, expected = [], []
    answered: list[int] = []
    wanted = [[] for _ in range(tables)]
    # One token, all tokens; then any.
    for listed, tokens, heads in [(1, 1, 2), (0, 24, 2), (0, 1, 1)] + [(None, 0, 0)] * 6:
        listed = int(rng.integers(2)) if listed is None else listed
        tokens = tokens or int(rng.integers(1, 25))
        heads = heads or int(rng.integers(1, 5))
        repeats = int(rng.choice([r for r in range(1, heads + 1) if heads % r == 0]))
        positions = rng.integers(0, 60, tokens).tolist()
        places = rng.permutation(60)[:tokens].tolist() if listed else list(range(tokens))
        table = list(zip(places, positions, strict=True))
        plans = [
            {"present": int(rng.random() < 0.7), "base": int(rng.integers(0, 7000)),
             "capacity": 60, "repeats": repeats, "heads": heads // repeats, "tokens": tokens,
             "listed": listed}
            for _ in range(tables)
        ]  # fmt: skip
        for reads, plan in zip(wanted, plans, strict=True):
            reads += reads_of(plan, places)
        four_bit = aligned(int(rng.integers(0, tokens + 1)), tokens, CORE.rows)
        layer = {"heads": heads, "plans": plans, "four_bit": four_bit, "places": answered}
        benches.append(stream_layer(dut, layer, table, expected))
    taken, sink = collect(dut.o, len(expected), rng, stall, read)
    faults, monitor = zeros(dut)

    async def layers(ctx) -> None:
        for bench in benches:
            await bench(ctx)

    grants = (grant_runs if tables == 2 else grant_rows)(dut, answered, rng, stall)
    run(dut, layers, sink, background=[*ports, monitor, grants])
    assert [(*item, zero) for item, zero in zip(taken, faults, strict=True)] == expected
    assert any(zero is not None for zero in faults)
    assert list(found) == wanted


def test_a_token_a_cycle() -> None:
    dut = TokenStream(SYSTEM, 1)
    table = [(i, i) for i in range(10)]
    expected: list = []
    plan = {"present": 0, "base": 0, "capacity": 10, "repeats": 1, "heads": 3, "tokens": 10}
    layer = {"heads": 3, "plans": [plan], "four_bit": 4, "places": []}
    bench = stream_layer(dut, layer, table, expected)
    taken, sink = collect(dut.o, len(expected), np.random.default_rng(0), 0.0, read)
    passed, monitor = watch(dut.o)
    run(dut, bench, sink, background=[monitor])
    assert [(*item, None) for item in taken] == expected
    cycles = [cycle for cycle, _ in passed]
    # Two cycles before each head.
    assert np.diff(cycles).tolist() == ([1] * 9 + [2]) * 2 + [1] * 9
    assert cycles[0] == 3
