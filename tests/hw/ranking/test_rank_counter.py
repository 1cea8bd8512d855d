"""Ranks found among the tokens counted so far, in every cycle."""

import numpy as np
import pytest
from amaranth.hdl import Const, Module

from dtqatten.hw.payloads.topk import TopKConfig
from dtqatten.hw.ranking.rank_counter import RankCounter, thermometer, total
from dtqatten.sim.engines.native import run


def evaluate(values) -> list[int]:
    """Return what expressions are."""
    found: list[int] = []

    async def testbench(ctx) -> None:
        found.extend(ctx.get(value) for value in values)

    run(Module(), testbench)
    return found


@pytest.mark.parametrize("bits", [1, 2, 5])
def test_thermometer_of_every_index(bits: int) -> None:
    codes = evaluate([thermometer(Const(i, bits)) for i in range(1 << bits)])
    assert codes == [(2 << i) - 1 for i in range(1 << bits)]


def test_totals_of_every_length() -> None:
    numbers = [3, 0, 7, 1, 1, 5, 2, 6, 4]
    lengths = range(1, len(numbers) + 1)
    sums = evaluate([total([Const(v, 3) for v in numbers[:n]]) for n in lengths])
    assert sums == [sum(numbers[:n]) for n in lengths]


def place_of(rank: int, reached: np.ndarray) -> tuple[int, int, int]:
    """Return the largest index that ``rank`` tokens reach, how many do, and how many pass it."""
    if rank > reached[0]:
        return 0, 0, 0
    index = int(np.nonzero(reached >= rank)[0][-1])
    return index, int(reached[index]), int([*reached, 0][index + 1])


def check(config: TopKConfig, beats: list[tuple], targets: list[tuple[int, int]]) -> int:
    """Compare ``found`` in every cycle in which it is defined; return how many they are.

    A beat is valid lanes, their indices, and ``clear``.
    """
    dut = RankCounter(config)
    bins = 1 << config.index_bits
    cycles = len(beats)
    search = dut.latency(config) - 3
    # What is counted in each cycle, by the docstring: three cycles after it came.
    counters = [np.zeros(bins, int)]
    for cycle in range(cycles):
        if beats[cycle][2]:
            counters.append(np.zeros(bins, int))
            continue
        came = beats[cycle - 2] if cycle >= 2 else ((), (), 0)
        here = np.array([i for v, i in zip(came[0], came[1], strict=True) if v], int)
        counters.append(counters[-1] + (here[:, None] >= np.arange(bins)).sum(0))
    compared = 0

    async def testbench(ctx) -> None:
        nonlocal compared
        for cycle in range(cycles):
            valid, index, clear = beats[cycle]
            ctx.set(dut.valid, sum(int(v) << lane for lane, v in enumerate(valid)))
            ctx.set(dut.index, list(map(int, index)))
            ctx.set(dut.clear, clear)
            ctx.set(dut.targets, targets[cycle])
            looked_at = counters[max(cycle - search, 0) : cycle]
            if cycle >= search and (looked_at[0] == looked_at).all():
                for t in range(2):
                    found = dut.found[t]
                    got = (ctx.get(found.index), ctx.get(found.at), ctx.get(found.above))
                    wanted = place_of(targets[cycle - search][t], looked_at[0])
                    assert got == wanted, (cycle, t)
                compared += 1
            await ctx.tick()

    run(dut, testbench)
    return compared


@pytest.mark.parametrize(
    "config",
    [
        TopKConfig(1, 5, index_bits=2),
        TopKConfig(4, 30, index_bits=3),
        TopKConfig(16, 64, index_bits=6),
        TopKConfig(8, 8, score_width=4, index_bits=4),
        TopKConfig(2, 12, index_bits=2, slow_logic=True),
        TopKConfig(4, 30, index_bits=5, slow_logic=True),
    ],
)
def test_random_runs(config: TopKConfig) -> None:
    rng = np.random.default_rng(config.lanes)
    lanes, bins = config.lanes, 1 << config.index_bits
    beats, targets = [], []
    for number in range(12):
        # All in one index, all different, or anything.
        low, high = ((0, 1), (bins - 1, bins), (0, bins))[number % 3]
        length = int(rng.integers(1, config.rows + 1))
        idle = [(np.zeros(lanes, bool), rng.integers(0, bins, lanes), 0)]
        share = rng.choice([0.3, 1.0])
        run_beats = [
            (rng.random(lanes) < share, rng.integers(low, high, lanes), 0) for _ in range(length)
        ]
        # Of the tokens that come shortly before a clear some are lost, some count after it.
        ending = [
            *idle * int(rng.choice([0, 1, 2, 9])),
            (np.zeros(lanes, bool), rng.integers(0, bins, lanes), 1),
        ]
        these = run_beats + ending + idle * (9 * (number % 2))
        beats += these
        held = rng.integers(1, config.capacity + 1, 2)
        for _ in these:
            if rng.random() < 0.5:
                held = rng.integers(1, config.capacity + 1, 2)
            targets.append(tuple(held.tolist()))
    assert check(config, beats, targets) > 50


@pytest.mark.parametrize(("slow_logic", "latency"), [(False, 5), (True, 6)])
def test_found_after_the_stated_latency(slow_logic: bool, latency: int) -> None:
    config = TopKConfig(4, 8, index_bits=2, slow_logic=slow_logic)
    dut = RankCounter(config)

    async def testbench(ctx) -> None:
        ctx.set(dut.targets, [1, 4])
        ctx.set(dut.valid, 0b1111)
        ctx.set(dut.index, [2, 0, 3, 2])
        await ctx.tick()
        ctx.set(dut.valid, 0)
        await ctx.tick().repeat(latency - 2)
        assert [ctx.get(found.at) for found in dut.found] == [0, 0]
        await ctx.tick()
        found = [(ctx.get(f.index), ctx.get(f.at), ctx.get(f.above)) for f in dut.found]
        assert found == [(3, 1, 0), (0, 4, 3)]

    run(dut, testbench)
