"""The sequencer: tiles in order, without bubbles, never more than the score buffer holds."""

from itertools import pairwise

import numpy as np
import pytest

from dtqatten import Config, Schedule
from dtqatten.configuration.core import BANKS
from dtqatten.golden.cycles.tiles import Edge, edges, tile_steps
from dtqatten.hw.arrays.sequencer import Sequencer
from dtqatten.sim.engines.native import run

CONFIGS = {
    "balanced": Config(rows=4, cols=3, depth=4, d_head=32, n_max=12),
    "short tiles": Config(rows=5, cols=2, depth=8, d_head=8, n_max=12),
    "one lane": Config(rows=1, cols=1, depth=1, d_head=8, n_max=6),
}


def heads(config: Config, seed: int) -> list[tuple[list[Edge], list[Edge]]]:
    rng = np.random.default_rng(seed)
    result = []
    for share in (0.0, 0.4, 1.0, 0.4):
        sides = []
        for lanes in (config.rows, config.cols):
            n = int(rng.integers(1, config.n_max + 1))
            codes = rng.integers(-120, 120, (n, config.d_head))
            sides.append(edges(lanes, codes, rng.random(n) < share))
        result.append((sides[0], sides[1]))
    return result


def describe(edge: Edge) -> dict[str, int]:
    return {
        "tokens": edge.tokens,
        "wide": int(edge.wide.any()),
        "mixed": int(edge.mixed),
        "last": int(edge.last),
    }


@pytest.mark.parametrize("schedule", list(Schedule))
@pytest.mark.parametrize("name", list(CONFIGS))
@pytest.mark.parametrize("eager", [True, False], ids=["eager", "slow"])
def test_tiles_run_in_order_and_back_to_back(schedule, name, eager) -> None:
    config = CONFIGS[name].replace(schedule=schedule)
    work = heads(config, seed=len(name))
    tiles = [(q, k) for q_edges, k_edges in work for q in q_edges for k in k_edges]
    dut = Sequencer(config)
    rng = np.random.default_rng(1)
    # What the feeders would hold: edges by bank, and those not yet loaded.
    waiting = {
        "q": [[edge] for q_edges, _ in work for edge in q_edges],
        "k": [k_edges for _, k_edges in work],
    }
    banks: dict[str, list[list[Edge]]] = {side: [[] for _ in range(BANKS)] for side in waiting}
    counts = {"q": 0, "k": 0}
    used = {"q": 0, "k": 0}
    peeks = dict.fromkeys(waiting, (0, 0))
    seen: list[tuple[int, dict]] = []
    rows_out: list[int] = []
    most = 0

    async def surroundings(ctx) -> None:
        nonlocal most, peeks
        now = held = 0
        while len([s for _, s in seen if s["last"]]) < len(tiles):
            for side in ("q", "k"):
                bank, place = peeks[side]
                if place < len(banks[side][bank]):
                    ctx.set(getattr(dut, f"{side}_tile"), describe(banks[side][bank][place]))
                fits = used[side] < BANKS and bool(waiting[side])
                load = fits and (eager or rng.random() < 0.2)
                ctx.set(getattr(dut, f"{side}_loaded"), int(load))
                if load:
                    # Visible with the sequencer's own count, in the next cycle.
                    banks[side][counts[side] % BANKS] = waiting[side].pop(0)
                    counts[side] += 1
                    used[side] += 1
            leaves = bool(rows_out) and rows_out[0] <= now and (eager or rng.random() < 0.3)
            ctx.set(dut.score_row_read, int(leaves))
            if leaves:
                rows_out.pop(0)
                held -= 1
            step = ctx.get(dut.step)
            if step.q.valid:
                assert step.k.valid
                seen.append(
                    (
                        now,
                        {
                            "q": banks["q"][step.q.location.bank][step.q.location.tile],
                            "k": banks["k"][step.k.location.bank][step.k.location.tile],
                            "q_low": step.q.plane.value,
                            "k_low": step.k.plane.value,
                            "at": step.q.word * config.load_nibbles + step.q.part * config.depth,
                            "first": step.control.first,
                            "shift": step.control.shift,
                            "last": step.control.last,
                            "mixed": ctx.get(dut.mixed_started),
                        },
                    )
                )
                assert ctx.get(dut.tile_started) == step.control.first
                assert step.drain.valid == step.control.last
                for side in ("q", "k"):
                    used[side] -= step[side].release
                if step.drain.valid:
                    rows_out.extend([now + 5] * step.drain.rows)
                if step.control.first:
                    held += seen[-1][1]["q"].tokens
                    most = max(most, held)
            else:
                assert not ctx.get(dut.tile_started)
                assert not step.control.last
            # Described in the next cycle.
            shown = {side: ctx.get(getattr(dut, f"{side}_peek")) for side in peeks}
            peeks = {side: (peek.bank, peek.tile) for side, peek in shown.items()}
            await ctx.tick()
            now += 1

    run(dut, surroundings, deadline=100_000)

    steps = iter(seen)
    ends, starts = [], []
    for q, k in tiles:
        for index, expected in enumerate(tile_steps(config, q, k)):
            now, step = next(steps)
            assert step["q"] is q
            assert step["k"] is k
            chunk = slice(step["at"], step["at"] + config.depth)
            assert (q.planes[step["q_low"]][:, chunk] == expected.q).all()
            assert (k.planes[step["k_low"]][:, chunk] == expected.k).all()
            assert (step["first"], step["last"]) == (expected.first, expected.last)
            assert step["mixed"] == (expected.first and (q.mixed or k.mixed))
            power = (expected.scale.bit_length() - 1) // 4
            assert step["shift"] == power
            # Once started a tile never stalls.
            if index:
                assert now == starts[-1] + index
            else:
                starts.append(now)
        ends.append(now)
    assert next(steps, None) is None
    assert most <= config.score_rows
    # Tiles leave each other time to drain; otherwise the next one follows at once.
    assert all(b - a >= config.rows for a, b in pairwise(ends))
    if eager and config.rows <= config.steps:
        assert all(start == end + 1 for end, start in zip(ends, starts[1:], strict=False))
