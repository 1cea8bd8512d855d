"""One stream for several: each gets what it wants, once, and none holds up what it need not."""

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.base.fork import fork
from dtqatten.sim.engines.native import collect, offer, run, watch

WIDTH = 8


class Fork(wiring.Component):
    """Beats whose low bits say which sinks want them."""

    def __init__(self, count: int) -> None:
        self.count = count
        beat = stream.Signature(unsigned(WIDTH))
        super().__init__({"i": In(beat), "o": Out(beat).array(count)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        fork(m, self.i, list(self.o), [self.i.p[n] for n in range(self.count)], "sink")
        m.d.comb += [sink.p.eq(self.i.p) for sink in self.o]
        m.d.sync += Signal(name="clock").eq(1)
        return m


def wanted(beats: list[int], sink: int) -> list[int]:
    return [beat for beat in beats if beat >> sink & 1]


@pytest.mark.parametrize("stalls", [(0.0, 0.0), (0.5, 0.5), (0.0, 0.8), (0.8, 0.0)])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_each_gets_what_it_wants_once(count: int, stalls: tuple[float, float]) -> None:
    rng = np.random.default_rng(count)
    beats = [*range(1 << count), *rng.integers(0, 1 << WIDTH, 100).tolist()]
    dut = Fork(count)
    sinks = [
        collect(dut.o[n], len(wanted(beats, n)), rng, stalls[1] if n == 0 else 0.5 * stalls[1])
        for n in range(count)
    ]
    run(dut, offer(dut.i, beats, rng, stalls[0]), *(bench for _, bench in sinks))
    for n, (taken, _) in enumerate(sinks):
        assert taken == wanted(beats, n)


def test_without_stalls_a_beat_a_cycle_and_no_latency() -> None:
    rng = np.random.default_rng(0)
    beats = [7, 0, 1, 2, 4, 0, 0, 6, 5, 3, 7]  # 0: nobody wants it
    dut = Fork(3)
    logs, monitors = zip(*(watch(port) for port in (dut.i, *dut.o)), strict=True)

    async def ready(ctx) -> None:
        for sink in dut.o:
            ctx.set(sink.ready, 1)

    run(dut, ready, offer(dut.i, beats, rng), background=monitors)
    passed = list(enumerate(beats))
    assert logs[0] == passed
    for n in range(3):
        assert logs[1 + n] == [(cycle, beat) for cycle, beat in passed if beat >> n & 1]


def test_a_sink_that_has_its_beat_is_not_offered_it_again() -> None:
    dut = Fork(2)

    async def testbench(ctx) -> None:
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.i.p, 3)
        ctx.set(dut.o[0].ready, 1)
        assert ctx.get(dut.o[0].valid)
        for _ in range(5):
            assert ctx.get(dut.o[1].valid)
            assert not ctx.get(dut.i.ready)
            await ctx.tick()
            assert not ctx.get(dut.o[0].valid)
        ctx.set(dut.o[1].ready, 1)
        assert ctx.get(dut.i.ready)
        await ctx.tick()
        # The next beat, equal to it, is a new one.
        assert ctx.get(dut.o[0].valid)
        assert ctx.get(dut.o[1].valid)
        assert ctx.get(dut.i.ready)

    run(dut, testbench)
