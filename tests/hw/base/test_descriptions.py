"""Descriptions: the current item and the one after it, in registers, as late as stated."""

import numpy as np
import pytest
from amaranth.hdl import unsigned
from amaranth.lib import data

from dtqatten.hw.base.descriptions import Descriptions
from dtqatten.sim.engines.native import run


@pytest.mark.parametrize("depth", [2, 3, 4])
@pytest.mark.parametrize(("writes", "steps"), [(1.0, 0.7), (0.3, 0.9), (0.9, 0.3)])
def test_items_are_described_in_order_and_as_late_as_stated(depth, writes, steps) -> None:
    dut = Descriptions(data.StructLayout({"number": unsigned(12)}), depth)
    rng = np.random.default_rng(depth)
    seen = {"item": 0, "after": 0}

    async def testbench(ctx) -> None:
        written: list[int] = []  # the cycle of each item's write
        current, stepped = 0, -2
        for now in range(2000):
            assert ctx.get(dut.index) == current % depth
            if current < len(written):
                at = written[current]
                if now >= at + (3 if stepped in (at, at + 1) else 2):
                    assert ctx.get(dut.item.number) == current
                    seen["item"] += 1
            if current + 1 < len(written) and now >= max(written[current + 1], stepped) + 2:
                assert ctx.get(dut.after.number) == current + 1
                seen["after"] += 1
            write = len(written) - current < depth and rng.random() < writes
            step = current < len(written) and stepped != now - 1 and rng.random() < steps
            ctx.set(dut.write, int(write))
            ctx.set(dut.written.number, len(written) if write else 4095)
            ctx.set(dut.step, int(step))
            if write:
                written.append(now)
            if step:
                current, stepped = current + 1, now
            await ctx.tick()

    run(dut, testbench)
    assert min(seen.values()) > 10
