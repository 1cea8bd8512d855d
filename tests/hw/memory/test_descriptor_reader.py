"""Heads and whole descriptors come as they are in memory; a flush forgets what is due."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.golden.memory import bursts
from dtqatten.hw.memory.descriptor_reader import DescriptorReader
from dtqatten.interface.descriptor import HEAD_BYTES, SIZE
from dtqatten.sim.engines.native import run
from dtqatten.sim.lockstep.port_memory import PortMemory

SYSTEM = SystemConfig(
    core=Config(rows=2, cols=2, depth=2, d_head=8, n_max=12),
    bus_bits=64, burst_beats=4, buffer_bursts=2, address_bits=20,
)  # fmt: skip


async def ask(ctx, dut: DescriptorReader, at: int, *, whole: bool) -> None:
    """Have the request taken."""
    ctx.set(dut.address, at)
    ctx.set(dut.whole, whole)
    ctx.set(dut.ask, 1)
    while not (await ctx.tick().sample(dut.asked))[-1]:
        pass
    ctx.set(dut.ask, 0)


async def words(ctx, dut: DescriptorReader, count: int) -> None:
    """Wait until as many words have come."""
    while count:
        count -= (await ctx.tick().sample(dut.word))[-1]


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_heads_and_descriptors(stall: float) -> None:
    rng = np.random.default_rng(5)
    dut, memory = DescriptorReader(SYSTEM), PortMemory(SYSTEM, rng.bytes(4096), rng, stall)
    found, port = memory.reads(dut.port)

    async def testbench(ctx) -> None:
        for at in (0, 0x40, 4096 - SIZE):
            found.clear()
            for whole, size in ((False, HEAD_BYTES), (True, SIZE)):
                await ask(ctx, dut, at, whole=whole)
                await words(ctx, dut, size // HEAD_BYTES)
                held = dut.descriptor if whole else dut.head
                value = int.from_bytes(memory.data[at : at + size], "little")
                assert ctx.get(held.as_value()) == value
            assert found == [*bursts(SYSTEM, at, HEAD_BYTES), *bursts(SYSTEM, at, SIZE)]

    run(dut, testbench, background=[port])


def test_words_come_one_a_cycle() -> None:
    rng = np.random.default_rng(6)
    dut, memory = DescriptorReader(SYSTEM), PortMemory(SYSTEM, rng.bytes(4096), rng)
    _, port = memory.reads(dut.port)
    pattern = []

    async def testbench(ctx) -> None:
        await ask(ctx, dut, 0, whole=True)
        while sum(pattern) < SIZE // HEAD_BYTES:
            pattern.append((await ctx.tick().sample(dut.word))[-1])

    run(dut, testbench, background=[port])
    assert pattern[pattern.index(1) :] == [1] * (SIZE // HEAD_BYTES)


def test_a_flush_forgets_what_is_due() -> None:
    rng = np.random.default_rng(7)
    dut, memory = DescriptorReader(SYSTEM), PortMemory(SYSTEM, rng.bytes(4096), rng)
    _, port = memory.reads(dut.port)

    async def testbench(ctx) -> None:
        await ask(ctx, dut, 0, whole=True)
        await words(ctx, dut, 3)
        for _ in range(SIZE):  # the bus empties
            await ctx.tick()
        assert not memory.unread
        ctx.set(dut.flush, 1)
        await ctx.tick()
        ctx.set(dut.flush, 0)
        for _ in range(SIZE):
            assert not (await ctx.tick().sample(dut.word))[-1]
        await ask(ctx, dut, 0x80, whole=False)
        await words(ctx, dut, 1)
        value = int.from_bytes(memory.data[0x80 : 0x80 + HEAD_BYTES], "little")
        assert ctx.get(dut.head.as_value()) == value

    run(dut, testbench, background=[port])
