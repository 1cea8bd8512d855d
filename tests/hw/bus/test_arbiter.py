"""Turns: the next one in the ring that wants it, whatever was before."""

from types import SimpleNamespace

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.bus.arbiter import next_burst, rotated_choice
from dtqatten.hw.bus.read_channel import request_layout
from dtqatten.hw.bus.window import window_layout
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


class Chooser(wiring.Component):
    """:func:`next_burst` between ports."""

    def __init__(self, system: SystemConfig, count: int) -> None:
        self.system, self.count = system, count
        super().__init__(
            {
                "requests": In(stream.Signature(request_layout(system))).array(count),
                "granted": In(range(count)),
                "late": In(count),
                "left": In(1),
                "window": In(window_layout(system)),
                "choice": Out(range(count)),
                "request": Out(request_layout(system)),
                "address": Out(system.address_bits),
                "allowed": Out(1),
                "outside": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        late = (self.late, self.left)
        burst = next_burst(m, self.system, list(self.requests), self.granted, self.window, *late)
        m.d.comb += [getattr(self, name).eq(value) for name, value in vars(burst).items()]
        return m


@pytest.mark.parametrize("bits", [64, 512])
def test_the_burst_that_is_next_and_whether_it_may_go(bits: int) -> None:
    system = SystemConfig(core=CORE, bus_bits=bits, address_bits=16)
    count, page_words = 3, 4096 // system.bus_bytes
    rng = np.random.default_rng(bits)
    dut = Chooser(system, count)
    # First and last word of pages at the window's edges and beyond; then anything.
    edges = [page * page_words + at for page in (4, 5, 9, 10) for at in (0, page_words - 1)]
    last = 16 * page_words

    async def testbench(ctx) -> None:
        ctx.set(dut.window, {"base": 5, "limit": 9})
        for case in range(400):
            state = SimpleNamespace(
                valid=[bool(v) for v in rng.integers(0, 2, count)],
                word=[int(rng.choice(edges) if case < 200 else rng.integers(last)) for _ in "abc"],
                offset=rng.integers(0, system.bus_bytes, count).tolist(),
                beats=rng.integers(1, system.burst_beats + 1, count).tolist(),
                granted=int(rng.integers(count)),
                late=[bool(v) for v in rng.integers(0, 2, count) & (case % 2)],
                left=int(rng.integers(2)),
            )
            for i, request in enumerate(dut.requests):
                ctx.set(request.valid, state.valid[i])
                ctx.set(
                    request.p,
                    {"word": state.word[i], "beats": state.beats[i], "offset": state.offset[i]},
                )
            ctx.set(dut.granted, state.granted)
            ctx.set(dut.late, sum(late << i for i, late in enumerate(state.late)))
            ctx.set(dut.left, state.left)
            # Those that are late, if no other one wants it, and something is left.
            wants = [v and not late for v, late in zip(state.valid, state.late, strict=True)]
            if not any(wants) and state.left:
                wants = state.valid
            choice = following(wants, state.granted)
            address = state.word[choice] * system.bus_bytes + state.offset[choice]
            inside = 5 <= address // 4096 <= 9
            some = any(wants)
            assert ctx.get(dut.choice) == choice, state
            assert ctx.get(dut.request.word) == state.word[choice], state
            assert ctx.get(dut.request.beats) == state.beats[choice], state
            assert ctx.get(dut.address) == address, state
            assert ctx.get(dut.allowed) == (some and inside), state
            assert ctx.get(dut.outside) == (some and not inside), state

    run(dut, testbench)


def test_nobody_waits_longer_than_a_round() -> None:
    count = 5
    dut = Choice(count)
    rng = np.random.default_rng(0)

    async def testbench(ctx) -> None:
        wanting, granted, waited = 0, 0, [0] * count
        for _ in range(500):
            wanting |= int(rng.integers(1, 1 << count))
            ctx.set(dut.wanting, wanting)
            ctx.set(dut.granted, granted)
            granted = ctx.get(dut.choice)
            wanting &= ~(1 << granted)
            waited = [waited[i] + 1 if wanting >> i & 1 else 0 for i in range(count)]
            assert max(waited) < count

    run(dut, testbench)
