"""The search of two thresholds, pass by pass, with the counting done by NumPy."""

import numpy as np
import pytest

from dtqatten.golden.cycles.topk import search
from dtqatten.hw.payloads.topk import TopKConfig
from dtqatten.hw.ranking.threshold_search import ThresholdSearch
from dtqatten.sim.engines.native import run
from dtqatten.sim.lockstep.topk import adversaries


def noise(rng, signal) -> int:
    return int.from_bytes(rng.bytes(9), "little") & ((1 << len(signal)) - 1)


async def step(ctx, dut, rng, **inputs: int) -> None:
    """Pass a clock edge with pulses of these inputs; what nobody looks at is noise."""
    for name in ("calibrate", "overflow", "ranked", "aim", "update"):
        ctx.set(getattr(dut, name), inputs.get(name, 0))
    ctx.set(dut.seen, inputs.get("seen", noise(rng, dut.seen)))
    if "ranks" not in inputs:
        ctx.set(dut.ranks, [noise(rng, dut.ranks[t]) for t in range(2)])
    await ctx.tick()


def locate(indices: np.ndarray, rank: int) -> dict[str, int]:
    """Return where a rank lies among counted indices, as the counters do."""
    if rank > len(indices):
        return {"index": 0, "at": 0, "above": 0}
    index = int(np.sort(indices)[::-1][rank - 1])
    return {
        "index": index,
        "at": int((indices >= index).sum()),
        "above": int((indices > index).sum()),
    }


def counted(ctx, dut, scores: np.ndarray) -> tuple[np.ndarray, bool]:
    """Return the indices that the pass counts by, and whether a score is beyond the window."""
    bits = dut.config.index_bits
    shift = np.uint64(ctx.get(dut.shift))
    inside = [
        ((scores ^ np.uint64(ctx.get(dut.low[t]))) & np.uint64(ctx.get(dut.mask[t]))) == 0
        for t in range(2)
    ]
    digits = (scores >> shift).astype(np.int64) & ((1 << bits) - 1)
    if ctx.get(dut.calibrated):
        return np.where(inside[0], digits, (1 << bits) - 1), not inside[0].all()
    if ctx.get(dut.parted):
        either = inside[0] | inside[1]
        half = digits & ((1 << bits - 1) - 1) | inside[1].astype(np.int64) << bits - 1
        return half[either], False
    return digits[inside[ctx.get(dut.lead)]], False


async def search_run(ctx, dut, rng, scores: np.ndarray, k0: int, k1: int) -> None:
    """Search a run's thresholds and compare them, and the passes, with the golden search."""
    config = dut.config
    wanted = search(scores, k0, k1, config.lanes, index_bits=config.index_bits)
    ranks = [k0, k1 or k0]
    await step(ctx, dut, rng, calibrate=1)
    first = int(np.bitwise_or.reduce(scores[: config.lanes]))
    await step(ctx, dut, rng, seen=first)
    await step(ctx, dut, rng)
    shift = max(first.bit_length() - config.index_bits, 0)
    passes, again = 0, False
    while True:
        assert ctx.get(dut.shift) == shift
        indices, beyond = counted(ctx, dut, scores)
        await step(ctx, dut, rng, overflow=int(beyond))
        if passes == 0:
            ctx.set(dut.ranks, ranks)
            await step(ctx, dut, rng, ranked=1, ranks=1)
        await step(ctx, dut, rng, aim=1)
        targets = [ctx.get(dut.targets[t]) for t in range(2)]
        found = [locate(indices, target) for target in targets]
        # Noise until the pass is over.
        ctx.set(dut.found.as_value(), noise(rng, dut.found.as_value()))
        await step(ctx, dut, rng)
        ctx.set(dut.found, found)
        await step(ctx, dut, rng)
        ctx.set(dut.update, 1)
        parted = bool(ctx.get(dut.parted))
        again, finished = bool(ctx.get(dut.again)), bool(ctx.get(dut.finished))
        await step(ctx, dut, rng, update=1)
        if finished:
            break
        assert passes < 100
        passes += 1
        if again:
            assert wanted.recalibrated
            assert passes == 1
            largest = int(scores.max())
            await step(ctx, dut, rng, seen=int(np.bitwise_or.reduce(scores)))
            await step(ctx, dut, rng)
            shift = largest.bit_length() - config.index_bits
        else:
            parted = bool(ctx.get(dut.parted))
            await step(ctx, dut, rng)
            shift = max(shift - (config.index_bits - parted), 0)
    for _ in range(3):  # it holds
        assert tuple(ctx.get(dut.low[t]) for t in range(2)) == wanted.thresholds
        for t in range(2):
            mask, low = ctx.get(dut.mask[t]), ctx.get(dut.low[t])
            in_range = ((scores ^ np.uint64(low)) & np.uint64(mask)) == 0
            above = int((scores[~in_range] > np.uint64(low)).sum())
            assert ctx.get(dut.need[t]) == ranks[t] - above
            assert 1 <= ranks[t] - above <= in_range.sum()
        await step(ctx, dut, rng)
    assert passes == wanted.passes


CONFIGS = [
    TopKConfig(4, 24, score_width=32, index_bits=6),
    TopKConfig(1, 12, score_width=9, index_bits=2),
    TopKConfig(16, 48, score_width=64, index_bits=8),
    TopKConfig(4, 12, score_width=5, index_bits=5),
]


@pytest.mark.parametrize("config", CONFIGS)
def test_random_runs(config: TopKConfig) -> None:
    rng = np.random.default_rng(config.score_width)
    dut = ThresholdSearch(config)
    top = (1 << config.score_width) - 1

    async def testbench(ctx) -> None:
        for number in range(60):
            tokens = int(rng.integers(1, config.capacity + 1))
            limit = (0, min(3, top), top, 1 << int(rng.integers(config.score_width)))[number % 4]
            scores = rng.integers(0, limit, tokens, np.uint64, endpoint=True)
            if number % 5 == 0:  # ascending: the first beat says the least
                scores = np.sort(scores)
            k0 = int(rng.integers(1, tokens + 1))
            k1 = (0, k0, int(rng.integers(0, k0 + 1)))[number % 3]
            await search_run(ctx, dut, rng, scores, k0, k1)

    run(dut, testbench, deadline=20_000)


@pytest.mark.parametrize("config", CONFIGS[:1])
def test_adversaries(config: TopKConfig) -> None:
    rng = np.random.default_rng(0)
    dut = ThresholdSearch(config)

    async def testbench(ctx) -> None:
        for scores in adversaries(config, config.n_max).values():
            for k0, k1 in ((config.n_max // 2, config.n_max // 4), (1, 0), (config.n_max, 1)):
                await search_run(ctx, dut, rng, scores, k0, k1)

    run(dut, testbench, deadline=20_000)
