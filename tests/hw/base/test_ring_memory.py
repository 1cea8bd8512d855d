"""Ring memory: words come out in order, whatever the pattern of writes and reads."""

import numpy as np
import pytest

from dtqatten.hw.base.ring_memory import RingMemory
from dtqatten.sim.engines.native import run


@pytest.mark.parametrize("depth", [1, 2, 5, 8])
@pytest.mark.parametrize(("writes", "reads"), [(1.0, 1.0), (0.5, 0.9), (0.9, 0.5), (0.5, 0.5)])
def test_words_come_out_in_order(depth: int, writes: float, reads: float) -> None:
    dut = RingMemory(7, depth)
    rng = np.random.default_rng(depth)
    held: list[int] = []
    together = 0

    async def testbench(ctx) -> None:
        nonlocal together
        shown = late = None
        for _ in range(400):
            # A word may be read from the cycle after its write on.
            read = bool(held) and rng.random() < reads
            write = len(held) < depth and rng.random() < writes
            word = int(rng.integers(128))
            ctx.set(dut.write, write)
            ctx.set(dut.word, word)
            ctx.set(dut.read, read)
            if late is not None:
                assert ctx.get(dut.data) == late  # until the next read
            late = shown
            if read:
                shown = held.pop(0)
            if write:
                held.append(word)
            together += read and write
            await ctx.tick()

    run(dut, testbench)
    assert together > 20 or depth == 1
