"""Control of quick-select: rows that are read, and thresholds with NumPy as the datapath."""

from dataclasses import replace

import numpy as np
import pytest

from dtqatten.configuration.choices import TopKEngine
from dtqatten.golden.cycles.quick_select import quick_select
from dtqatten.hw.payloads.topk import TopKConfig
from dtqatten.hw.ranking.pivot_search import PartitionReader, PivotSearch, Source
from dtqatten.sim.engines.native import run
from dtqatten.sim.lockstep.topk import Run, adversaries, pivot_killer, random_runs


@pytest.mark.parametrize("lanes", [1, 4])
def test_the_middle_row_then_all_rows_in_order(lanes: int) -> None:
    config = TopKConfig(lanes, 5 * lanes)
    dut = PartitionReader(config)

    async def testbench(ctx) -> None:
        for count in range(1, config.capacity + 1):
            rows = -(-count // lanes)
            base = (count % 2) * (config.rows - rows)
            ctx.set(dut.count, count)
            ctx.set(dut.base, base)
            ctx.set(dut.pick, 1)
            assert ctx.get(dut.read) == base + count // 2 // lanes
            assert not ctx.get(dut.last)
            await ctx.tick()
            ctx.set(dut.pick, 0)
            for row in range(rows):
                assert ctx.get(dut.read) == base + row
                assert ctx.get(dut.last) == (row == rows - 1)
                assert ctx.get(dut.fetched) == (row > 0)
                await ctx.tick()
                held = lanes if row < rows - 1 else (count - 1) % lanes + 1
                assert ctx.get(dut.fetched)
                assert ctx.get(dut.lanes) == (1 << held) - 1
            assert not ctx.get(dut.last)
            await ctx.tick()
            assert not ctx.get(dut.fetched)

    run(dut, testbench)


async def searched(ctx, dut: PivotSearch, one: Run) -> tuple[tuple[int, int], list[int]]:
    """Search a run and return its thresholds, and how many scores each pass after the first had."""
    lanes = dut.config.lanes
    held = {Source.RUN: one.scores}
    waiting = None
    counts = []
    ctx.set(dut.begin, 1)
    ctx.set(dut.first, int(one.scores[0]))
    await ctx.tick()
    ctx.set(dut.begin, 0)
    await ctx.tick()
    ctx.set(dut.ranked, 1)
    ctx.set(dut.ranks, [one.k0, one.k1 or one.k0])
    ctx.set(dut.tokens, len(one.scores))
    await ctx.tick()
    ctx.set(dut.ranked, 0)
    while True:
        scores = held[Source(ctx.get(dut.source))]
        pivot = ctx.get(dut.references[0])
        above, below = scores[scores > pivot], scores[scores < pivot]
        base = ctx.get(dut.base)
        ctx.set(dut.above, len(above))
        ctx.set(dut.below, len(below))
        ctx.set(dut.decide, 1)
        await ctx.tick()
        ctx.set(dut.decide, 0)
        finished = ctx.get(dut.finished)
        await ctx.tick()
        assert ctx.get(dut.pick) == (not finished)
        if finished:
            break
        held = {Source.ABOVE: above, Source.BELOW: below}
        if not base and ctx.get(dut.base):
            waiting = below
            assert ctx.get(dut.base) == -(-len(waiting) // lanes)
        elif base and not ctx.get(dut.base):
            held[Source.BELOW] = waiting
        scores = held[Source(ctx.get(dut.source))]
        counts.append(len(scores))
        assert ctx.get(dut.count) == len(scores)
        await ctx.tick()
        await ctx.tick()
        row = len(scores) // 2 // lanes * lanes
        candidates = [*scores[row : row + lanes].tolist(), *[0] * lanes][:lanes]
        ctx.set(dut.candidates, candidates)
        await ctx.tick()
    await ctx.tick()
    thresholds = ctx.get(dut.low[0]), ctx.get(dut.low[1])
    assert (ctx.get(dut.references[0]), ctx.get(dut.references[1])) == thresholds
    for threshold, need, k in zip(
        thresholds, (dut.need[0], dut.need[1]), (one.k0, one.k1 or one.k0), strict=True
    ):
        assert ctx.get(need) == k - (one.scores > threshold).sum()
    return thresholds, counts


@pytest.mark.parametrize("width", [3, 12, 64])
def test_thresholds_and_partitions_are_golden(width: int) -> None:
    config = TopKConfig(4, 40, score_width=width, engine=TopKEngine.QUICK_SELECT)
    dut = PivotSearch(config)
    runs = random_runs(config, np.random.default_rng(width), 40)
    runs += [Run(s, 29, 12) for s in adversaries(config, 40).values()]
    # The range that is halved is all of it, or what the first pivots have left: the highest eighth.
    narrow = replace(config, score_width=max(width - 3, 2))
    high = pivot_killer(narrow, 40, 0.5) | np.uint64((1 << width) - (1 << narrow.score_width))
    for scores in (pivot_killer(config, 40, 0.5), high):
        runs += [Run(scores, *ranks) for ranks in ((20, 6), (20, 0), (6, 6))]

    async def testbench(ctx) -> None:
        for one in runs:
            thresholds, counts = await searched(ctx, dut, one)
            found = quick_select(one.scores, one.k0, one.k1, 4, capacity=40, width=width)
            assert thresholds == found.thresholds
            assert tuple(-(-count // 4) for count in counts) == found.rows

    run(dut, testbench, deadline=50_000)
