"""The grid: skew, neighbours of other speeds, drain."""

import numpy as np
import pytest

from dtqatten import Config, Schedule
from dtqatten.golden.cycles.tiles import edges, idle_step, tile_steps
from dtqatten.hw.arrays.grid import Grid
from dtqatten.sim.engines.native import run


@pytest.mark.parametrize("schedule", list(Schedule))
@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize(
    ("rows", "cols", "pod"), [(1, 1, 1), (3, 2, 1), (2, 5, 5), (4, 4, 1), (3, 6, 2)]
)
def test_tiles_of_all_speeds_without_a_bubble(
    schedule: Schedule, stages: int, rows: int, cols: int, pod: int
) -> None:
    config = Config(
        rows=rows,
        cols=cols,
        pod_cols=pod,
        depth=4,
        d_head=16,
        schedule=schedule,
        product_stages=stages,
    )
    latency = stages + 3
    rng = np.random.default_rng(rows)
    steps, due = [], {}
    for q_share, k_share in rng.choice([0.0, 0.5, 1.0], size=(12, 2)):
        q_wide, k_wide = rng.random(rows) < q_share, rng.random(cols) < k_share
        (q,) = edges(rows, rng.integers(-120, 120, (rows, 16)), q_wide)
        (k,) = edges(cols, rng.integers(-120, 120, (cols, 16)), k_wide)
        steps += tile_steps(config, q, k)
        passes_log2 = int(q_wide.any()) + int(k_wide.any())
        lift = 0 if schedule is Schedule.INTERLEAVED else 8 - 4 * passes_log2
        for r, c in np.ndindex(rows, cols):
            due[len(steps) - 1 + r + c // pod + latency, c] = (
                int((q.codes @ k.codes.T)[r, c]) >> lift
            )
    total = len(steps) + rows + cols + latency
    idle = idle_step(config)

    def at(cycle: int):
        return steps[cycle] if 0 <= cycle < len(steps) else idle

    dut = Grid(config, config.score_width)

    async def testbench(ctx) -> None:
        for cycle in range(total):
            ctx.set(dut.q, [at(cycle - r).q[r].tolist() for r in range(rows)])
            ctx.set(dut.k, [at(cycle - c // pod).k[c].tolist() for c in range(cols)])
            step = at(cycle - stages)
            power = (step.scale.bit_length() - 1) // 4
            shift = power if schedule is Schedule.INTERLEAVED else int(power == 1)
            ctx.set(dut.control, {"first": int(step.first), "shift": shift, "last": int(step.last)})
            for c in range(cols):
                # A column shows a score in the cycle it is due, and zero in all others.
                assert ctx.get(dut.columns[c]) == due.pop((cycle, c), 0)
            await ctx.tick()

    run(dut, testbench, deadline=total + 10)
    assert not due
