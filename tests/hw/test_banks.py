"""Banked memory: one bank is written while the other one is read."""

import numpy as np
import pytest

from dtqatten.config import BANKS
from dtqatten.hw.banks import BankedMemory
from dtqatten.sim.native import run


@pytest.mark.parametrize(("width", "depth", "granularity"), [(8, 5, 4), (3, 1, None), (12, 16, 12)])
def test_reads_of_one_bank_pass_writes_of_the_other(width, depth, granularity) -> None:
    dut = BankedMemory(width, depth, granularity)
    rng = np.random.default_rng(width)
    words = np.zeros((BANKS, depth), dtype=int)
    part = (1 << dut.granularity) - 1

    async def testbench(ctx) -> None:
        expected = None
        for _ in range(300):
            bank = int(rng.integers(BANKS))
            write, address, value, read, other = (
                int(rng.integers(limit))
                for limit in (1 << len(dut.write), depth, 1 << width, 2, depth)
            )
            ctx.set(dut.write, write)
            ctx.set(dut.write_bank, bank)
            ctx.set(dut.write_address, address)
            ctx.set(dut.write_data, value)
            ctx.set(dut.read, read)
            ctx.set(dut.read_bank, 1 - bank if write else bank)
            ctx.set(dut.read_address, other)
            if expected is not None:
                assert ctx.get(dut.data) == expected
            expected = words[1 - bank if write else bank, other] if read else None
            mask = sum(part << i * dut.granularity for i in range(len(dut.write)) if write >> i & 1)
            words[bank, address] = words[bank, address] & ~mask | value & mask
            await ctx.tick()

    run(dut, testbench)
