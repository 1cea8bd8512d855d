"""Runs of keys become runs of bytes of a plane, head by head."""

import numpy as np
import pytest
from amaranth.hdl import Module

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.memory import runs
from dtqatten.hw.memory.run_walker import RunWalker
from dtqatten.sim.engines.native import collect, run, watch
from dtqatten.sim.lockstep.row_table import grant_runs

CORE = Config(rows=2, cols=2, depth=2, d_head=16, n_max=24, capacity=60, merge_rows=4)
SYSTEM = SystemConfig(core=CORE, address_bits=20, bus_bits=64, burst_beats=4)
SIZE = SYSTEM.plane_bytes

#: Places of a layer's tokens, 4-bit class first; the second boundary is inside a run.
ALONE, ALL, SCATTERED, JOINED = [5], list(range(24)), [0, 2, 3, 9, 1, 4, 5, 23], [7, 8, 9, 10, 2]
FAR = [0, 24, 58, 59, 23]


def wanted(plane: str, plan: dict, ids: list[int]) -> list[tuple[int, int, int]]:
    """Return address, size and head of each run."""
    places = ids if plan["listed"] else [plan["first"] + i for i in range(plan["tokens"])]
    if plane == "low":
        places = places[plan["four_bit"] :]
    vector, planes = (1, 1) if plane == "gains" else (SIZE, 2)
    return [
        (plan["base"] + at * plan["capacity"] * vector + first * vector, tokens * vector, head)
        for head in range(plan["heads"])
        for at in [planes * head + (plane == "low")]
        for first, tokens in runs(places)
    ]


def plan_of(ids: list[int], four_bit: int, *, listed: int, heads: int, first: int = 0) -> dict:
    return {"base": 0x1FC0, "heads": heads, "repeats": 1, "listed": listed, "capacity": 60,
            "tokens": len(ids), "four_bit": four_bit, "first": first}  # fmt: skip


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("plane", ["high", "low", "gains"])
def test_layer_after_layer(plane: str, stall: float) -> None:
    rng = np.random.default_rng(7)
    dut = RunWalker(SYSTEM, plane)
    layers = [
        (plan_of(ids, four_bit, listed=listed, heads=heads, first=0 if listed else 11), ids)
        for ids in (ALONE, ALL, SCATTERED, JOINED, FAR)
        for four_bit in sorted({0, 1, min(3, len(ids)), len(ids)})
        for listed in (1, 0)
        for heads in (1, 3)
    ]
    expected = [one for plan, ids in layers for one in wanted(plane, plan, ids)]
    taken, sink = collect(dut.o, len(expected), rng, stall, lambda p: (p.address, p.size))
    table: list[int] = [0]
    heads: list[int] = []

    async def start(ctx) -> None:
        if plane == "low":
            ctx.set(dut.high.idle, 1)
        for plan, ids in layers:
            table[:] = ids
            ctx.set(dut.plan, plan)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            left = len(wanted(plane, plan, ids))
            assert ctx.get(dut.idle) == (left == 0)
            while left:
                *_, valid, ready, asked = await ctx.tick().sample(
                    dut.o.valid, dut.o.ready, dut.asked
                )
                assert plan["listed"] or not asked
                if valid and ready:
                    left -= 1
                    heads.append(ctx.get(dut.head))
                assert ctx.get(dut.idle) == (left == 0)
                assert ctx.get(dut.busy) or left == 0
            # While the bursts of the last run are not out.
            for _ in range(4):
                *_, waiting = await ctx.tick().sample(dut.waiting)
                assert ctx.get(dut.busy) == waiting
                assert not ctx.get(dut.o.valid)
                assert not ctx.get(dut.asked)

    async def wait(ctx) -> None:
        """Bursts of each run wait for a while; the head does not change before they are out."""
        head = 0
        async for *_, valid, ready, waits, now, begun in ctx.tick().sample(
            dut.o.valid, dut.o.ready, dut.waiting, dut.head, dut.start
        ):
            assert now == head or not waits or begun
            head = ctx.get(dut.head)
            ctx.set(dut.waiting, valid & ready | (waits & int(rng.random() < stall)))

    background = [grant_runs(dut, table, rng, stall), wait]
    run(dut, start, sink, background=background, deadline=40_000)
    assert [(*one, head) for one, head in zip(taken, heads, strict=True)] == expected


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("listed", [0, 1])
def test_low_planes_of_a_trial_are_those_of_flat_heads(listed: int, stall: float) -> None:
    """Of all tokens, whatever their class; each head waits for its verdict, which it takes."""
    rng = np.random.default_rng(11)
    core = CORE.replace(merge_rows=0, progressive=True)
    dut = RunWalker(SystemConfig(core=core, address_bits=20, bus_bits=64), "low", True)
    ids = SCATTERED if listed else list(range(9))
    layers = [(1, [1, 0, 0, 1, 1, 0]), (1, [0]), (0, [0, 0]), (1, [0, 0, 0]), (1, [1])]
    expected: list[tuple[int, int]] = []
    for trial, flat in layers:
        plan = plan_of(ids, 0, listed=listed, heads=len(flat))
        found = wanted("low", plan | {"four_bit": 0 if trial else 3}, ids)
        expected += [(at, size) for at, size, head in found if flat[head] or not trial]
    taken, sink = collect(dut.o, len(expected), rng, stall, lambda p: (p.address, p.size))
    told: list[int] = []

    async def start(ctx) -> None:
        ctx.set(dut.high.idle, 1)
        for trial, flat in layers:
            plan = plan_of(ids, 0 if trial else 3, listed=listed, heads=len(flat))
            del plan["first"]
            ctx.set(dut.plan, plan | {"trial": trial})
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            for one in flat if trial else ():
                # Nothing comes before the verdict.
                for _ in range(int(rng.integers(20))):
                    assert not ctx.get(dut.o.valid) or told.count(0) < len(told)
                    await ctx.tick()
                ctx.set(dut.verdicts.p.flat, one)
                ctx.set(dut.verdicts.valid, 1)
                await ctx.tick().until(dut.verdicts.ready)
                ctx.set(dut.verdicts.valid, 0)
                told.append(one)
            while not ctx.get(dut.idle):
                await ctx.tick()

    run(dut, start, sink, background=[grant_runs(dut, ids, rng, stall)], deadline=20_000)
    assert taken == expected
    assert told == [one for trial, flat in layers if trial for one in flat]


