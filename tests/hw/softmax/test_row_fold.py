"""Folding tiles row by row: blocks of every height, also of one row, back to back."""

import gc

import numpy as np
import pytest
from amaranth.hdl import signed, unsigned

from dtqatten.hw.softmax.row_fold import RowFold
from dtqatten.sim.engines.native import run


@pytest.mark.parametrize("pause", [0.0, 0.4])
@pytest.mark.parametrize("operation", ["max", "sum"])
def test_folds_each_row_of_each_block(operation: str, pause: float) -> None:
    rng = np.random.default_rng(0)
    rows = 3
    dut = RowFold(rows, signed(12) if operation == "max" else unsigned(12), operation)
    shapes = [(1, 1), (1, 4), (2, 3), (3, 1), (1, 2), (3, 3), (1, 1), (1, 1), (2, 2)]
    beats, expected = [], []
    for count, tiles in shapes:
        low = -2000 if operation == "max" else 0
        values = rng.integers(low, 1000, (tiles, count))
        fold = np.maximum if operation == "max" else np.add
        totals = fold.accumulate(values, axis=0)
        for t, r in np.ndindex(tiles, count):
            flags = {"valid": 1, "last_row": int(r == count - 1), "last_tile": int(t == tiles - 1)}
            beats.append((int(values[t, r]), flags | {"last_block": 0}))
            expected.append((int(totals[t, r]), flags["last_row"], flags["last_tile"]))

    async def testbench(ctx) -> None:
        got, offered = [], []
        for cycle in range(1000):
            waiting = beats and rng.random() >= pause
            ctx.set(dut.i, {"valid": 0, "last_row": 1, "last_tile": 1, "last_block": 1})
            if waiting:
                value, flags = beats.pop(0)
                ctx.set(dut.i, flags)
                ctx.set(dut.value, value)
                offered.append(cycle)
            if ctx.get(dut.o.valid):
                assert offered[len(got)] == cycle - RowFold.LATENCY
                got.append((ctx.get(dut.total), ctx.get(dut.o.last_row), ctx.get(dut.o.last_tile)))
            if len(got) == len(expected):
                break
            await ctx.tick()
        assert got == expected

    run(dut, testbench)


@pytest.mark.filterwarnings("ignore:.*created but never used")
def test_an_unknown_operation_is_refused() -> None:
    with pytest.raises(ValueError, match="operation is 'min': choose max or sum"):
        RowFold(1, unsigned(1), "min")
    gc.collect()  # of the refused component, which Amaranth reports as unused
