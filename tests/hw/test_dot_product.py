"""The tree of adders: every pair of nibbles, extremes, random vectors, any depth."""

import itertools

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from dtqatten import Config
from dtqatten.hw.dot_product import DotProduct
from dtqatten.hw.export import ExportPlatform


class Netlist(DotProduct):
    """The dot product as it is exported, in Amaranth's simulator."""

    def elaborate(self, platform: object) -> Module:
        return super().elaborate(ExportPlatform())


@pytest.mark.parametrize("kind", [DotProduct, Netlist])
@pytest.mark.parametrize("depth", [1, 2, 3, 8, 16])
def test_sum_and_carry_are_the_dot_product(kind: type[DotProduct], depth: int) -> None:
    config = Config(rows=1, cols=1, depth=depth, d_head=8 * depth)
    rng = np.random.default_rng(depth)
    pairs = [
        (np.full(depth, q), np.full(depth, k)) for q, k in itertools.product(range(-8, 8), repeat=2)
    ]
    pairs += [tuple(rng.integers(-8, 8, (2, depth))) for _ in range(300)]
    dut = kind(config)

    async def testbench(ctx) -> None:
        for q, k in pairs:
            ctx.set(dut.q, q.tolist())
            ctx.set(dut.k, k.tolist())
            assert ctx.get(dut.sum) + ctx.get(dut.carry) - dut.offset == int((q * k).sum())
            await ctx.delay(1e-6)

    simulator = Simulator(dut)
    simulator.add_testbench(testbench)
    simulator.run()
    assert dut.width == (176 * depth).bit_length()
