"""The simulator's helpers: they see what breaks a stream, and never run for ever."""

import numpy as np
import pytest
from amaranth.hdl import Module, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import Out

from dtqatten.sim.engines.native import collect, run, watch


class Source(wiring.Component):
    """A stream that the testbench drives."""

    o: Out(stream.Signature(unsigned(4)))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.o.p.eq(self.o.p)  # a clock
        return m


def drive(dut: Source, offers: list[int | None], ready: list[int]):
    async def testbench(ctx) -> None:
        for beat, taken in zip(offers, ready, strict=True):
            ctx.set(dut.o.valid, int(beat is not None))
            ctx.set(dut.o.p, beat or 0)
            ctx.set(dut.o.ready, taken)
            await ctx.tick()

    return testbench


def test_what_passes_is_noted_with_its_cycle() -> None:
    dut = Source()
    passed, monitor = watch(dut.o)
    run(dut, drive(dut, [None, 3, 3, 7, None], [1, 0, 1, 1, 1]), background=[monitor])
    assert passed == [(2, 3), (3, 7)]


@pytest.mark.parametrize("then", [None, 4])
def test_an_offer_that_does_not_stay_is_seen(then: int | None) -> None:
    dut = Source()
    _, monitor = watch(dut.o)
    with pytest.raises(AssertionError, match="offered 3, not taken"):
        run(dut, drive(dut, [3, then, None], [0, 1, 1]), background=[monitor])


def test_a_deadlock_ends_at_the_deadline() -> None:
    dut = Source()
    _, sink = collect(dut.o, 1, np.random.default_rng(0))
    with pytest.raises(TimeoutError, match="after 20 cycles"):
        run(dut, sink, deadline=20)
