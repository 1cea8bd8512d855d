"""The pod and its PEs: every precision, both schedules, any depth, any width."""

import itertools

import numpy as np
import pytest

from dtqatten import Config, Schedule
from dtqatten.golden.cycles.tiles import edges, tile_steps
from dtqatten.hw.arrays.pod import Pod
from dtqatten.sim.engines.native import run, run_lockstep
from dtqatten.sim.engines.verilated import VerilatedModel
from dtqatten.sim.lockstep.pod import PodLockstep, control_shift, pe_width, random_steps


@pytest.mark.parametrize("schedule", list(Schedule))
@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize(
    ("depth", "d_head"), [(1, 8), (2, 8), (3, 24), (4, 8), (8, 8), (16, 128), (128, 128)]
)
def test_dot_products_back_to_back(
    schedule: Schedule, stages: int, depth: int, d_head: int
) -> None:
    config = Config(
        rows=1, cols=1, depth=depth, d_head=d_head, schedule=schedule, product_stages=stages
    )
    rng = np.random.default_rng(depth)
    extremes = [np.full((1, d_head), code) for code in (-120, 119)]
    steps, exact = [], []
    for corner, (q_wide, k_wide) in itertools.product(
        [*itertools.product(extremes, repeat=2), *[None] * 10],
        itertools.product((False, True), repeat=2),
    ):
        q, k = corner or rng.integers(-120, 120, (2, 1, d_head))
        (q_edge,), (k_edge,) = edges(1, q, np.array([q_wide])), edges(1, k, np.array([k_wide]))
        steps += tile_steps(config, q_edge, k_edge)
        # Plane-major sums of 4-bit operands are left for the score buffer to lift.
        lift = 0 if schedule is Schedule.INTERLEAVED else 8 - 4 * (q_wide + k_wide)
        exact.append(int((q_edge.codes * k_edge.codes).sum()) >> lift)

    dut = Pod(config, config.score_width)
    expected = iter(exact)

    async def testbench(ctx) -> None:
        # Operand in at cycle t: passed on at t + 1, its control in at t + stages and passed on in
        # the next cycle, sum drained another one later.
        history = []
        for step in [*steps, *[None] * (stages + 2)]:
            if step is not None:
                ctx.set(dut.q_i, step.q[0].tolist())
                ctx.set(dut.k_i[0], step.k[0].tolist())
            history.append(step)
            before = history[-1 - stages] if len(history) > stages else None
            ctx.set(dut.control_i.first, int(before is not None and before.first))
            ctx.set(dut.control_i.last, int(before is not None and before.last))
            shift = control_shift(config, before) if before is not None else 0
            ctx.set(dut.control_i.shift, shift)
            if len(history) > 1 and history[-2] is not None:
                assert list(ctx.get(dut.q_o)) == history[-2].q[0].tolist()
                assert list(ctx.get(dut.k_o[0])) == history[-2].k[0].tolist()
            if len(history) > stages + 1 and history[-2 - stages] is not None:
                assert ctx.get(dut.control_o.last) == history[-2 - stages].last
            finished = len(history) > stages + 2 and history[-3 - stages].last
            score = next(expected) if finished else 0
            assert ctx.get(dut.drain[0]) == score
            if finished:
                assert ctx.get(dut.acc[0]) == score
            await ctx.tick()

    run(dut, testbench, deadline=len(steps) + 10)
    assert next(expected, None) is None


@pytest.mark.parametrize("schedule", list(Schedule))
@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize(
    ("pod", "depth", "d_head"), [(1, 1, 8), (2, 3, 24), (1, 16, 16), (5, 4, 8)]
)
def test_equals_cycle_model(
    schedule: Schedule, stages: int, pod: int, depth: int, d_head: int
) -> None:
    """The grid's model with a grid of one pod."""
    config = Config(
        rows=1,
        cols=pod,
        pod_cols=pod,
        depth=depth,
        d_head=d_head,
        schedule=schedule,
        product_stages=stages,
    )
    steps = random_steps(config, np.random.default_rng(depth), 30)
    run_lockstep(Pod(config, config.score_width), PodLockstep(config, steps))
    raised = config.replace(block_exponents=True)
    steps = random_steps(raised, np.random.default_rng(depth), 30)
    dut = Pod(raised, pe_width(raised), exponents=True)
    run_lockstep(dut, PodLockstep(raised, steps))


@pytest.mark.parametrize(
    ("schedule", "stages", "pod", "depth", "d_head", "exponents"),
    [
        (Schedule.INTERLEAVED, 1, 1, 1, 8, False),
        (Schedule.INTERLEAVED, 2, 2, 3, 24, True),
        (Schedule.PLANE_MAJOR, 2, 1, 8, 64, False),
        (Schedule.PLANE_MAJOR, 2, 4, 8, 64, True),
        (Schedule.PLANE_MAJOR, 1, 3, 11, 88, True),
    ],
)
def test_verilog_equals_cycle_model(
    schedule, stages, pod, depth, d_head, exponents, compared
) -> None:
    """The exported circuit, whose dot products are not those of Amaranth's simulator."""
    config = Config(
        rows=1,
        cols=pod,
        pod_cols=pod,
        depth=depth,
        d_head=d_head,
        schedule=schedule,
        product_stages=stages,
        block_exponents=exponents,
    )
    dut = Pod(config, pe_width(config), exponents=exponents)
    rtl = VerilatedModel(dut, "pe", reset_cycles=stages + 2)
    bench = PodLockstep(config, random_steps(config, np.random.default_rng(depth), 300))
    rtl.run(bench)
    compared["verilator, in process"] += bench.compared
