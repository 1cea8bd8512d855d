"""Rows of trials whose sums are above a limit are counted, row block by row block."""

import numpy as np
import pytest
from amaranth.hdl import Module

from dtqatten import Config
from dtqatten.hw.softmax.flat_rows import FlatRows, where
from dtqatten.sim.engines.native import run

CONFIG = Config(rows=3, cols=4, depth=4, d_head=16, n_max=20, progressive=True)
MOST = CONFIG.n_max * 65535


@pytest.mark.parametrize("limit", [0, 65535, 400_000, MOST, (1 << 32) - 1])
def test_sums_above_the_limit_are_flat(limit: int) -> None:
    """Sums at both sides of the limit; rows of tiles that are not the last do not count."""
    rng = np.random.default_rng(limit % 97)
    dut = FlatRows(CONFIG)

    async def testbench(ctx) -> None:
        ctx.set(dut.flat_sum, limit)
        for _ in range(40):
            rows, tiles = int(rng.integers(1, CONFIG.rows + 1)), int(rng.integers(1, 4))
            near = np.clip([limit - 1, limit, limit + 1, 0, MOST], 0, MOST)
            totals = rng.choice(near, rows)
            for tile in range(tiles):
                for row in range(rows):
                    while rng.random() < 0.3:
                        ctx.set(dut.place.valid, 0)
                        ctx.set(dut.total, int(rng.integers(MOST)))
                        await ctx.tick()
                        assert not ctx.get(dut.verdicts.valid)
                    last = tile == tiles - 1
                    place = {"valid": 1, "last_tile": int(last), "last_row": int(row == rows - 1)}
                    ctx.set(dut.place, place)
                    ctx.set(dut.total, int(totals[row]) if last else MOST)
                    assert ctx.get(dut.given) == (last and row == rows - 1)
                    assert not ctx.get(dut.verdicts.valid)
                    await ctx.tick()
            ctx.set(dut.place.valid, 0)
            # It is told a cycle after the last sum, and stays until it is taken.
            for _ in range(int(rng.integers(3))):
                assert ctx.get(dut.verdicts.valid)
                await ctx.tick()
            flat = int((totals > limit).sum())
            assert ctx.get(dut.verdicts.valid)
            assert (ctx.get(dut.verdicts.p.rows), ctx.get(dut.verdicts.p.flat)) == (flat, flat > 0)
            ctx.set(dut.verdicts.ready, 1)
            await ctx.tick()
            ctx.set(dut.verdicts.ready, 0)
            assert not ctx.get(dut.verdicts.valid)

    run(dut, testbench, deadline=4000)


def test_a_place_of_some_rows_is_that_of_the_row_but_for_valid() -> None:
    m = Module()
    m.submodules.dut = dut = FlatRows(CONFIG)
    some = where(m, dut.verdicts.ready, dut.place, "some")

    async def testbench(ctx) -> None:
        ctx.set(dut.place, {"valid": 1, "last_row": 1, "last_tile": 0, "last_block": 1})
        for which in (0, 1):
            ctx.set(dut.verdicts.ready, which)
            assert ctx.get(some.valid) == which
            assert (ctx.get(some.last_row), ctx.get(some.last_tile)) == (1, 0)
            assert ctx.get(some.last_block)
        await ctx.tick()

    run(m, testbench)
