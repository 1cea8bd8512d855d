"""Marked scores become full rows, in order; the rest leaves with a flush; rows are read back."""

import numpy as np
import pytest

from dtqatten.hw.payloads.topk import TopKConfig
from dtqatten.hw.ranking.partition import Partition, ScorePacker
from dtqatten.sim.engines.native import run


@pytest.mark.parametrize("lanes", [1, 2, 4, 16])
def test_rows_are_packed_two_cycles_later(lanes: int) -> None:
    config = TopKConfig(lanes, 64, score_width=9)
    dut = ScorePacker(config)
    rng = np.random.default_rng(lanes)
    written: dict[int, list[int]] = {}
    expected: dict[int, list[int]] = {}

    async def testbench(ctx) -> None:
        waiting: list[int] = []
        for cycle in range(400):
            words = rng.integers(0, 512, lanes).tolist()
            flush = bool(rng.random() < 0.1)
            # All, none or some are marked; none are taken with a flush.
            marked = rng.random(lanes) < rng.choice([0, 0.5, 1])
            valid = not flush and bool(rng.random() < 0.7)
            taken = marked & valid
            ctx.set(dut.words, words)
            ctx.set(dut.take, sum(1 << i for i in np.flatnonzero(marked).tolist()))
            ctx.set(dut.valid, int(valid))
            ctx.set(dut.flush, int(flush))
            if ctx.get(dut.write):
                written[cycle] = list(ctx.get(dut.row))
            waiting += [word for word, t in zip(words, taken, strict=True) if t]
            if len(waiting) >= lanes or (flush and waiting):
                expected[cycle + 2] = waiting[:lanes]
                waiting = waiting[lanes:]
            await ctx.tick()
            assert ctx.get(dut.count) == taken.sum()

    run(dut, testbench)
    # Lanes behind the last score of a part-filled row hold anything.
    assert {c: row[: len(expected[c])] for c, row in written.items()} == {
        c: row for c, row in expected.items() if c < 400
    }


def test_rows_are_read_back_while_others_are_written_in_place() -> None:
    """A pass over rows 0 to 3 drops every other score; the rest is in rows 0 and 1, from base."""
    config = TopKConfig(4, 16, score_width=8)
    dut = Partition(config, 5)

    async def write(ctx, rows, base: int) -> None:
        ctx.set(dut.base, base)
        ctx.set(dut.restart, 1)
        await ctx.tick()
        ctx.set(dut.restart, 0)
        for number, (words, take) in enumerate(rows):
            ctx.set(dut.address, number)
            ctx.set(dut.words, words)
            ctx.set(dut.take, take)
            ctx.set(dut.valid, 1)
            await ctx.tick()
        ctx.set(dut.valid, 0)
        ctx.set(dut.flush, 1)
        await ctx.tick()
        ctx.set(dut.flush, 0)
        assert ctx.get(dut.count) == sum(take.bit_count() for _, take in rows)
        await ctx.tick()
        await ctx.tick()

    async def read(ctx, row: int) -> list[int]:
        ctx.set(dut.address, row)
        await ctx.tick()
        return list(ctx.get(dut.data))

    async def testbench(ctx) -> None:
        await write(ctx, [([4 * r + i for i in range(4)], 0b1111) for r in range(4)], 0)
        assert [await read(ctx, r) for r in range(4)] == np.arange(16).reshape(4, 4).tolist()
        await write(ctx, [([4 * r + i for i in range(4)], 0b0101) for r in range(4)], 0)
        assert [await read(ctx, r) for r in range(2)] == [[0, 2, 4, 6], [8, 10, 12, 14]]
        await write(ctx, [([7, 8, 9, 10], 0b1110)], 2)
        assert (await read(ctx, 2))[:3] == [8, 9, 10]
        assert await read(ctx, 1) == [8, 10, 12, 14]

    run(dut, testbench)
