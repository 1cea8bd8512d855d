"""Groups of values that a row block keeps: levels, the choice, and how long they take."""

import numpy as np
import pytest
from amaranth.sim import Simulator

from dtqatten import Config
from dtqatten.golden.numerics.local_values import chosen_groups, level
from dtqatten.hw.arrays.group_chooser import GroupChooser
from dtqatten.hw.arrays.group_levels import GroupLevels

CONFIG = Config(
    rows=4, cols=5, depth=2, d_head=8, n_max=20, skip_tiles=True, local_values=True
).of_values


def simulated(dut, *testbenches) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for testbench in testbenches:
        simulator.add_testbench(testbench)
    simulator.run_until(1e-6 * 20_000)


@pytest.mark.parametrize(("depth", "latency"), [(1, 2), (2, 3), (5, 5)])
def test_levels_of_random_tiles(depth: int, latency: int) -> None:
    """Also of row blocks of one row, which follow each other every cycle."""
    config = Config(
        rows=4, cols=5, depth=depth, d_head=40, n_max=20, skip_tiles=True, local_values=True
    )
    assert GroupLevels.latency(config) == latency
    dut, rng = GroupLevels(config), np.random.default_rng(depth)
    rows, wanted = [], {}
    for _ in range(60):
        tile = rng.integers(0, 120, (int(rng.integers(1, 5)), 5)) * (rng.random() < 0.9)
        rows += [(w, i == len(tile) - 1) for i, w in enumerate(tile)]
        rows += [None] * int(rng.integers(0, 3) * rng.integers(2))
        last = max(i for i, row in enumerate(rows) if row)
        sums = np.add.reduceat(tile.sum(0), np.arange(0, 5, depth))
        wanted[last + latency] = level(sums).tolist()

    async def bench(ctx) -> None:
        for cycle in range(len(rows) + latency + 1):
            if cycle in wanted:
                assert list(ctx.get(dut.levels)) == wanted[cycle]
            row = rows[cycle] if cycle < len(rows) else None
            ctx.set(dut.valid, row is not None)
            if row is not None:
                ctx.set(dut.last_row, row[1])
                ctx.set(dut.weights, [int(w) for w in row[0]])
            await ctx.tick()

    simulated(dut, bench)


def run(blocks: list[tuple[list[int], int]]) -> list[tuple[int, list[int]]]:
    """Stream row blocks, levels and share of each; return when each goes by, and what stays.

    Cycles count from that of the row block's own last group.
    """
    dut, found = GroupChooser(CONFIG), []
    items = [
        (n, i, value, share, i == len(levels) - 1)
        for n, (levels, share) in enumerate(blocks)
        for i, value in enumerate(levels)
    ]
    ends: dict[int, int] = {}

    async def bench(ctx) -> None:
        at, going, first, kept = 0, 0, None, []
        for cycle in range(5000):
            if at < len(items):
                n, i, value, share, last = items[at]
                ctx.set(dut.i_valid, 1)
                ctx.set(dut.i.level, value)
                ctx.set(dut.i.share, share)
                ctx.set(dut.i.last, last)
                ctx.set(dut.i.group.tile, i // CONFIG.parts)
                ctx.set(dut.i.group.part, i % CONFIG.parts)
                if ctx.get(dut.i_ready):
                    if last:
                        ends[n] = cycle
                    at += 1
            else:
                ctx.set(dut.i_valid, 0)
            if ctx.get(dut.o_valid):
                first = cycle if first is None else first
                if ctx.get(dut.kept):
                    kept.append(going)
                group = ctx.get(dut.o.group)
                assert (group.tile, group.part) == divmod(going, CONFIG.parts)
                going += 1
                if ctx.get(dut.o.last):
                    found.append((first, kept))
                    going, first, kept = 0, None, []
            await ctx.tick()

    simulated(dut, bench)
    return [(first - ends[n], kept) for n, (first, kept) in enumerate(found)]


def test_a_choice_takes_four_cycles() -> None:
    """A longer row block before it makes it wait; with share 0 groups pass in their cycles."""
    assert run([([8, 0, 9, 9], 128)]) == [(4, [2, 3])]
    assert run([([0, 0, 0], 256 // 2)]) == [(4, [0])]
    assert run([([8, 0, 9], 0)]) == [(-2, [0, 1, 2])]
    first, second = run([([4] * 12, 128), ([4, 5], 128)])
    assert first == (4, list(range(6)))
    # Its groups come from the fourth cycle on, in which the first of twelve goes by.
    assert second == (4 + 12 - 5, [1])


def test_the_choice_is_the_golden_models() -> None:
    rng = np.random.default_rng(1)
    blocks = []
    for _ in range(60):
        sums = rng.integers(0, 953, rng.integers(1, 13)) >> int(rng.integers(0, 9))
        sums *= rng.random(len(sums)) < rng.choice([0.3, 1.0])
        blocks.append((sums, int(rng.choice([0, 1, 64, 128, 255]))))
    got = run([(level(sums).tolist(), share) for sums, share in blocks])
    assert len(got) == len(blocks)
    for (sums, share), (_, kept) in zip(blocks, got, strict=True):
        wanted = np.flatnonzero(chosen_groups(sums[None], share)[0]).tolist()
        assert kept == (wanted or [0] if share else list(range(len(sums))))


@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_chosen_heads_tell_their_groups_and_list_none(stall: float) -> None:
    """The last one is marked; each is told once, and what is not kept goes by in a cycle."""
    rng = np.random.default_rng(3)
    dut = GroupChooser(CONFIG.replace(chosen_values=True).of_values)
    blocks = [(rng.integers(0, 953, rng.integers(1, 13)), int(rng.choice([1, 90, 255])))
              for _ in range(40)]  # fmt: skip
    blocks.append((np.zeros(5, int), 128))
    wanted = []
    for sums, share in blocks:
        kept = np.flatnonzero(chosen_groups(sums[None], share)[0]).tolist() or [0]
        wanted += [(*divmod(group, CONFIG.parts), int(group == kept[-1])) for group in kept]
    items = [
        {"level": int(rank), "share": share, "chosen": 1, "last": i == len(sums) - 1,
         "group": dict(zip(("tile", "part"), divmod(i, CONFIG.parts), strict=True))}
        for sums, share in blocks
        for i, rank in enumerate(level(sums))
    ]  # fmt: skip
    got: list[tuple[int, int, int]] = []
    decided = []

    async def give(ctx) -> None:
        for item in items:
            ctx.set(dut.i_valid, 1)
            ctx.set(dut.i, item)
            while not (await ctx.tick().sample(dut.i_ready))[-1]:
                pass
        ctx.set(dut.i_valid, 0)

    async def take(ctx) -> None:
        while len(got) < len(wanted):
            ctx.set(dut.choices.ready, int(rng.random() >= stall))
            *_, valid, ready, listed, choice, done = await ctx.tick().sample(
                dut.choices.valid, dut.choices.ready, dut.o_valid, dut.choices.p, dut.decided
            )
            assert not listed
            decided.append(done)
            if valid and ready:
                got.append((choice.group.tile, choice.group.part, choice.last))

    simulated(dut, give, take)
    assert got == wanted
    assert sum(decided) == len(blocks)
