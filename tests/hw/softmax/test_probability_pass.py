"""The third pass: probabilities of all rows and, with V gains, weights beside them."""

import pytest

from dtqatten import Config
from dtqatten.hw.softmax.gained_probability_pass import GainedProbabilityPass
from dtqatten.hw.softmax.probability_pass import ProbabilityPass
from dtqatten.sim.engines.native import run


@pytest.mark.parametrize("v_gains", [False, True])
def test_a_row_leaves_five_cycles_later(v_gains: bool) -> None:
    config = Config(rows=2, cols=2, depth=1, d_head=8, n_max=4, v_gains=v_gains)
    dut = (GainedProbabilityPass if v_gains else ProbabilityPass)(config)
    seen = []

    async def testbench(ctx) -> None:
        if v_gains:
            for gain, last in ((256, 0), (128, 1)):
                ctx.set(dut.values.valid, 1)
                ctx.set(dut.values.p, {"item": {"gain": gain, "narrow": 0}, "last": last})
                await ctx.tick()
            ctx.set(dut.values.valid, 0)
        ctx.set(dut.i_valid, 1)
        ctx.set(dut.i.exponentials, [65535, 65535])
        ctx.set(dut.i.keys, 2)
        for flag in ("last_row", "last_tile", "last_block"):
            ctx.set(dut.i[flag], 1)
        # The reciprocal of the sum, and no shift but that of the gain.
        total = 2 * 65535
        exponent = total.bit_length()
        ctx.set(dut.normalizer.reciprocal.mantissa, ((1 << exponent + 16) - 1) // total)
        ctx.set(dut.normalizer.reciprocal.exponent, exponent)
        for cycle in range(20):
            if ctx.get(dut.probabilities_valid):
                row = ctx.get(dut.probabilities)
                seen.append((cycle, list(row.probabilities), row.keys, row.last_block))
                if v_gains:
                    assert ctx.get(dut.weights_valid)
                    assert list(ctx.get(dut.weights.weights)) == [119, 59]  # of 118.999 and 59.4995
                    assert ctx.get(dut.weights.keys) == 2
            await ctx.tick()
            ctx.set(dut.i_valid, 0)

    run(dut, testbench)
    assert seen == [(ProbabilityPass.LATENCY, [32768, 32768], 2, 1)]
    assert ProbabilityPass.LATENCY == 5
