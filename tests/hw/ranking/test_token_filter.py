"""Tokens of a class: beyond the threshold, or among the first of its range."""

import numpy as np
import pytest
from amaranth.hdl import Const, Module

from dtqatten.hw.payloads.topk import TopKConfig
from dtqatten.hw.ranking.token_filter import TokenFilter, counts_below
from dtqatten.sim.engines.native import run


@pytest.mark.parametrize("width", [1, 2, 7, 8])
def test_counts_below_every_position(width: int) -> None:
    async def testbench(ctx) -> None:
        for bits in range(1 << width):
            counts = counts_below(Const(bits, width))
            wanted = [(bits & (1 << i) - 1).bit_count() for i in range(width + 1)]
            assert [ctx.get(count) for count in counts] == wanted

    run(Module(), testbench)


def marked(inside: np.ndarray, beyond: np.ndarray, need: int) -> np.ndarray:
    """Return which tokens are in: all beyond, and the first ``need`` of the range."""
    return beyond | (inside & (np.cumsum(inside) <= need))


def filter_run(dut, inside, beyond, need, any_wide, rng, stall: float):
    """Return a testbench that puts a run through, class by class, and compares its rows."""
    lanes = dut.config.lanes
    rows = len(inside[0]) // lanes
    kept, wide = (marked(inside[t], beyond[t], need[t]) for t in range(2))
    wide &= bool(any_wide)
    classes = {0: kept & ~wide, 1: wide}
    class_rows, expected = [], []
    for number in (0, 1) if any_wide else (0,):
        members = classes[number]
        for row in range(rows + 1):
            class_row = {"valid": 1, "row": row, "first": int(row == 0), "wide": number}
            at = slice(row * lanes, (row + 1) * lanes)
            class_rows.append((class_row, at))
            expected.append((class_row, members[at]))

    def bits(values: np.ndarray) -> int:
        return sum(int(v) << i for i, v in enumerate(values))

    async def testbench(ctx) -> None:
        ctx.set(dut.need, need)
        ctx.set(dut.any_wide, any_wide)
        accepted = 0
        # Two further class_rows, not valid, push the last two out.
        while accepted < len(class_rows) + 2:
            if accepted < len(class_rows):
                class_row, at = class_rows[accepted]
                ctx.set(dut.class_row, class_row)
                for t in range(2):
                    ctx.set(dut.inside[t], bits(inside[t][at]))
                    ctx.set(dut.beyond[t], bits(beyond[t][at]))
            else:
                ctx.set(dut.class_row, {"valid": 0, "first": int(rng.integers(2))})
                for t in range(2):
                    ctx.set(dut.inside[t], int(rng.integers(1 << lanes)))
            # Latency: two accepted cycles.
            if accepted >= 2:
                class_row, members = expected[accepted - 2]
                for name in ("valid", "row", "first", "wide"):
                    assert ctx.get(getattr(dut.class_row_next, name)) == class_row[name]
                assert ctx.get(dut.take) == bits(members), class_row
            moves = rng.random() >= stall
            ctx.set(dut.advance, int(moves))
            await ctx.tick()
            accepted += moves
        ctx.set(dut.advance, 0)

    return testbench


def ranges(scores: np.ndarray, k: int, bits: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return inside, beyond and need of a threshold that is known to but ``bits`` low bits."""
    prefix = np.sort(scores)[::-1][k - 1] >> bits
    inside, beyond = scores >> bits == prefix, scores >> bits > prefix
    return inside, beyond, k - int(beyond.sum())


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(("lanes", "n_max"), [(1, 6), (4, 16), (8, 40), (16, 16)])
def test_runs_back_to_back(lanes: int, n_max: int, stall: float) -> None:
    config = TopKConfig(lanes, n_max)
    dut = TokenFilter(config)
    rng = np.random.default_rng(lanes)
    benches = []
    for number in range(16):
        tokens = int(rng.integers(1, config.capacity + 1)) if number > 3 else config.capacity
        # All equal, few different, all different.
        scores = rng.integers(0, (1, 3, 1000)[number % 3], tokens)
        k0 = (1, tokens)[number] if number < 2 else int(rng.integers(1, tokens + 1))
        k1 = (0, k0)[number % 2] if number < 4 else int(rng.integers(0, k0 + 1))
        given = [ranges(scores, k, 0) for k in (k0, k1 or k0)]
        pad = -len(scores) % lanes
        inside, beyond = ([np.pad(g[i], (0, pad)) for g in given] for i in range(2))
        need = [g[2] for g in given]
        benches.append(filter_run(dut, inside, beyond, need, int(k1 > 0), rng, stall))

    async def all_runs(ctx) -> None:
        for bench in benches:
            await bench(ctx)

    run(dut, all_runs)
