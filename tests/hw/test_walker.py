"""Runs of tokens become runs of bytes of a plane, head by head."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.golden.memory import remaining_runs, runs
from dtqatten.hw.walker import PlaneWalker
from dtqatten.sim.native import collect, run, watch
from dtqatten.sim.run_table import grant_runs
from dtqatten.system_config import SystemConfig

CORE = Config(rows=2, cols=2, depth=2, d_head=16, n_max=24)
SYSTEM = SystemConfig(core=CORE, address_bits=20)
SIZE = SYSTEM.plane_bytes

#: Tokens of a layer: ids, 4-bit class first, and how many of them are in it.
ALONE, ALL, SCATTERED = ([5], 0), (list(range(24)), 24), ([0, 2, 3, 9, 1, 4, 5, 23], 4)


def wanted(plane: str, plan: dict, ids: list[int], four_bit: int) -> list[tuple[int, int]]:
    """Return the runs of bytes: slots from ``narrow`` on where the plane is the low one."""
    skipped = plan["narrow"] if plane == "low" else 0
    return [
        (
            plan["base"] + ((2 * head + (plane == "low")) * plan["stored"] + first) * SIZE,
            tokens * SIZE,
        )
        for head in range(plan["heads"])
        for first, tokens in remaining_runs(runs(ids, four_bit), skipped)
    ]


def walk(dut, plan: dict, layer, expected, rng, stall) -> list[int]:
    """Return the cycle of each run, counted from ``start``."""
    ids, four_bit = layer
    taken, sink = collect(dut.o, len(expected), rng, stall, lambda p: (p.address, p.size))
    passed, monitor = watch(dut.o)

    async def start(ctx) -> None:
        assert ctx.get(dut.idle)
        ctx.set(dut.plan, plan)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        assert ctx.get(dut.idle) == (not expected)
        left = len(expected)
        while left:
            _, _, ready, valid = await ctx.tick().sample(dut.o.ready, dut.o.valid)
            left -= ready & valid
            assert ctx.get(dut.idle) == (left == 0)
        for _ in range(8):  # and nothing follows
            await ctx.tick()
            assert ctx.get(dut.idle)
            assert not ctx.get(dut.o.valid)
            assert not ctx.get(dut.asked)

    grants = grant_runs(dut, runs(ids, four_bit), rng, stall)
    run(dut, start, sink, background=[monitor, grants])
    assert taken == expected
    return [cycle for cycle, _ in passed]


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("plane", ["high", "low"])
@pytest.mark.parametrize("layer", [ALONE, ALL, SCATTERED])
@pytest.mark.parametrize("heads", [1, 3])
def test_corners(layer: tuple[list[int], int], heads: int, plane: str, stall: float) -> None:
    ids, four_bit = layer
    for narrow in sorted({0, 1, four_bit, len(ids) - 1, len(ids)}):
        rng = np.random.default_rng(narrow)
        plan = {"base": 0x1FC0, "heads": heads, "repeats": 1, "stored": 24}
        plan |= {"tokens": len(ids), "narrow": narrow}
        expected = wanted(plane, plan, ids, four_bit)
        assert (not expected) == (plane == "low" and narrow == len(ids))
        walk(PlaneWalker(SYSTEM, plane), plan, layer, expected, rng, stall)


@pytest.mark.parametrize("plane", ["high", "low"])
def test_three_cycles_a_run_and_two_for_one_left_out(plane: str) -> None:
    ids, four_bit = SCATTERED  # runs of 1, 2, 1, 1, 2, 1
    plan = {"base": 0, "heads": 2, "repeats": 1, "stored": 24, "tokens": 8, "narrow": 4}
    expected = wanted(plane, plan, ids, four_bit)
    rng = np.random.default_rng(0)
    cycles = walk(PlaneWalker(SYSTEM, plane), plan, SCATTERED, expected, rng, 0.0)
    gaps = np.diff([0, *cycles]).tolist()
    assert gaps == [3] * 12 if plane == "high" else [3 + 2 * 3, 3, 3] * 2


@pytest.mark.parametrize("plane", ["high", "low"])
def test_layer_after_layer(plane: str) -> None:
    rng = np.random.default_rng(7)
    dut = PlaneWalker(SYSTEM, plane)
    layers, expected = [], []
    for _ in range(25):
        stored = int(rng.integers(1, 25))
        chosen = rng.permutation(stored)[: rng.integers(1, stored + 1)].tolist()
        four_bit = int(rng.integers(0, len(chosen) + 1))
        ids = sorted(chosen[:four_bit]) + sorted(chosen[four_bit:])
        plan = {"base": int(rng.integers(1 << 10)) * 64, "heads": int(rng.integers(1, 4))}
        plan |= {"repeats": 1, "stored": stored, "tokens": len(ids)}
        plan |= {"narrow": int(rng.integers(0, len(ids) + 1))}
        layers.append((plan, runs(ids, four_bit)))
        expected += wanted(plane, plan, ids, four_bit)
    taken, sink = collect(dut.o, len(expected), rng, 0.4, lambda p: (p.address, p.size))
    table: list[tuple[int, int]] = []

    async def start(ctx) -> None:
        for plan, entries in layers:
            table[:] = entries
            ctx.set(dut.plan, plan)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            while not ctx.get(dut.idle):
                await ctx.tick()

    run(dut, start, sink, background=[grant_runs(dut, table, rng, 0.4)])
    assert taken == expected
