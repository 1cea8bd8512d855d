"""Skid and buffer: beats in order, none late, whatever the sink's pattern."""

import numpy as np
import pytest
from amaranth.hdl import Module, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.base.skid import buffered, skid
from dtqatten.sim.engines.native import run


class Skid(wiring.Component):
    i: In(stream.Signature(unsigned(8)))
    o: Out(stream.Signature(unsigned(8)))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        skid(m, self.i, self.o, "beat")
        return m


class Buffered(Skid):
    def elaborate(self, platform: object) -> Module:
        m = Module()
        buffered(m, self.i, self.o, "beat")
        return m


@pytest.mark.parametrize("sends", [1.0, 0.5])
@pytest.mark.parametrize("takes", [1.0, 0.5])
@pytest.mark.parametrize(("block", "places", "latency"), [(Skid, 1, 0), (Buffered, 2, 1)])
def test_beats_pass_in_order_and_in_time(block, places, latency, sends, takes) -> None:
    dut = block()
    rng = np.random.default_rng(0)

    async def testbench(ctx) -> None:
        number, got, held = 0, 0, 0
        for _ in range(400):
            # Asked before the sink says anything: ready is a register.
            room = ctx.get(dut.i.ready)
            assert room == (held < places)
            sent, taken = rng.random() < sends, rng.random() < takes
            ctx.set(dut.i.valid, int(sent))
            ctx.set(dut.i.payload, number % 256)
            ctx.set(dut.o.ready, int(taken))
            assert ctx.get(dut.i.ready) == room
            valid = ctx.get(dut.o.valid)
            assert valid == (held > 0 or (sent and not latency))
            if valid:
                assert ctx.get(dut.o.payload) == got % 256
            await ctx.tick()
            number += sent and room
            got += valid and taken
            held = number - got
        assert got > 60
        assert takes < 1 or sends < 1 or got == 400 - latency

    run(dut, testbench)
