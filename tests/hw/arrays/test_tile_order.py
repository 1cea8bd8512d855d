"""The steps of a tile come in the order of the golden model, tile after tile."""

import itertools

import numpy as np
import pytest

from dtqatten import Config, Schedule
from dtqatten.golden.cycles.tiles import edges, tile_steps
from dtqatten.hw.arrays.tile_order import TileOrder
from dtqatten.sim.engines.native import run


@pytest.mark.parametrize("schedule", list(Schedule))
def test_order_is_that_of_the_golden_steps(schedule: Schedule) -> None:
    config = Config(rows=2, cols=2, depth=4, d_head=32, n_max=4, schedule=schedule)
    dut = TileOrder(config)
    rng = np.random.default_rng(0)

    async def testbench(ctx) -> None:
        for q_wide, k_wide in itertools.product((False, True), repeat=2):
            q, k = (
                edges(2, rng.integers(-120, 120, (2, 32)), np.array([wide, False]))[0]
                for wide in (q_wide, k_wide)
            )
            ctx.set(dut.q_wide, int(q_wide))
            ctx.set(dut.k_wide, int(k_wide))
            steps = list(tile_steps(config, q, k))
            for expected in steps:
                while rng.random() < 0.3:
                    ctx.set(dut.issue, 0)
                    assert not ctx.get(dut.final)
                    await ctx.tick()
                ctx.set(dut.issue, 1)
                at = ctx.get(dut.word) * config.load_nibbles + ctx.get(dut.part) * config.depth
                chunk = slice(at, at + config.depth)
                assert (q.planes[ctx.get(dut.q_low)][:, chunk] == expected.q).all()
                assert (k.planes[ctx.get(dut.k_low)][:, chunk] == expected.k).all()
                assert ctx.get(dut.first) == expected.first
                assert ctx.get(dut.final) == expected.last
                assert 16 ** ctx.get(dut.shift) == expected.scale
                # All passes together weigh each product by the power of 16 of its planes.
                lift = 0 if schedule is Schedule.INTERLEAVED else 2 - q_wide - k_wide
                assert ctx.get(dut.lift) == lift
                await ctx.tick()
            ctx.set(dut.issue, 0)
            await ctx.tick()

    run(dut, testbench)
