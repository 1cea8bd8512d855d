"""A read stream: the bytes of its runs come, in their order, and none without room for it."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.memory import bursts
from dtqatten.hw.bus.read_channel import ReadChannel
from dtqatten.sim.engines.native import collect, offer, run, watch
from dtqatten.sim.lockstep.port_memory import PortMemory

CORE = Config(rows=1, cols=1, depth=1, d_head=8, n_max=4)
DATA = np.random.default_rng(0).bytes(1 << 16)


def beats_of(runs: list[tuple[int, int]], nibbles: int) -> list[list[int]]:
    """Return the bytes of runs as beats."""
    flat = [n for at, size in runs for byte in DATA[at : at + size] for n in (byte & 15, byte >> 4)]
    return [flat[i : i + nibbles] for i in range(0, len(flat), nibbles)]


def corner_runs(system: SystemConfig, unit: int) -> list[tuple[int, int]]:
    """Shortest and longest, at the edges of words, bursts and pages."""
    width, burst = max(unit, system.bus_bytes), system.bus_bytes * system.burst_beats
    runs = [(0, unit), (width - unit, unit), (4096 - unit, 2 * unit), (4096 - width, width)]
    runs += [(burst - width, 2 * width), (burst, burst), (2 * burst - unit, burst + 2 * unit)]
    return [*runs, (2 * burst, 3 * system.buffer_bursts * burst), (len(DATA) - unit, unit)]


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(
    ("bits", "burst_beats", "nibbles", "unit"),
    [(64, 1, 2, 1), (64, 4, 8, 4), (64, 4, 16, 8), (128, 4, 64, 32), (512, 2, 8, 4)],
)
def test_bytes_of_the_runs_in_their_order(
    bits: int, burst_beats: int, nibbles: int, unit: int, stall: float
) -> None:
    system = SystemConfig(
        core=CORE, bus_bits=bits, burst_beats=burst_beats, buffer_bursts=2, address_bits=20
    )
    rng = np.random.default_rng(nibbles)
    runs = corner_runs(system, unit)
    for _ in range(15):
        size = unit * int(rng.integers(1, 6 * max(1, system.bus_bytes // unit)))
        runs.append((unit * int(rng.integers(0, (len(DATA) - size) // unit)), size))
    expected = beats_of(runs, nibbles)
    dut = ReadChannel(system, nibbles, unit)
    memory = PortMemory(system, DATA, rng, stall)
    found, port = memory.reads(dut.port)
    taken, sink = collect(dut.o, len(expected), rng, stall, list)
    requests, monitor = watch(dut.port.request)
    given = [{"address": at, "size": size} for at, size in runs]
    source = offer(dut.runs, given, rng, stall)
    run(dut, source, sink, background=[port, monitor], deadline=20_000)
    assert taken == expected
    assert found == [burst for run_ in runs for burst in bursts(system, *run_)]
    assert len(requests) == len(found)


def test_nothing_is_requested_that_has_no_room() -> None:
    system = SystemConfig(core=CORE, bus_bits=64, burst_beats=4, buffer_bursts=2)
    dut = ReadChannel(system, 16, 8)
    rng = np.random.default_rng(0)
    found, port = PortMemory(system, DATA, rng).reads(dut.port)

    async def testbench(ctx) -> None:
        # The first burst has one word, the others four; the core takes nothing.
        ctx.set(dut.runs.p, {"address": 24, "size": 400})
        ctx.set(dut.runs.valid, 1)
        await ctx.tick()
        ctx.set(dut.runs.valid, 0)
        for taken in range(4):
            await ctx.tick().repeat(40)
            # A word is in the unpacker, which frees its place.
            beats = sum(burst.beats for burst in found)
            assert beats <= system.buffer_beats + 1 + taken
            assert beats + system.burst_beats > system.buffer_beats + 1 + taken
            assert not ctx.get(dut.port.request.valid)
            ctx.set(dut.o.ready, 1)
            await ctx.tick()
            ctx.set(dut.o.ready, 0)

    run(dut, testbench, background=[port])


@pytest.mark.parametrize("nibbles", [4, 16, 32])
def test_latency_and_throughput(nibbles: int) -> None:
    system = SystemConfig(core=CORE, bus_bits=64, burst_beats=4, buffer_bursts=4)
    dut = ReadChannel(system, nibbles, 8)
    rng = np.random.default_rng(0)
    words, smaller = 40, min(nibbles, 16)
    expected = beats_of([(0, 8 * words)], nibbles)
    _, port = PortMemory(system, DATA, rng).reads(dut.port)
    taken, sink = collect(dut.o, len(expected), rng, 0.0, list)
    logs, monitors = zip(*map(watch, (dut.runs, dut.port.request, dut.o)), strict=True)
    source = offer(dut.runs, [{"address": 0, "size": 8 * words}], rng)
    run(dut, source, sink, background=[port, *monitors])
    assert taken == expected
    accepted, requested, beats = ([cycle for cycle, _ in log] for log in logs)
    assert requested[0] == accepted[0] + 3
    # The memory answers from the cycle after the request on; a beat may take two words.
    assert beats[0] == requested[0] + 1 + (nibbles > 16) + 3
    steps = nibbles // smaller
    assert beats == list(range(beats[0], beats[0] + steps * len(expected), steps))
