"""The score buffer: skewed columns in, straight rows out."""

import numpy as np
import pytest

from dtqatten import Config, Schedule
from dtqatten.hw.arrays.score_buffer import ScoreBuffer
from dtqatten.sim.engines.native import run


@pytest.mark.parametrize("schedule", list(Schedule))
@pytest.mark.parametrize("stall", [0.0, 0.6])
@pytest.mark.parametrize(("rows", "cols", "pod"), [(1, 1, 1), (3, 2, 1), (2, 5, 1), (2, 6, 3)])
def test_rows_leave_whole_and_in_order(schedule, stall, rows, cols, pod) -> None:
    config = Config(rows=rows, cols=cols, pod_cols=pod, depth=8, d_head=16, schedule=schedule)
    rng = np.random.default_rng(rows)
    tiles, room = [], []
    cycle = 0
    for number in range(20):
        count = int(rng.integers(1, rows + 1))
        lift = 0 if schedule is Schedule.INTERLEAVED else int(rng.integers(3))
        scores = rng.integers(-900, 900, (count, cols))
        tiles.append((cycle, count, lift, scores, number % 3 == 0, number % 4 == 0))
        cycle += rows + int(rng.integers(3))
    expected = [
        (scores[r] * 16**lift, count, r == count - 1, tile, block)
        for _, count, lift, scores, tile, block in tiles
        for r in range(count)
    ]
    dut = ScoreBuffer(config, config.score_width)
    arrivals: list[int] = []

    async def producer(ctx) -> None:
        # Starts tiles only when the buffer has room, as the sequencer does.
        free, now, busy_until = config.score_rows, 0, 0
        waiting, falling = list(tiles), {}
        while waiting or falling:
            ctx.set(dut.drain.valid, 0)
            if waiting and free >= rows and now >= max(busy_until, waiting[0][0]):
                _, count, lift, scores, tile, block = waiting.pop(0)
                ctx.set(
                    dut.drain,
                    {
                        "valid": 1,
                        "rows": count,
                        "keys": count if count <= cols else cols,
                        "lift": lift,
                        "last_tile": int(tile),
                        "last_block": int(block),
                    },
                )
                free -= count
                busy_until = now + rows
                arrivals.extend(now + 2 + r + cols // pod for r in range(count))
                for r, c in np.ndindex(scores.shape):
                    falling[now + 1 + r + c // pod, c] = int(scores[r, c])
            ctx.set(dut.columns, [falling.pop((now, c), 77) for c in range(cols)])
            *_, read = await ctx.tick().sample(dut.row_read)
            free += read
            room.append(free)
            now += 1
        ctx.set(dut.drain.valid, 0)

    async def consumer(ctx) -> None:
        now = 0
        for number, (scores, count, last_row, tile, block) in enumerate(expected):
            while True:
                ctx.set(dut.o.ready, int(rng.random() >= stall))
                *_, valid, ready, row = await ctx.tick().sample(
                    dut.o.valid, dut.o.ready, dut.o.payload
                )
                now += 1
                if valid and ready:
                    break
            assert list(row.scores) == scores.tolist()
            assert row.keys == min(count, cols)
            assert (row.last_row, row.last_tile, row.last_block) == (last_row, tile, block)
            if not stall:
                assert now - 1 == arrivals[number]

    run(dut, producer, consumer)
    assert min(room) >= 0