@pytest.mark.parametrize("listed", [0, 1])
def test_a_head_begins_when_no_burst_of_the_one_before_waits(listed: int) -> None:
    dut = RunWalker(SYSTEM, "high")
    plan = plan_of(list(range(4)), 4, listed=listed, heads=2)
    rng = np.random.default_rng(0)

    async def bench(ctx) -> None:
        ctx.set(dut.plan, plan)
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        while not ctx.get(dut.o.valid):
            await ctx.tick()
        await ctx.tick()
        ctx.set(dut.waiting, 1)
        for _ in range(20):
            await ctx.tick()
            assert not ctx.get(dut.o.valid)
            assert ctx.get(dut.head) == 0
        ctx.set(dut.waiting, 0)
        await ctx.tick()
        assert ctx.get(dut.o.valid)
        assert ctx.get(dut.head) == 1

    run(dut, bench, background=[grant_runs(dut, list(range(4)), rng)], deadline=100)


@pytest.mark.parametrize(
    ("plane", "listed", "first"),
    [("high", 0, 3), ("high", 1, 5), ("low", 0, 3), ("low", 1, 5 + 3 * 3)],
)
def test_a_run_a_cycle(plane: str, listed: int, first: int) -> None:
    """The low plane looks at three runs of the table to find its first one."""
    dut = RunWalker(SYSTEM, plane)
    ids = list(range(0, 24, 2))
    plan = plan_of(ids, 2, listed=listed, heads=3)
    expected = wanted(plane, plan, ids)
    rng = np.random.default_rng(0)
    passed, monitor = watch(dut.o)
    _, sink = collect(dut.o, len(expected), rng, 0.0)

    async def start(ctx) -> None:
        if plane == "low":
            ctx.set(dut.high.idle, 1)
        ctx.set(dut.plan, plan)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)

    run(dut, start, sink, background=[monitor, grant_runs(dut, ids, rng)])
    # Between heads, a cycle in which it is seen that nothing waits.
    assert [cycle - head for (cycle, _), (*_, head) in zip(passed, expected, strict=True)] == list(
        range(first, first + len(expected))
    )


@pytest.mark.parametrize("listed", [0, 1])
def test_the_low_plane_waits_for_the_high_one(listed: int) -> None:
    """As often as the high plane stops: no run comes before its head and first slot are given."""
    rng = np.random.default_rng(listed)
    high, low = (RunWalker(SYSTEM, plane) for plane in ("high", "low"))
    ids = [0, 2, 3, 9, 10, 20, 22, 24]
    plan = plan_of(ids, 3, listed=listed, heads=3)
    expected = {plane: wanted(plane, plan, ids) for plane in ("high", "low")}
    pair = Module()
    pair.submodules += [high, low]
    pair.d.comb += [
        low.high.turn.eq(high.turn),
        low.high.wide.eq(high.wide),
        low.high.idle.eq(high.idle),
    ]
    order: list[tuple[str, int]] = []

    async def testbench(ctx) -> None:
        for walker in (high, low):
            ctx.set(walker.plan, plan)
            ctx.set(walker.start, 1)
        await ctx.tick()
        for walker in (high, low):
            ctx.set(walker.start, 0)
        ctx.set(low.o.ready, 1)
        while not (ctx.get(high.idle) and ctx.get(low.idle)):
            ctx.set(high.o.ready, int(rng.random() < 0.1))
            for plane, walker in (("high", high), ("low", low)):
                if ctx.get(walker.o.valid) and ctx.get(walker.o.ready):
                    order.append((plane, ctx.get(walker.o.p.address)))
            await ctx.tick()

    benches = [grant_runs(walker, ids, rng) for walker in (high, low)]
    run(pair, testbench, background=benches, deadline=5_000)
    given = {"high": 0, "low": 0}
    for plane, address in order:
        at = expected[plane][given[plane]]
        assert address == at[0]
        if plane == "low":
            # Tokens of the high plane's runs so far, in the same head.
            before = expected["high"][: given["high"]]
            slots = sum(size // SIZE for _, size, head in before if head == at[2])
            assert slots > 3
        given[plane] += 1
    assert given == {plane: len(all_of) for plane, all_of in expected.items()}
