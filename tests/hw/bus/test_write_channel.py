"""A write stream: its bytes land where they belong, and a burst once begun never waits."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.memory import bursts
from dtqatten.hw.bus.write_channel import WriteChannel
from dtqatten.sim.engines.native import offer, run, watch
from dtqatten.sim.lockstep.port_memory import PortMemory

CORE = Config(rows=1, cols=1, depth=1, d_head=8, n_max=4)
SPACE = 1 << 14


def corner_runs(system: SystemConfig, unit: int) -> list[tuple[int, int]]:
    """Shortest and longest, at the edges of words, bursts and pages; none overlaps another."""
    width, burst = system.bus_bytes, system.bus_bytes * system.burst_beats
    runs = [(0, unit), (width - unit, unit), (4096 - unit, 2 * unit), (8192 - width, width)]
    runs += [(8192, burst), (9216 - unit, burst + 2 * unit), (SPACE - unit, unit)]
    return [*runs, (10240 + unit, 2 * system.buffer_beats * width)]


def beats_of(data: bytes, size: int, unit: int, rng) -> list[dict]:
    """Cut bytes into beats of 1 to ``size`` of them; what lies beyond the count is noise."""
    beats = []
    while data:
        count = min(len(data), unit * int(rng.integers(1, size // unit + 1)))
        beat = data[:count] + rng.bytes(size - count)
        beats.append({"data": int.from_bytes(beat, "little"), "count": count})
        data = data[count:]
    return beats


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(
    ("bits", "burst_beats", "size", "unit"),
    [(64, 1, 4, 1), (64, 4, 16, 2), (128, 4, 16, 4), (512, 2, 16, 4)],
)
def test_bytes_land_where_they_belong(
    bits: int, burst_beats: int, size: int, unit: int, stall: float
) -> None:
    system = SystemConfig(
        core=CORE, bus_bits=bits, burst_beats=burst_beats, buffer_bursts=2, address_bits=20
    )
    rng = np.random.default_rng(size)
    runs = corner_runs(system, unit)
    for slot in range(10):  # anything, in a kilobyte of its own below the page at 12 KiB
        length = unit * int(rng.integers(1, 200 // unit))
        runs.append((64 + slot * 300 + unit * int(rng.integers(0, 90 // unit)), length))
    memory = PortMemory(system, rng.bytes(SPACE), rng, stall)
    expected, beats = bytearray(memory.data), []
    for at, length in runs:
        data = rng.bytes(length)
        expected[at : at + length] = data
        beats += beats_of(data, size, unit, rng)
    wanted = [burst for given in runs for burst in bursts(system, *given, narrow_transfers=False)]
    dut = WriteChannel(system, size, unit)
    found, port = memory.writes(dut.port)
    _, monitor = watch(dut.port.request)
    _, words = watch(dut.port.words)

    async def last(ctx) -> None:
        while len(found) < len(wanted):
            await ctx.tick()
        assert ctx.get(dut.empty)
        # The words of the last burst are still on their way.
        for _ in range(200):
            await ctx.tick()
        assert not ctx.get(dut.port.words.valid)

    sources = [
        offer(dut.runs, [{"address": at, "size": n} for at, n in runs], rng, stall),
        offer(dut.i, beats, rng, stall),
    ]
    run(dut, last, *sources, background=[port, monitor, words])
    assert found == wanted
    assert memory.data == expected


def test_a_burst_is_requested_with_its_last_word_and_not_before() -> None:
    system = SystemConfig(core=CORE, bus_bits=64, burst_beats=4, buffer_bursts=2)
    dut = WriteChannel(system, 8, 8)

    async def testbench(ctx) -> None:
        assert ctx.get(dut.empty)
        ctx.set(dut.runs.p, {"address": 0, "size": 48})
        ctx.set(dut.runs.valid, 1)
        await ctx.tick()
        ctx.set(dut.runs.valid, 0)
        for beats, words in ((4, 4), (2, 2)):
            for word in range(words):
                for _ in range(5):
                    assert not ctx.get(dut.port.request.valid), word
                    assert not ctx.get(dut.empty)
                    await ctx.tick()
                ctx.set(dut.i.p, {"data": word, "count": 8})
                ctx.set(dut.i.valid, 1)
                assert ctx.get(dut.i.ready)
                await ctx.tick()
                ctx.set(dut.i.valid, 0)
            # One cycle to the word, one until it counts, one to the request.
            for _ in range(2):
                assert not ctx.get(dut.port.request.valid)
                await ctx.tick()
            assert ctx.get(dut.port.request.valid)
            assert ctx.get(dut.port.request.p.beats) == beats
            ctx.set(dut.port.request.ready, 1)
            await ctx.tick()
            ctx.set(dut.port.request.ready, 0)
        assert ctx.get(dut.empty)

    run(dut, testbench)


def test_a_full_buffer_stops_the_beats_and_loses_none() -> None:
    system = SystemConfig(core=CORE, bus_bits=64, burst_beats=4, buffer_bursts=2)
    dut = WriteChannel(system, 8, 8)
    rng = np.random.default_rng(0)
    words = 40
    source = offer(dut.i, [{"data": i, "count": 8} for i in range(words)], rng)
    runs = offer(dut.runs, [{"address": 0, "size": 8 * words}], rng)
    accepted, monitor = watch(dut.i)
    memory = PortMemory(system, bytes(8 * words), rng)
    found, port = memory.writes(dut.port)

    async def later(ctx) -> None:
        await ctx.tick().repeat(40)
        # The buffer's words, and the one that the packer holds.
        assert len(accepted) == system.buffer_beats + 1
        await port(ctx)

    async def last(ctx) -> None:
        while len(found) < words // 4:
            await ctx.tick()
        await ctx.tick().repeat(6)

    run(dut, source, runs, last, background=[monitor, later])
    assert memory.data == b"".join(i.to_bytes(8, "little") for i in range(words))


def test_a_word_a_cycle() -> None:
    system = SystemConfig(core=CORE, bus_bits=64, burst_beats=4, buffer_bursts=2)
    dut = WriteChannel(system, 8, 8)
    rng = np.random.default_rng(0)
    words = 40
    (beats, sent), monitors = zip(*map(watch, (dut.i, dut.port.words)), strict=True)
    _, port = PortMemory(system, bytes(8 * words), rng).writes(dut.port)
    source = offer(dut.i, [{"data": i, "count": 8} for i in range(words)], rng)

    async def last(ctx) -> None:
        while len(sent) < words:
            await ctx.tick()

    runs = offer(dut.runs, [{"address": 0, "size": 8 * words}], rng)
    run(dut, source, runs, last, background=[port, *monitors])
    assert [cycle for cycle, _ in beats] == list(range(beats[0][0], beats[0][0] + words))
    assert [cycle for cycle, _ in sent] == list(range(sent[0][0], sent[0][0] + words))
    # Four words, three cycles to the request, one to the first word.
    assert sent[0][0] == beats[3][0] + 4
