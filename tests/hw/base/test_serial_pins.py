"""Serial pins: the block behind them sees what was shifted in, and what it gives is shifted out."""

import numpy as np
import pytest
from amaranth.hdl import Module, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.base.export import verilog
from dtqatten.hw.base.serial_pins import SerialPins
from dtqatten.sim.engines.native import run
from dtqatten.sim.proofs.yosys import check_verilog


class Adder(wiring.Component):
    """Inputs, a nested one and one of no bits among them; two outputs."""

    a: In(5)
    none: In(0)
    b: In(stream.Signature(unsigned(4)))
    sum: Out(6)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += [self.sum.eq(self.a + self.b.payload), self.b.ready.eq(self.b.valid)]
        return m


@pytest.mark.parametrize("seed", range(3))
def test_bits_arrive_and_leave_in_order(seed: int) -> None:
    dut = SerialPins(Adder())
    rng = np.random.default_rng(seed)
    a, payload, valid = (int(rng.integers(below)) for below in (32, 16, 2))
    # In the order of the ports: a, b.payload, b.valid; sum comes after b.ready.
    given = a | payload << 5 | valid << 9
    wanted = valid | a + payload << 1

    async def testbench(ctx) -> None:
        for bit in reversed(range(10)):
            ctx.set(dut.serial_in, given >> bit & 1)
            await ctx.tick()
        ctx.set(dut.capture, 1)
        await ctx.tick()
        ctx.set(dut.capture, 0)
        found = 0
        for bit in range(7):
            found |= ctx.get(dut.serial_out) << bit
            await ctx.tick()
        assert found == wanted

    run(dut, testbench)


def test_the_verilog_has_five_pins() -> None:
    text = verilog(SerialPins(Adder()), "adder_pins")
    top = text[text.index("module dtqatten_adder_pins(") :].split(";")[0]
    assert sorted(top.split("(")[1].strip(") ").split(", ")) == sorted(
        ["clk", "rst", "serial_in", "capture", "serial_out"]
    )
    assert check_verilog(text, "dtqatten_adder_pins") == ""
