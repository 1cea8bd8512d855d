"""Of values whose row block chooses first, runs and slots are those of chosen groups."""

import numpy as np
import pytest
from amaranth.hdl import Module

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.memory import runs
from dtqatten.hw.memory.chosen_runs import ChosenRuns
from dtqatten.hw.memory.chosen_slots import ChosenSlots
from dtqatten.hw.memory.run_walker import RunWalker
from dtqatten.sim.engines.native import collect, offer, run
from dtqatten.sim.lockstep.row_table import grant_runs

#: Groups of two slots, and of one at the end of each tile.
CORE = Config(
    rows=2, cols=5, depth=2, d_head=16, n_max=24, capacity=60,
    skip_tiles=True, local_values=True, chosen_values=True,
)  # fmt: skip
SYSTEM = SystemConfig(core=CORE, address_bits=20, bus_bits=64, burst_beats=4)
SIZE = SYSTEM.plane_bytes
LISTS = ([5], list(range(24)), [0, 2, 3, 9, 1, 4, 5, 23], [7, 8, 9, 10, 2, 30, 31, 32, 33, 40, 41])


def groups_of(tokens: int) -> list[range]:
    """Slots of each group of a list, those of the last one cut at the list's end."""
    return [
        range(at, min(at + 2, tile + 5, tokens))
        for tile in range(0, tokens, 5)
        for at in range(tile, min(tile + 5, tokens), 2)
    ]


def choices(rng: np.random.Generator, tokens: int, heads: int) -> list[list[range]]:
    """Groups that each head chooses: one at least, sometimes all."""
    found = groups_of(tokens)
    kept = []
    for _ in range(heads):
        some = rng.random(len(found)) < rng.choice([0.2, 0.6, 1.0])
        some[rng.integers(len(found))] = True
        kept.append([group for group, keep in zip(found, some, strict=True) if keep])
    return kept


