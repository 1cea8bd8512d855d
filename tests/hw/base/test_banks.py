"""Banked memory: one bank is written while the other one is read."""

import numpy as np
import pytest

from dtqatten.configuration.core import BANKS
from dtqatten.hw.base.banks import BankedMemory
from dtqatten.sim.engines.native import run


@pytest.mark.parametrize("stages", [0, 1, 2])
@pytest.mark.parametrize(("width", "depth", "granularity"), [(8, 5, 4), (3, 1, None), (12, 16, 12)])
def test_reads_of_one_bank_pass_writes_of_the_other(width, depth, granularity, stages) -> None:
    dut = BankedMemory(width, depth, granularity, stages=stages)
    rng = np.random.default_rng(width)
    words = np.zeros((BANKS, depth), dtype=int)
    part = (1 << dut.granularity) - 1

    async def testbench(ctx) -> None:
        # What is read, and what is written, of the cycles before.
        expected: list[int | None] = [None] * (stages + 1)
        late: list[tuple[int, int, int, int]] = []
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
            if (now := expected.pop(0)) is not None:
                assert ctx.get(dut.data) == now
            mask = sum(part << i * dut.granularity for i in range(len(dut.write)) if write >> i & 1)
            late.append((bank, address, mask, value))
            read_bank = 1 - bank if write else bank
            # While a write is under way its bank is not read.
            known = all(b != read_bank or not m for b, _, m, _ in late)
            expected.append(int(words[read_bank, other]) if read and known else None)
            if len(late) > stages:
                b, a, m, v = late.pop(0)
                words[b, a] = words[b, a] & ~m | v & m
            await ctx.tick()

    run(dut, testbench)
