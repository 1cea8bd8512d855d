"""The steps of a tile of weighted sums come in the order of the golden model."""

import itertools

import numpy as np
import pytest

from dtqatten import Config, Schedule
from dtqatten.golden.cycles.value_steps import value_steps
from dtqatten.hw.arrays.value_order import order
from dtqatten.sim.engines.native import run


def numbered(config: Config, wide: np.ndarray, follows: bool, narrow: bool) -> list[tuple]:
    """Return place, group, planes, scale, first and last of each golden step."""
    groups = len(wide)
    found = []
    for probe in range(groups):
        # One group alone is not zero, plane by plane, so that a step shows whose it is.
        for plane, low in itertools.product(range(config.planes), range(2)):
            weights = np.zeros((groups, config.depth, 1), dtype=np.int64)
            values = np.zeros((groups, config.depth, 1), dtype=np.int64)
            weights[probe] = 16 ** (config.planes - 1 - plane)
            values[probe] = 16 ** (1 - low)
            steps = value_steps(config, weights, values, wide, follows=follows, narrow=narrow)
            for at, step in enumerate(steps):
                if step.q.any() and step.k.any():
                    found.append((at, probe, plane, low, step.scale, step.first, step.last))
    return sorted(found)


def description(wide: np.ndarray, follows: bool) -> dict[str, int]:
    groups, wides = len(wide), int(wide.sum())
    return {
        "single": groups == 1,
        "before_last": max(0, groups - 2),
        "some_wide": wides > 0,
        "single_wide": wides == 1,
        "before_last_wide": max(0, wides - 2),
        "follows": follows,
    }


@pytest.mark.parametrize("planes", [2, 3])
@pytest.mark.parametrize("schedule", list(Schedule))
def test_order_is_that_of_the_golden_steps(schedule: Schedule, planes: int) -> None:
    config = Config(rows=1, cols=4, depth=2, d_head=8, n_max=12, planes=planes, schedule=schedule)
    dut = order(config)
    rng = np.random.default_rng(planes)
    heads = [
        (np.array(wide, dtype=bool), follows, narrow)
        for wide in ([0], [1], [0, 0, 1], [1, 1, 1, 1], [0, 1, 0, 1, 1, 0])
        for follows, narrow in itertools.product((False, True), repeat=2)
    ]

    async def testbench(ctx) -> None:
        for number, (wide, follows, narrow) in enumerate(heads):
            after = heads[(number + 1) % len(heads)]
            ctx.set(dut.last_pass, 1)
            ctx.set(dut.head, description(wide, follows))
            ctx.set(dut.head_after, description(*after[:2]))
            ctx.set(dut.block, {"rows": 1, "last": 1, "narrow": int(narrow)})
            ctx.set(dut.block_after, {"rows": 1, "last": 1, "narrow": int(after[2])})
            # The first tile waits for a cycle, the others follow at once or late.
            for _ in range(max(number == 0, int(rng.integers(3)))):
                ctx.set(dut.issue, 0)
                await ctx.tick()
            wide_groups = np.flatnonzero(wide)
            steps = numbered(config, wide, follows, narrow)
            for at, group, plane, low, scale, first, last in steps:
                ctx.set(dut.issue, 1)
                index = ctx.get(dut.index)
                if index < len(wide_groups):
                    listed = int(wide_groups[index])
                    tile, part = divmod(listed, config.parts)
                    ctx.set(dut.wide_group, {"tile": tile, "part": part})
                ctx.set(dut.is_wide, int(index < len(wide) and wide[index]))
                shown = ctx.get(dut.group)
                assert shown.tile * config.parts + shown.part == group
                assert (ctx.get(dut.plane), ctx.get(dut.low)) == (plane, low)
                assert ctx.get(dut.final) == last
                assert first == (at == 0)
                assert 16 ** ctx.get(dut.shift) == scale
                await ctx.tick()
            # The heaviest pair weighs 16**planes, so sums are lifted by what no shift has given.
            shifts = sum(scale == 16 for *_, scale, _, _ in steps)
            lift = 0 if schedule is Schedule.INTERLEAVED else planes - shifts
            ctx.set(dut.issue, 0)
            assert ctx.get(dut.lift) == lift

    run(dut, testbench)