def told(chosen: list[list[range]]) -> list[dict]:
    """The stream of chosen groups; the last one of a list may be said to be longer than it is."""
    return [
        {"first": group.start, "tokens": 1 if group.start % 5 == 4 else 2, "last": group is of[-1]}
        for of in chosen
        for group in of
    ]


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_slots_are_those_of_chosen_groups(stall: float) -> None:
    rng = np.random.default_rng(1)
    dut = ChosenSlots(CORE)
    heads = [head for tokens in (1, 3, 17, 24) for head in choices(rng, tokens, 3)]
    lengths = np.repeat([1, 3, 17, 24], 3).tolist()
    got: list[tuple[int, int]] = []

    async def bench(ctx) -> None:
        for head, tokens in zip(heads, lengths, strict=True):
            ctx.set(dut.tokens, tokens)
            for slot in (slot for group in head for slot in group):
                while not ctx.get(dut.valid) or rng.random() < stall:
                    await ctx.tick()
                ctx.set(dut.next, 1)
                assert ctx.get(dut.slot) == slot
                got.append((slot, ctx.get(dut.last)))
                await ctx.tick()
                ctx.set(dut.next, 0)

    run(dut, bench, offer(dut.groups, told(heads), rng, stall), deadline=5000)
    assert [last for _, last in got] == [
        int(slot == head[-1][-1]) for head in heads for group in head for slot in group
    ]


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("listed", [0, 1])
def test_walkers_of_both_planes_give_what_is_chosen(listed: int, stall: float) -> None:
    """Layer after layer, chosen or not; a low plane comes when its high one has been given."""
    rng = np.random.default_rng(3 + listed)
    high, low = (RunWalker(SYSTEM, plane, chooses=True) for plane in ("high", "low"))
    layers = []
    for ids in LISTS:
        places = ids if listed else list(range(len(ids)))
        for four_bit in sorted({0, 1, len(ids) // 2, len(ids)}):
            for chooses in (1, 1, 0):
                layers.append((places, four_bit, chooses, choices(rng, len(ids), 3)))
    pair = Module()
    pair.submodules += [high, low]
    pair.d.comb += [
        low.high.turn.eq(high.turn), low.high.wide.eq(high.wide), low.high.idle.eq(high.idle),
    ]  # fmt: skip

    def wanted(plane: str) -> list[tuple[int, int]]:
        found = []
        for places, four_bit, chooses, chosen in layers:
            begin = four_bit if plane == "low" else 0
            for head in range(3):
                groups = chosen[head] if chooses else [range(len(places))]
                for group in groups:
                    slots = [slot for slot in group if slot >= begin]
                    base = 0x1FC0 + (2 * head + (plane == "low")) * 60 * SIZE
                    found += [
                        (base + first * SIZE, tokens * SIZE)
                        for first, tokens in runs([places[slot] for slot in slots])
                    ]
        return found

    sinks, benches, got = [], [], {}
    for plane, walker in (("high", high), ("low", low)):
        expected = wanted(plane)
        got[plane], sink = collect(
            walker.o, len(expected), rng, stall, lambda p: (p.address, p.size)
        )
        sinks.append(sink)
    table: list[int] = [0]

    async def start(ctx) -> None:
        for places, four_bit, chooses, chosen in layers:
            table[:] = places
            plan = {"base": 0x1FC0, "heads": 3, "repeats": 1, "listed": listed, "capacity": 60,
                    "tokens": len(places), "four_bit": four_bit, "chosen": chooses}  # fmt: skip
            for walker in (high, low):
                ctx.set(walker.plan, plan)
                ctx.set(walker.start, 1)
            await ctx.tick()
            for walker in (high, low):
                ctx.set(walker.start, 0)
            for group in told(chosen) if chooses else ():
                for _ in range(int(rng.integers(6))):
                    await ctx.tick()
                waiting = [high, low]
                for walker in waiting:
                    ctx.set(walker.groups.p, group)
                    ctx.set(walker.groups.valid, 1)
                while waiting:
                    *_, a, b = await ctx.tick().sample(high.groups.ready, low.groups.ready)
                    for walker, ready in ((high, a), (low, b)):
                        if ready:
                            ctx.set(walker.groups.valid, 0)
                            waiting = [w for w in waiting if w is not walker]
            while not (ctx.get(high.idle) and ctx.get(low.idle)):
                await ctx.tick()

    benches = [grant_runs(walker, table, rng, stall) for walker in (high, low)]
    run(pair, start, *sinks, background=benches, deadline=60_000)
    for plane in ("high", "low"):
        assert got[plane] == wanted(plane)


def test_a_run_a_cycle_and_one_for_the_end() -> None:
    """Three groups of one run, in a cycle each; then the run and the end of the head pass."""
    dut, gone = ChosenRuns(CORE), []

    async def bench(ctx) -> None:
        ctx.set(dut.chosen, 1)
        ctx.set(dut.four_bit, 7)
        ctx.set(dut.o_ready, 1)
        for group in told([[range(2), range(5, 7), range(7, 9)]]):
            ctx.set(dut.groups.p, group)
            ctx.set(dut.groups.valid, 1)
            await ctx.tick()
        ctx.set(dut.groups.valid, 0)
        ctx.set(dut.i, {"first": 40, "tokens": 12})
        ctx.set(dut.i_last, 1)
        ctx.set(dut.i_valid, 1)
        for cycle in range(6):
            if ctx.get(dut.i_ready):
                assert cycle == 3
            await ctx.tick()
            if cycle == 3:
                ctx.set(dut.i_valid, 0)
            if ctx.get(dut.o_valid):
                o = ctx.get(dut.o)
                gone.append((cycle, o.run.first, o.run.tokens, o.wide, o.last, o.dropped))

    run(dut, bench)
    assert [one[:4] for one in gone[:3]] == [(0, 40, 2, 0), (1, 45, 2, 0), (2, 47, 2, 1)]
    assert [one[4:] for one in gone] == [(0, 0)] * 3 + [(1, 1)]
    assert gone[3][0] == 3
