"""The tree of adders: every pair of nibbles, extremes, random vectors, any depth."""

import itertools

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.sim import Simulator

from dtqatten import Config
from dtqatten.hw.arrays.dot_product import DotProduct
from dtqatten.hw.base.export import ExportPlatform


class Netlist(DotProduct):
    """The dot product as it is exported, in Amaranth's simulator."""

    def elaborate(self, platform: object) -> Module:
        return super().elaborate(ExportPlatform())


@pytest.mark.parametrize("kind", [DotProduct, Netlist])
@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("depth", [1, 2, 3, 8, 16])
def test_sum_and_carry_are_the_dot_product(kind: type[DotProduct], stages: int, depth: int) -> None:
    config = Config(rows=1, cols=1, depth=depth, d_head=8 * depth, product_stages=stages)
    rng = np.random.default_rng(depth)
    pairs = [
        (np.full(depth, q), np.full(depth, k)) for q, k in itertools.product(range(-8, 8), repeat=2)
    ]
    pairs += [tuple(rng.integers(-8, 8, (2, depth))) for _ in range(300)]
    dut = kind(config)

    async def testbench(ctx) -> None:
        # With a register in between, that of zeros comes out first.
        expected = [int((q * k).sum()) for q, k in pairs]
        if stages == 2:
            expected.insert(0, 0)
        for (q, k), dot in zip(pairs, expected, strict=False):
            ctx.set(dut.q, q.tolist())
            ctx.set(dut.k, k.tolist())
            assert ctx.get(dut.sum) + ctx.get(dut.carry) - dut.offset == dot
            await (ctx.tick() if stages == 2 else ctx.delay(1e-6))

    simulator = Simulator(dut)
    if stages == 2:
        simulator.add_clock(1e-6)
    simulator.add_testbench(testbench)
    simulator.run()
    assert dut.width == (176 * depth).bit_length()
