"""The divider: exact, with the latency and the throughput that it states."""

import numpy as np
import pytest

from dtqatten.hw.base.divider import Divider
from dtqatten.sim.engines.native import run

#: Every pair of small operands; as importances are divided: both ends of the ranges, and random.
SMALL = [(a, b) for a in range(16) for b in range(1, 8)]
ENDS = [(2**32 - 1, 1), (2**32 - 1, 2047), (0, 5), (2046, 2047), (2047, 2047)]
RANDOM = np.random.default_rng(0).integers((0, 1), (2**32, 2048), (50, 2)).tolist()


@pytest.mark.parametrize(
    ("widths", "bits", "operands"),
    [*(((4, 3), bits, SMALL) for bits in (1, 2, 4)), ((32, 11), 2, [*ENDS, *RANDOM])],
    ids=str,
)
def test_a_quotient_a_cycle_after_the_stated_latency(widths, bits, operands) -> None:
    dut = Divider(*widths, bits=bits)
    assert dut.latency == widths[0] // bits

    async def testbench(ctx) -> None:
        for cycle in range(len(operands) + dut.latency):
            if cycle < len(operands):
                ctx.set(dut.dividend, operands[cycle][0])
                ctx.set(dut.divisor, operands[cycle][1])
            if cycle >= dut.latency:
                dividend, divisor = operands[cycle - dut.latency]
                assert ctx.get(dut.quotient) == dividend // divisor
            await ctx.tick()

    run(dut, testbench)
