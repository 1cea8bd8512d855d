"""Tokens become runs of bytes of a plane, head by head."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.memory import runs
from dtqatten.golden.numerics.order import aligned, alternate
from dtqatten.hw.memory.walker import PlaneWalker
from dtqatten.sim.engines.native import collect, run, watch
from dtqatten.sim.lockstep.row_table import grant_rows

CORE = Config(rows=2, cols=2, depth=2, d_head=16, n_max=24, capacity=60)
SYSTEM = SystemConfig(core=CORE, address_bits=20, bus_bits=64, burst_beats=4)
SIZE = SYSTEM.plane_bytes

#: Plane, and whether its slots take turns.
WALKERS = [("high", False), ("high", True), ("low", False), ("gains", False)]

#: Rows of a layer's tokens, 4-bit class first.
ALONE, ALL, SCATTERED = [5], list(range(24)), [0, 2, 3, 9, 1, 4, 5, 23]
#: In a cache larger than any layer.
FAR = [0, 24, 58, 59, 23]


def wanted(plane: str, in_turns: bool, plan: dict, ids: list[int]) -> list[tuple[int, int]]:
    """Return the runs of bytes: of slots from ``four_bit`` on where the plane is the low one.

    They end where the longest bursts do.
    """
    slots = np.arange(plan["tokens"])
    if in_turns:
        slots = alternate(plan["four_bit"], plan["tokens"], CORE.rows)
    if plane == "low":
        slots = slots[plan["four_bit"] :]
    burst = SYSTEM.burst_beats * SYSTEM.bus_bytes
    result: list[tuple[int, int]] = []
    vector = 1 if plane == "gains" else SIZE
    for head in range(plan["heads"]):
        at = head if plane == "gains" else 2 * head + (plane == "low")
        base = plan["base"] + at * plan["capacity"] * vector
        for first, tokens in runs(np.array(ids)[slots] if plan["listed"] else slots):
            address, end = base + first * vector, base + (first + tokens) * vector
            while address < end:
                size = min(end, (address // burst + 1) * burst) - address
                result.append((address, size))
                address += size
    return result


def walk(dut, plan: dict, ids: list[int], expected, rng, stall) -> list[int]:
    """Return the cycle of each run, counted from ``start``."""
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
            _, _, ready, valid, asked = await ctx.tick().sample(dut.o.ready, dut.o.valid, dut.asked)
            assert plan["listed"] or not asked
            left -= ready & valid
            assert ctx.get(dut.idle) == (left == 0)
        for _ in range(8):  # and nothing follows
            await ctx.tick()
            assert ctx.get(dut.idle)
            assert not ctx.get(dut.o.valid)
            assert not ctx.get(dut.asked)

    grants = grant_rows(dut, ids, rng, stall)
    run(dut, start, sink, background=[monitor, grants])
    assert taken == expected
    return [cycle for cycle, _ in passed]


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(("plane", "in_turns"), WALKERS)
@pytest.mark.parametrize("listed", [0, 1])
@pytest.mark.parametrize("ids", [ALONE, ALL, SCATTERED, FAR])
@pytest.mark.parametrize("heads", [1, 3])
def test_corners(
    ids: list[int], heads: int, listed: int, plane: str, in_turns: bool, stall: float
) -> None:
    for four_bit in sorted({0, 1, 4, len(ids) - 1, len(ids)}):
        if four_bit > len(ids):
            continue
        four_bit = aligned(four_bit, len(ids), CORE.rows) if in_turns else four_bit
        rng = np.random.default_rng(four_bit)
        plan = {"base": 0x1FC0, "heads": heads, "repeats": 1, "listed": listed}
        plan |= {"capacity": 60 if ids is FAR else 24, "tokens": len(ids), "four_bit": four_bit}
        expected = wanted(plane, in_turns, plan, ids)
        assert (not expected) == (plane == "low" and four_bit == len(ids))
        walk(PlaneWalker(SYSTEM, plane, in_turns), plan, ids, expected, rng, stall)


@pytest.mark.parametrize("listed", [0, 1])
@pytest.mark.parametrize("plane", ["high", "low"])
def test_one_or_two_cycles_a_token_and_one_a_run(plane: str, listed: int) -> None:
    """A head's first run waits for the token behind it, its last one for none."""
    plan = {"base": 8, "heads": 2, "repeats": 1, "capacity": 24, "tokens": 8, "four_bit": 4}
    plan["listed"] = listed
    expected = wanted(plane, False, plan, SCATTERED)
    rng = np.random.default_rng(0)
    cycles = walk(PlaneWalker(SYSTEM, plane), plan, SCATTERED, expected, rng, 0.0)
    token = 1 + listed
    gaps = [token * size // SIZE + 1 - listed for _, size in expected]
    for head in range(2):
        gaps[head * len(gaps) // 2] += token
        gaps[(head + 1) * len(gaps) // 2 - 1] -= 1
    assert np.diff([3 + listed, *cycles]).tolist() == gaps


def walked(
    dut: PlaneWalker, layers: list, count: int, rng: np.random.Generator, stall: float
) -> list[tuple[int, int]]:
    """Return address and size of the runs of layers, plans and ids, one after the other."""
    taken, sink = collect(dut.o, count, rng, stall, lambda p: (p.address, p.size))
    table: list[int] = []

    async def start(ctx) -> None:
        for plan, ids in layers:
            table[:] = ids
            ctx.set(dut.plan, plan)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            while not ctx.get(dut.idle):
                await ctx.tick()

    run(dut, start, sink, background=[grant_rows(dut, table, rng, stall)])
    return taken


@pytest.mark.parametrize(("plane", "in_turns"), WALKERS)
def test_layer_after_layer(plane: str, in_turns: bool) -> None:
    rng = np.random.default_rng(7)
    dut = PlaneWalker(SYSTEM, plane, in_turns)
    layers, expected = [], []
    for _ in range(25):
        stored = int(rng.integers(1, 61))
        ids = rng.permutation(stored)[: rng.integers(1, min(stored, 24) + 1)].tolist()
        four_bit = int(rng.integers(0, len(ids) + 1))
        ids = sorted(ids[:four_bit]) + sorted(ids[four_bit:])
        plan = {"base": int(rng.integers(1 << 10)) * 64, "heads": int(rng.integers(1, 4))}
        plan |= {"repeats": 1, "capacity": stored, "tokens": len(ids)}
        plan |= {"four_bit": aligned(four_bit, len(ids), CORE.rows)}
        plan |= {"listed": int(rng.integers(0, 2))}
        layers.append((plan, ids))
        expected += wanted(plane, in_turns, plan, ids)
    assert walked(dut, layers, len(expected), rng, 0.4) == expected


@pytest.mark.parametrize("plane", ["high", "low"])
def test_no_run_of_a_head_joins_that_of_the_one_before(plane: str) -> None:
    """The first token may be behind the last one of the layer, or head, before."""
    dut, rng = PlaneWalker(SYSTEM, plane), np.random.default_rng(0)
    share = {"heads": 2, "repeats": 1, "capacity": 24}
    layers = [
        ({**share, "base": 0x1FC8, "tokens": 4, "four_bit": 2, "listed": 0}, []),
        ({**share, "base": 0x2000, "tokens": 10, "four_bit": 4, "listed": 0}, []),
        # Of heads of their own, in another order than their places.
        ({**share, "base": 0x3008, "tokens": 6, "four_bit": 0, "listed": 1}, [7, 8, 9, 4, 5, 6]),
    ]
    expected = [run_ for plan, ids in layers for run_ in wanted(plane, False, plan, ids)]
    assert walked(dut, layers, len(expected), rng, 0.0) == expected
