"""Runs in, rows out: what a run measures, and the rows of its passes and classes."""

import numpy as np
import pytest

from dtqatten.hw.payloads.topk import TopKConfig
from dtqatten.hw.ranking.run_memory import RowReader, RunLoader
from dtqatten.sim.engines.native import run

CONFIG = TopKConfig(4, 14, score_width=8, index_bits=4)


@pytest.mark.parametrize("marked", [True, False], ids=["last", "full memory"])
def test_a_run_is_measured_beat_by_beat(marked: bool) -> None:
    dut = RunLoader(CONFIG)
    rng = np.random.default_rng(marked)

    async def testbench(ctx) -> None:
        for _ in range(40):
            tokens = int(rng.integers(1, CONFIG.n_max + 1)) if marked else CONFIG.capacity
            scores = rng.integers(0, 256, tokens)
            # Absent lanes may carry anything.
            beats = rng.integers(0, 256, (-(-tokens // 4), 4))
            beats.flat[:tokens] = scores
            seen = 0
            for row, beat in enumerate(beats):
                last = row == len(beats) - 1
                ctx.set(dut.row, row)
                payload = {"scores": [int(x) for x in beat], "last": int(last and marked)}
                count = tokens - 4 * row
                payload["tokens"] = count % 4 if last else int(rng.integers(5))
                ctx.set(dut.i.p, payload)
                while True:
                    given, taken = rng.random() < 0.7, rng.random() < 0.7
                    ctx.set(dut.i.valid, int(given))
                    ctx.set(dut.open, int(taken))
                    assert ctx.get(dut.i.ready) == taken
                    assert ctx.get(dut.beat) == (given and taken)
                    assert ctx.get(dut.last) == last
                    assert ctx.get(dut.fresh) == (row == 0)
                    await ctx.tick()
                    if given and taken:
                        break
                seen |= int(np.bitwise_or.reduce(scores[4 * row : 4 * row + 4]))
                assert ctx.get(dut.seen) == seen
            ctx.set(dut.i.valid, 0)
            assert ctx.get(dut.tokens) == tokens
            extent = ctx.get(dut.extent)
            assert extent.single == (len(beats) == 1)
            assert extent.single or extent.before_last == len(beats) - 2
            assert extent.tail == (1 << (tokens - 1) % 4 + 1) - 1
            ctx.set(dut.clear, 1)
            await ctx.tick()
            ctx.set(dut.clear, 0)

    run(dut, testbench)


@pytest.mark.parametrize("rows", [1, 2, 4])
@pytest.mark.parametrize("classes", [(0,), (0, 1), (1,)], ids=str)
def test_rows_of_passes_and_classes(rows: int, classes: tuple[int, ...]) -> None:
    dut = RowReader(CONFIG)
    rng = np.random.default_rng(rows)
    tail = 0b0011

    async def testbench(ctx) -> None:
        ctx.set(dut.extent.single, int(rows == 1))
        ctx.set(dut.extent.before_last, (rows - 2) % 8)
        ctx.set(dut.extent.tail, tail)
        ctx.set(dut.some_wide, int(1 in classes))
        ctx.set(dut.only_wide, int(classes == (1,)))

        def check_fetched(row: int, last: bool) -> None:
            """The row read in the cycle before belongs to a pass."""
            assert ctx.get(dut.fetched)
            assert ctx.get(dut.lanes) == (tail if last else 15)

        for _ in range(3):
            ctx.set(dut.advance, 1)
            # Written rows are read in the cycle after: the first pass.
            for row in range(rows):
                last = row == rows - 1
                assert ctx.get(dut.row) == row
                ctx.set(dut.write, 1)
                ctx.set(dut.write_last, int(last))
                await ctx.tick()
                ctx.set(dut.write, 0)
                ctx.set(dut.write_last, int(rng.integers(2)))
                assert ctx.get(dut.read) == row
                assert ctx.get(dut.pass_last) == last
                await ctx.tick()
                check_fetched(row, last)
            # A further pass.
            ctx.set(dut.finished, 0)
            ctx.set(dut.pass_end, 1)
            await ctx.tick()
            ctx.set(dut.pass_end, 0)
            for row in range(rows):
                assert ctx.get(dut.read) == row
                assert ctx.get(dut.pass_last) == (row == rows - 1)
                await ctx.tick()
                check_fetched(row, row == rows - 1)
            await ctx.tick()
            assert not ctx.get(dut.fetched)
            # The classes, each with a class row without tokens at its end.
            ctx.set(dut.finished, 1)
            ctx.set(dut.pass_end, 1)
            ctx.set(dut.advance, int(rng.integers(2)))
            await ctx.tick()
            ctx.set(dut.pass_end, 0)
            for wide in classes:
                for row in range(rows + 1):
                    while rng.random() < 0.4:
                        ctx.set(dut.advance, 0)
                        await ctx.tick()
                    ctx.set(dut.advance, 1)
                    if row < rows:
                        assert ctx.get(dut.read) == row
                    await ctx.tick()
                    class_row = ctx.get(dut.class_row)
                    assert class_row.valid
                    assert (class_row.row, class_row.first, class_row.wide) == (row, row == 0, wide)
                    assert class_row.final == (wide == classes[-1])
                    lanes = 0 if row == rows else tail if row == rows - 1 else 15
                    assert ctx.get(dut.lanes) == lanes
            await ctx.tick()
            assert not ctx.get(dut.class_row.valid)
            ctx.set(dut.stop, 1)
            await ctx.tick()
            ctx.set(dut.stop, 0)

    run(dut, testbench)
