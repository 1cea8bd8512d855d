"""A head's keys go before its values, and its values before the next head's keys."""

import numpy as np
import pytest

from dtqatten.hw.memory.turns import KeysFirst
from dtqatten.sim.engines.native import run


@pytest.mark.parametrize("chosen", [None, 0, 1])
def test_every_plane_waits_for_what_comes_before_it(chosen: int | None) -> None:
    """Values that wait for a choice come after the next head's keys."""
    rng = np.random.default_rng(0)
    dut = KeysFirst(chosen is not None)

    async def testbench(ctx) -> None:
        if chosen is not None:
            ctx.set(dut.chosen, chosen)
        for case in range(600):
            most = 3 if case < 500 else 1 << 16
            heads = {role: rng.integers(0, most, 2).tolist() for role in "kv"}
            busy = {role: int(rng.integers(4)) for role in "kv"}
            for role in "kv":
                ctx.set(getattr(dut, f"{role}_busy"), busy[role])
                for plane in range(2):
                    ctx.set(getattr(dut, f"{role}_head")[plane], heads[role][plane])
            await ctx.tick()
            # Keys and values of a head follow each other, and so do heads.
            after = 3 if chosen else 1
            turn = {"k": [2 * h for h in heads["k"]], "v": [2 * h + after for h in heads["v"]]}
            late = [
                any(busy[other] >> i & 1 and turn[other][i] < turn[role][plane] for i in range(2))
                for role, other in ("kv", "vk")
                for plane in range(2)
            ]
            assert ctx.get(dut.late) == sum(int(bit) << i for i, bit in enumerate(late))

    run(dut, testbench)
