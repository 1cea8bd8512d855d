"""Turns: the next one in the ring that wants it, whatever was before."""

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.bus.arbiter import BurstChooser, rotated_choice
from dtqatten.sim.engines.native import run

CORE = Config(rows=1, cols=1, depth=1, d_head=8, n_max=4)


def following(wanting: list[bool], granted: int) -> int:
    """Return the next index after ``granted`` that wants it; ``granted`` itself comes last."""
    count = len(wanting)
    ring = [(granted + 1 + i) % count for i in range(count)]
    return next((i for i in ring if wanting[i]), granted)


class Choice(wiring.Component):
    def __init__(self, count: int) -> None:
        self.count = count
        index = range(count)
        super().__init__({"wanting": In(count), "granted": In(index), "choice": Out(index)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.comb += self.choice.eq(rotated_choice(m, self.wanting, self.granted, "found"))
        return m


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_every_choice(count: int) -> None:
    dut = Choice(count)

    async def testbench(ctx) -> None:
        for wanting in range(1 << count):
            for granted in range(count):
                ctx.set(dut.wanting, wanting)
                ctx.set(dut.granted, granted)
                wants = [bool(wanting >> i & 1) for i in range(count)]
                assert ctx.get(dut.choice) == following(wants, granted), (wanting, granted)

    run(dut, testbench)


@pytest.mark.parametrize("bits", [64, 512])
def test_the_burst_that_is_next_and_whether_it_may_go(bits: int) -> None:
    system = SystemConfig(core=CORE, bus_bits=bits, address_bits=16)
    count, page_words = 3, 4096 // system.bus_bytes
    rng = np.random.default_rng(bits)
    dut = BurstChooser(system, count)
    # First and last word of pages at the window's edges and beyond; then anything.
    edges = [page * page_words + at for page in (4, 5, 9, 10) for at in (0, page_words - 1)]
    last = 16 * page_words

    async def testbench(ctx) -> None:
        ctx.set(dut.window, {"base": 5, "limit": 9})
        granted = count - 1
        for case in range(300):
            valid = [bool(v) for v in rng.integers(0, 2, count)]
            word = [int(rng.choice(edges) if case < 200 else rng.integers(last)) for _ in valid]
            offset = rng.integers(0, system.bus_bytes, count).tolist()
            beats = rng.integers(1, system.burst_beats + 1, count).tolist()
            late = [bool(v) for v in rng.integers(0, 2, count) & (case % 2)]
            left = int(rng.integers(2))
            for i, request in enumerate(dut.requests):
                ctx.set(request.valid, valid[i])
                ctx.set(request.p, {"word": word[i], "beats": beats[i], "offset": offset[i]})
            ctx.set(dut.late, sum(late << i for i, late in enumerate(late)))
            ctx.set(dut.left, left)
            # Those that are late, if no other one wants it, and something is left.
            wants = [v and not behind for v, behind in zip(valid, late, strict=True)]
            if not any(wants) and left:
                wants = valid
            choice = following(wants, granted)
            await ctx.tick()
            assert ctx.get(dut.turn) == (1 << choice if any(wants) else 0)
            assert ctx.get(dut.taken) == any(wants)
            readies = [ctx.get(request.ready) for request in dut.requests]
            assert readies == [any(wants) and i == choice for i in range(count)]
            if any(wants):
                assert ctx.get(dut.beats) == beats[choice]
                granted = choice
            for i, request in enumerate(dut.requests):
                if not readies[i]:
                    ctx.set(request.valid, 0)
            await ctx.tick()
            assert ctx.get(dut.turn) == 0
            for request in dut.requests:
                ctx.set(request.valid, 0)
            assert ctx.get(dut.idle) == (not any(wants))
            if not any(wants):
                assert not ctx.get(dut.o.valid)
                assert not ctx.get(dut.outside)
                continue
            address = word[choice] * system.bus_bytes + offset[choice]
            inside = 5 <= address // 4096 <= 9
            for _ in range(3):  # it stays
                assert ctx.get(dut.o.valid) == inside
                assert ctx.get(dut.outside) == (not inside)
                burst = ctx.get(dut.o.p)
                assert (burst.stream, burst.address) == (choice, address)
                assert burst.beats == beats[choice]
                await ctx.tick()
            # A burst that is inside leaves, any other one is forgotten.
            ctx.set(dut.o.ready if inside else dut.stop, 1)
            await ctx.tick()
            assert ctx.get(dut.idle)
            ctx.set(dut.o.ready, 0)
            ctx.set(dut.stop, 0)

    run(dut, testbench)


@pytest.mark.parametrize("more", [0, 1])
def test_a_burst_a_cycle(more: int) -> None:
    """Of one stream too, if it says that there is more; else every other cycle."""
    system = SystemConfig(core=CORE, address_bits=16)
    dut = BurstChooser(system, 2)

    async def testbench(ctx) -> None:
        ctx.set(dut.window, {"base": 0, "limit": 15})
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.requests[0].valid, 1)
        ctx.set(dut.more, more)
        taken, came = [], []
        for cycle in range(10):
            ctx.set(dut.requests[0].p, {"word": cycle, "beats": 1})
            taken += [cycle] * ctx.get(dut.requests[0].ready)
            came += [cycle] * ctx.get(dut.o.valid)
            await ctx.tick()
        assert taken == list(range(1, 10, 2 - more))
        assert came == [cycle + 1 for cycle in taken if cycle < 9]

    run(dut, testbench)
