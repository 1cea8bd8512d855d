"""Places that follow each other become runs, while those of the layer before are read."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.golden.memory import runs
from dtqatten.hw.memory.run_table import RunTable
from dtqatten.sim.engines.native import run

CORE = Config(rows=2, cols=2, depth=2, d_head=8, n_max=24, capacity=90)


def some_places(rng, number: int) -> list[int]:
    """Return places of two classes: one, all, none that follow each other, then any."""
    if number < 4:
        return [[89], list(range(24)), list(range(0, 48, 2)), [88, 89, 0, 1]][number]
    drawn = rng.permutation(rng.choice([24, 90]))[: rng.integers(1, 25)]
    four_bit = int(rng.integers(0, len(drawn) + 1))
    return [*sorted(drawn[:four_bit].tolist()), *sorted(drawn[four_bit:].tolist())]


@pytest.mark.parametrize("pause", [0.0, 0.6])
def test_runs_of_layer_after_layer(pause: float) -> None:
    rng = np.random.default_rng(3)
    dut = RunTable(CORE, 3)
    layers = [some_places(rng, number) for number in range(30)]

    async def read(ctx, places: list[int], cycles: int) -> None:
        """Readers ask for any of the runs, for so many cycles."""
        wanted = runs(places)
        asked: dict[int, int] = {}
        coming: list[int | None] = [None, None]
        before = 0
        for _ in range(cycles):
            for reader in range(3):
                if reader not in asked and rng.random() >= pause:
                    asked[reader] = int(rng.integers(len(wanted)))
                    ctx.set(dut.index[reader], asked[reader])
            ctx.set(dut.asked, sum(1 << reader for reader in asked))
            granted = ctx.get(dut.granted)
            # The turn of one of those that asked in the cycle before.
            assert granted.bit_count() == bool(before)
            assert granted & ~before == 0
            before = sum(1 << reader for reader in asked)
            if (number := coming.pop(0)) is not None:
                assert (ctx.get(dut.run.first), ctx.get(dut.run.tokens)) == wanted[number]
            coming.append(asked.pop(granted.bit_length() - 1, None) if granted else None)
            assert ctx.get(dut.count) == len(wanted)
            await ctx.tick()
        ctx.set(dut.asked, 0)
        await ctx.tick()

    async def testbench(ctx) -> None:
        before: list[int] = []
        for places in layers:
            # Some places that come to nothing: slot 0 comes again.
            for slot, place in [*enumerate(places[: rng.integers(3)]), *enumerate(places)]:
                ctx.set(dut.place, place)
                ctx.set(dut.first, int(slot == 0))
                ctx.set(dut.write, 1)
                await ctx.tick()
                ctx.set(dut.write, 0)
                if before and rng.random() >= 0.5:
                    await read(ctx, before, 3)
            ctx.set(dut.ends, 1)
            if rng.random() >= 0.5:
                await ctx.tick()
                ctx.set(dut.ends, 0)
                if before:
                    await read(ctx, before, 5)
            ctx.set(dut.swap, 1)
            await ctx.tick()
            ctx.set(dut.swap, 0)
            ctx.set(dut.ends, 0)
            await read(ctx, places, 40)
            before = places

    run(dut, testbench, deadline=20_000)


def test_places_that_are_not_used_leave_nothing() -> None:
    """Ids of a layer, and then a list in their place."""
    dut = RunTable(CORE, 1)

    async def testbench(ctx) -> None:
        for places in ([1, 2, 3], [4, 8, 9]):
            for slot, place in enumerate(places):
                ctx.set(dut.place, place)
                ctx.set(dut.first, int(slot == 0))
                ctx.set(dut.write, 1)
                await ctx.tick()
            ctx.set(dut.write, 0)
            ctx.set(dut.ends, 1)
            await ctx.tick()
            ctx.set(dut.ends, 0)
        ctx.set(dut.swap, 1)
        await ctx.tick()
        ctx.set(dut.swap, 0)
        assert ctx.get(dut.count) == 2
        for number, expected in enumerate([(4, 1), (8, 2)]):
            ctx.set(dut.index[0], number)
            ctx.set(dut.asked, 1)
            await ctx.tick().repeat(3)
            assert (ctx.get(dut.run.first), ctx.get(dut.run.tokens)) == expected

    run(dut, testbench)
