"""Rings of rows: room is reserved before a row sets out, rows are read when committed."""

import numpy as np
import pytest
from amaranth.hdl import unsigned
from amaranth.lib import data

from dtqatten.hw.base.row_ring import RowFifo, RowRing
from dtqatten.sim.engines.native import run

ROW = data.StructLayout({"number": unsigned(9)})


@pytest.mark.parametrize("banked", [False, True])
@pytest.mark.parametrize("late", [False, True])
def test_rows_come_out_in_order_and_room_is_exact(banked: bool, late: bool) -> None:
    depth = 6
    dut = RowRing(ROW, depth, banked=banked, late=late)
    rng = np.random.default_rng(2 * banked + late)
    full = 0

    async def testbench(ctx) -> None:
        nonlocal full
        reserved = written = committed = taken = 0  # rows so far
        freed = [0, 0]  # rows read by the end of each cycle before
        shown: list[int | None] = [None, None]  # what the ring has read, a cycle ago and two
        for _ in range(600):
            assert ctx.get(dut.room) == (reserved - freed[-1 - late] < depth + late)
            assert ctx.get(dut.ready) == (committed > taken)
            known = shown[-1 - banked]
            if known is not None:
                assert ctx.get(dut.data.number) == known
            full += reserved - freed[-1] >= depth
            reserve = bool(ctx.get(dut.room)) and rng.random() < 0.7
            write = written < reserved and rng.random() < 0.8
            commit = committed < written and rng.random() < 0.4
            read = bool(ctx.get(dut.ready)) and rng.random() < 0.5
            ctx.set(dut.reserve, int(reserve))
            ctx.set(dut.write, int(write))
            ctx.set(dut.row.number, written % 512)
            ctx.set(dut.commit, int(commit))
            by = int(rng.integers(1, written - committed + 1)) if commit else 1
            ctx.set(dut.committed, by)
            ctx.set(dut.read, int(read))
            shown.append(taken % 512 if read else shown[-1])
            reserved += reserve
            written += write
            committed += commit * by
            taken += read
            freed.append(taken)
            await ctx.tick()

    run(dut, testbench)
    assert full > 10


@pytest.mark.parametrize("spare", [0, 2])
def test_a_fifo_offers_a_row_two_cycles_after_its_write(spare: int) -> None:
    dut = RowFifo(ROW, 4, spare=spare)
    rng = np.random.default_rng(spare)

    async def testbench(ctx) -> None:
        reserved = 0
        written: list[int] = []  # the cycle of each row's write
        taken = 0
        for now in range(400):
            offered = bool(ctx.get(dut.o.valid))
            if taken < len(written) and written[taken] <= now - 2:
                assert offered
            if offered:
                assert taken < len(written)
                assert written[taken] <= now - 2
                assert ctx.get(dut.o.p.number) == taken
            reserve = bool(ctx.get(dut.room)) and rng.random() < 0.8
            if spare and not ctx.get(dut.room) and reserved - taken < 4:
                # What ``room`` keeps back may still be reserved.
                reserve = rng.random() < 0.2
            write = len(written) < reserved and rng.random() < 0.8
            ready = rng.random() < 0.6
            ctx.set(dut.reserve, int(reserve))
            ctx.set(dut.write, int(write))
            ctx.set(dut.row.number, len(written))
            ctx.set(dut.o.ready, int(ready))
            reserved += reserve
            if write:
                written.append(now)
            taken += offered and ready
            await ctx.tick()
        assert taken > 50

    run(dut, testbench)
