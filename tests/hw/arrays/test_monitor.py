"""The monitor: flags that travel one hop a cycle, and their counts."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.hw.arrays.monitor import Monitor
from dtqatten.sim.engines.native import run
from dtqatten.sim.engines.ports import pack, unpack


@pytest.mark.parametrize("pod", [1, 2, 4])
def test_counts_follow_the_flags(pod: int) -> None:
    config = Config(rows=3, cols=4, pod_cols=pod, depth=1, d_head=8)
    rng = np.random.default_rng(0)
    cycles, clear_at = 60, 30
    occupied = {side: rng.random((cycles, n)) < 0.7 for side, n in (("q", 3), ("k", 4))}
    active = {side: flags & (rng.random(flags.shape) < 0.6) for side, flags in occupied.items()}
    dut = Monitor(config)

    def both(flags, cycle: int) -> np.ndarray:
        """Flags at PE (r, c): of row r c // pod + 1 cycles ago, of column c r + 1 ago."""
        picture = np.zeros((3, 4), dtype=bool)
        for r, c in np.ndindex(3, 4):
            q_at, k_at = cycle - c // pod - 1, cycle - r - 1
            picture[r, c] = q_at >= 0 and k_at >= 0 and flags["q"][q_at, r] & flags["k"][k_at, c]
        return picture

    async def testbench(ctx) -> None:
        busy_cycles, stall_cycles = np.zeros((2, 3, 4), dtype=int)
        for cycle in range(cycles):
            for side in ("q", "k"):
                ctx.set(getattr(dut, f"{side}_occupied"), pack(occupied[side][cycle], 1))
                ctx.set(getattr(dut, f"{side}_active"), pack(active[side][cycle], 1))
            clear = cycle == clear_at
            ctx.set(dut.clear, int(clear))
            busy = both(active, cycle)
            stalled = both(occupied, cycle) & ~busy
            assert (unpack(ctx.get(dut.busy), 1, 12).reshape(3, 4) == busy).all()
            assert (unpack(ctx.get(dut.stalled), 1, 12).reshape(3, 4) == stalled).all()
            assert list(ctx.get(dut.busy_cycles)) == busy_cycles.ravel().tolist()
            assert list(ctx.get(dut.stall_cycles)) == stall_cycles.ravel().tolist()
            busy_cycles = (busy_cycles + busy) * (not clear)
            stall_cycles = (stall_cycles + stalled) * (not clear)
            await ctx.tick()

    run(dut, testbench)
