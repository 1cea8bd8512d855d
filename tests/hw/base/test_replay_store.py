"""The replay store: items gather into words, groups are replayed and freed."""

import numpy as np
import pytest
from amaranth.hdl import unsigned
from amaranth.lib import data

from dtqatten.hw.base.replay_store import ReplayStore
from dtqatten.sim.engines.native import run

ITEM = data.StructLayout({"value": unsigned(10)})


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(("lanes", "depth"), [(1, 1), (1, 6), (3, 4), (4, 3)])
def test_groups_are_replayed_in_order(lanes: int, depth: int, stall: float) -> None:
    rng = np.random.default_rng(lanes)
    dut = ReplayStore(ITEM, lanes, depth)
    sizes = [int(rng.integers(1, lanes * min(depth, 3) + 1)) for _ in range(12)]
    groups = [rng.integers(0, 1024, size).tolist() for size in sizes]
    # Each group as often as its first item says, each word once or twice.
    replays = [1 + group[0] % 3 for group in groups]

    async def source(ctx) -> None:
        for group in groups:
            for at, value in enumerate(group):
                while rng.random() < stall:
                    ctx.set(dut.i.valid, 0)
                    await ctx.tick()
                ctx.set(dut.i.valid, 1)
                ctx.set(dut.i.p, {"item": {"value": value}, "last": int(at == len(group) - 1)})
                await ctx.tick().until(dut.i.ready)
        ctx.set(dut.i.valid, 0)

    async def reader(ctx) -> None:
        for group, times in zip(groups, replays, strict=True):
            words = [group[at : at + lanes] for at in range(0, len(group), lanes)]
            for time in range(times):
                for at, word in enumerate(words):
                    for again in range(2):
                        ctx.set(dut.read, 0)
                        while not ctx.get(dut.ready) or rng.random() < stall:
                            await ctx.tick()
                        end = again and at == len(words) - 1
                        ctx.set(dut.read, 1)
                        ctx.set(dut.step, again)
                        ctx.set(dut.rewind, int(end))
                        ctx.set(dut.release, int(end and time == times - 1))
                        await ctx.tick()
                        ctx.set(dut.read, 0)
                        read = [ctx.get(dut.data[i].value) for i in range(lanes)]
                        # No lane is left as it was before.
                        assert read == word + word[-1:] * (lanes - len(word))

    run(dut, source, reader)


def test_a_full_ring_takes_nothing_until_its_first_group_is_freed() -> None:
    dut = ReplayStore(ITEM, 2, 3)

    async def testbench(ctx) -> None:
        ctx.set(dut.i.valid, 1)
        for at in range(6):
            assert ctx.get(dut.i.ready)
            ctx.set(dut.i.p, {"item": {"value": at}, "last": int(at == 3)})
            await ctx.tick()
        ctx.set(dut.read, 1)
        ctx.set(dut.step, 1)
        for release in (0, 1):
            assert not ctx.get(dut.i.ready)
            ctx.set(dut.release, release)
            await ctx.tick()
        ctx.set(dut.read, 0)
        for _ in range(4):  # two words of two items are free again
            assert ctx.get(dut.i.ready)
            await ctx.tick()
        assert not ctx.get(dut.i.ready)
        ctx.set(dut.read, 1)
        ctx.set(dut.step, 0)
        await ctx.tick()
        assert [ctx.get(dut.data[i].value) for i in range(2)] == [4, 5]

    run(dut, testbench)
