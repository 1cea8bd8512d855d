"""Totals that are carried to the next layer, at the earliest cycle in which they may be asked."""

import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from dtqatten import Config
from dtqatten.hw.ranking.importance_finish import ImportanceFinish


@pytest.mark.parametrize("pause", [1, 2, 3])
def test_a_total_that_is_carried_is_there_in_the_next_cycle(pause):
    """One token, chosen; the next layer's importance comes ``pause`` cycles after its id."""
    config = Config(rows=3, cols=4, depth=8, d_head=8, n_max=18, cumulative=True)
    m = Module()
    m.submodules.finish = finish = ImportanceFinish(config)
    totals = []

    async def offered(ctx, stream):
        ctx.set(stream.valid, 1)
        assert ctx.get(stream.ready)
        await ctx.tick()
        ctx.set(stream.valid, 0)

    async def importance(ctx, value, fresh):
        ctx.set(finish.layer.cumulative, 1)
        ctx.set(finish.layer.fresh, fresh)
        ctx.set(finish.i.p.scores[0], value)
        ctx.set(finish.i.p.tokens, 1)
        ctx.set(finish.i.p.last, 1)
        await offered(ctx, finish.i)

    async def drive(ctx):
        for value in (5, 7, 11):
            await importance(ctx, value, fresh=value == 5)
            await ctx.tick().repeat(4)
            ctx.set(finish.ids.p.count, 1)
            ctx.set(finish.ids.p.last, 1)
            await offered(ctx, finish.ids)
            for _ in range(pause - 1):
                await ctx.tick()
        await ctx.tick().repeat(8)

    async def collect(ctx):
        ctx.set(finish.o.ready, 1)
        async for _, _, valid, score in ctx.tick().sample(finish.o.valid, finish.o.p.scores[0]):
            if valid:
                totals.append(score)

    simulator = Simulator(m)
    simulator.add_clock(1e-6)
    simulator.add_testbench(drive)
    simulator.add_testbench(collect, background=True)
    simulator.run_until(100e-6)
    assert totals == [5, 12, 23]
