"""Registers in series, counts and products."""

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.base.pipeline import bit_length, counted, multiplied
from dtqatten.sim.engines.native import run


class Counted(wiring.Component):
    def __init__(self, width: int, **limits: int) -> None:
        self.limits = limits
        super().__init__({"more": In(1), "by": In(width), "less": In(1), "some": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        limits = {"by": self.by, **self.limits}
        m.d.comb += self.some.eq(counted(m, self.more, self.less, "some", **limits))
        return m


@pytest.mark.parametrize(
    ("most", "init", "spare"), [(1, 0, 0), (1, 1, 0), (5, 5, 0), (6, 6, 3), (4, 3, 3), (9, 0, 2)]
)
def test_count_exceeds_what_is_spared(most: int, init: int, spare: int) -> None:
    rng = np.random.default_rng(most)
    dut = Counted(1, most=most, init=init, spare=spare, by=1)

    async def testbench(ctx) -> None:
        count = init
        for drift in np.repeat(rng.random(20), 20):
            more, less = rng.random() < drift, rng.random() > drift
            more &= count < most or less
            less &= count > 0
            ctx.set(dut.more, int(more))
            ctx.set(dut.less, int(less))
            assert ctx.get(dut.some) == (count > spare)
            await ctx.tick()
            count += int(more) - int(less)

    run(dut, testbench)


def test_count_of_many_at_once() -> None:
    rng = np.random.default_rng(0)
    dut = Counted(3, most=7)

    async def testbench(ctx) -> None:
        count = 0
        for _ in range(500):
            less = count > 0 and rng.random() < 0.6
            more = int(rng.integers(0, 8 - count)) if rng.random() < 0.3 else 0
            ctx.set(dut.more, int(more > 0))
            ctx.set(dut.by, more or int(rng.integers(8)))
            ctx.set(dut.less, int(less))
            assert ctx.get(dut.some) == (count > 0)
            await ctx.tick()
            count += more - int(less)

    run(dut, testbench)


class Multiplier(wiring.Component):
    a: In(signed(7))
    b: In(5)
    product: Out(signed(12))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.product.eq(multiplied(m, self.a, self.b, "whole"))
        return m


def test_a_product_a_cycle_three_cycles_late() -> None:
    rng = np.random.default_rng(0)
    pairs = [
        (-64, 31),
        (63, 31),
        (-1, 1),
        *zip(rng.integers(-64, 64, 50), rng.integers(0, 32, 50), strict=True),
    ]
    dut = Multiplier()

    async def testbench(ctx) -> None:
        for at in range(len(pairs) + 3):
            a, b = pairs[min(at, len(pairs) - 1)]
            ctx.set(dut.a, int(a))
            ctx.set(dut.b, int(b))
            if at >= 3:
                a, b = pairs[at - 3]
                assert ctx.get(dut.product) == a * b
            await ctx.tick()

    run(dut, testbench)


class BitLength(wiring.Component):
    def __init__(self, width: int) -> None:
        super().__init__({"value": In(width), "length": Out(range(width + 1))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.length.eq(bit_length(self.value))
        m.d.sync += Signal().eq(0)  # a clock for the simulator
        return m


@pytest.mark.parametrize("width", [1, 2, 3, 8, 25])
def test_bit_length(width: int) -> None:
    dut = BitLength(width)
    edges = {x for i in range(width) for x in ((1 << i) - 1, 1 << i, (1 << i) + 1)}

    async def testbench(ctx) -> None:
        for value in sorted({*edges, (1 << width) - 1}):
            if value < 1 << width:
                ctx.set(dut.value, value)
                assert ctx.get(dut.length) == value.bit_length()
                await ctx.tick()

    run(dut, testbench)
