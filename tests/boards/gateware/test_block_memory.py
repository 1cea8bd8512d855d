# amaranth: UnusedElaboratable=no
"""Block RAM on AXI4: random bursts and host accesses against a dictionary, rules of the bus."""

from typing import Any

import numpy as np
import pytest

from dtqatten import PRESETS
from dtqatten.boards.gateware.block_memory import BlockMemory
from dtqatten.configuration.fields import ConfigError
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.bus.axi import Response
from dtqatten.sim.engines.native import run, watch

#: Tests use the first bytes of the memory.
BASE, SIZE, USED = 0x4000_0000, 4096, 512


def system(bus_bits: int) -> SystemConfig:
    return SystemConfig(core=PRESETS["tiny"], bus_bits=bus_bits, address_bits=32)


async def give(context: Any, stream: Any, payload: dict[str, int], rng: Any, stall: float) -> None:
    """Offer a beat until it is taken."""
    while rng.random() < stall:
        await context.tick()
    context.set(stream.p, payload)
    context.set(stream.valid, 1)
    while not (await context.tick().sample(stream.ready))[-1]:
        pass
    context.set(stream.valid, 0)


async def take(context: Any, stream: Any, rng: Any, stall: float) -> Any:
    """Take a beat."""
    while True:
        ready = rng.random() >= stall
        context.set(stream.ready, int(ready))
        _, _, valid, p = await context.tick().sample(stream.valid, stream.p)
        if ready and valid:
            context.set(stream.ready, 0)
            return p


class Bench:
    """A memory, what it should hold, and what machine and host do on it."""

    def __init__(self, bus_bits: int, seed: int, stall: float) -> None:
        self.system = system(bus_bits)
        self.memory = BlockMemory(self.system, BASE, SIZE)
        self.rng, self.stall = np.random.default_rng(seed), stall
        self.content = bytearray(SIZE)
        self.bytes = bus_bits // 8

    async def host_write(self, context: Any, word: int, data: int) -> None:
        await self._host(context, word, data, 1)
        self.content[4 * word : 4 * word + 4] = data.to_bytes(4, "little")

    async def host_read(self, context: Any, word: int) -> int:
        return await self._host(context, word, 0, 0)

    async def _host(self, context: Any, word: int, data: int, write: int) -> int:
        request = {"word": BASE // 4 + word, "data": data, "write": write}
        await give(context, self.memory.request, request, self.rng, self.stall)
        return int(await take(context, self.memory.answer, self.rng, self.stall))

    async def write(self, context: Any, address: int, beats: list[int], strobes: list[int]) -> int:
        bus = self.memory.bus
        size = (self.bytes - 1).bit_length()
        burst = {"id": 5, "addr": BASE + address, "len": len(beats) - 1, "size": size}
        await give(context, bus.aw, burst, self.rng, self.stall)
        for i, (data, strobe) in enumerate(zip(beats, strobes, strict=True)):
            beat = {"data": data, "strb": strobe, "last": i + 1 == len(beats)}
            await give(context, bus.w, beat, self.rng, self.stall)
        answer = await take(context, bus.b, self.rng, self.stall)
        assert answer.id == 5
        for i, (data, strobe) in enumerate(zip(beats, strobes, strict=True)):
            for lane in range(self.bytes):
                at = address + i * self.bytes + lane
                if strobe >> lane & 1 and 0 <= at < SIZE:
                    self.content[at] = data >> 8 * lane & 0xFF
        return int(answer.resp.value)

    async def read(self, context: Any, address: int, beats: int, size: int | None = None) -> Any:
        bus = self.memory.bus
        size = (self.bytes - 1).bit_length() if size is None else size
        number = int(self.rng.integers(16))
        burst = {"id": number, "addr": BASE + address, "len": beats - 1, "size": size}
        await give(context, bus.ar, burst, self.rng, self.stall)
        words = []
        for i in range(beats):
            p = await take(context, bus.r, self.rng, self.stall)
            assert (p.id, p.last) == (number, int(i + 1 == beats))
            words.append((int(p.data), int(p.resp.value)))
        return words

    def word(self, at: int) -> int:
        return int.from_bytes(self.content[4 * at : 4 * at + 4], "little")


@pytest.mark.parametrize("bus_bits", [64, 128])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_everybody_reads_what_was_written_last(bus_bits: int, stall: float) -> None:
    """The machine in three quarters of the memory, the host in the last, then each in all of it."""
    bench = Bench(bus_bits, 1, stall)
    rng, words, border = np.random.default_rng(2), USED // 4, 3 * USED // 4
    cleared, done = [False], [False]

    async def host(context: Any) -> None:
        for word in range(words):
            await bench.host_write(context, word, 0)
        cleared[0] = True
        for _ in range(80):
            await bench.host_write(
                context, int(rng.integers(border // 4, words)), int(rng.integers(0, 1 << 32))
            )
            word = int(rng.integers(border // 4, words))
            assert await bench.host_read(context, word) == bench.word(word)
        while not done[0]:
            await context.tick()
        for word in range(words):
            assert await bench.host_read(context, word) == bench.word(word)
        got = [data for data, _ in await bench.read(context, 0, USED // bench.bytes)]
        read = b"".join(data.to_bytes(bench.bytes, "little") for data in got)
        assert read == bench.content[:USED]

    async def machine(context: Any) -> None:
        while not cleared[0]:
            await context.tick()
        for _ in range(60):
            beats = int(rng.integers(1, 9))
            at = int(rng.integers(0, border // bench.bytes - beats)) * bench.bytes
            data = [int.from_bytes(rng.bytes(bench.bytes), "little") for _ in range(beats)]
            strobes = [int(rng.integers(0, 1 << bench.bytes)) for _ in range(beats)]
            assert await bench.write(context, at, data, strobes) == Response.OKAY.value
            for i, got in enumerate(await bench.read(context, at, beats)):
                first = at + i * bench.bytes
                want = int.from_bytes(bench.content[first : first + bench.bytes], "little")
                assert got == (want, Response.OKAY.value)
        done[0] = True

    bus = bench.memory.bus
    watching = [watch(channel)[1] for channel in (bus.r, bus.b, bench.memory.answer)]
    run(bench.memory, host, machine, background=watching, deadline=100_000)


def test_a_word_a_cycle_and_a_read_right_behind_a_write() -> None:
    """Latency as the docstring says; a read of the word that is being written waits a cycle."""
    bench = Bench(64, 1, 0.0)
    bus = bench.memory.bus

    async def machine(context: Any) -> None:
        context.set(bus.b.ready, 1)
        context.set(bus.r.ready, 1)
        cycle = 0
        events: list[tuple[str, int]] = []

        async def tick(times: int = 1) -> None:
            nonlocal cycle
            for _ in range(times):
                events.extend((n, cycle) for n in ("r", "b") if context.get(getattr(bus, n).valid))
                await context.tick()
                cycle += 1

        context.set(bus.aw.p, {"id": 1, "addr": BASE, "len": 3, "size": 3})
        context.set(bus.aw.valid, 1)
        assert context.get(bus.aw.ready)
        await tick()
        context.set(bus.aw.valid, 0)
        context.set(bus.w.valid, 1)
        for i in range(4):
            context.set(bus.w.p, {"data": i + 1, "strb": 255, "last": i == 3})
            assert context.get(bus.w.ready)
            if i == 3:
                # The last word goes into the memory in the next cycle, as does the read of it.
                context.set(bus.ar.p, {"id": 2, "addr": BASE + 24, "len": 0, "size": 3})
                context.set(bus.ar.valid, 1)
                assert context.get(bus.ar.ready)
            await tick()
        context.set(bus.w.valid, 0)
        context.set(bus.ar.p, {"id": 3, "addr": BASE, "len": 3, "size": 3})
        while not context.get(bus.ar.ready):
            await tick()
        await tick()
        context.set(bus.ar.valid, 0)
        await tick(8)
        # Addresses were accepted in cycles 4 and 6; the first read has waited a cycle.
        assert events == [("b", 5), ("r", 8), *[("r", 9 + i) for i in range(4)]]

    run(bench.memory, machine)


def test_a_write_that_collides_with_a_read_is_seen_whole() -> None:
    """The host writes a word while the machine reads it over and over: old or new, never else."""
    bench = Bench(64, 1, 0.0)
    bus = bench.memory.bus
    seen: list[int] = []

    async def machine(context: Any) -> None:
        for _ in range(60):
            for data, _ in await bench.read(context, 0, 1):
                seen.append(data)

    async def host(context: Any) -> None:
        rng = np.random.default_rng(0)
        for value in range(1, 60):
            for _ in range(int(rng.integers(4))):
                await context.tick()
            await bench.host_write(context, 0, value)

    run(bench.memory, machine, host, background=[watch(bus.r)[1]])
    assert seen == sorted(seen)
    assert len(set(seen)) > 10


def test_narrow_beats_and_addresses_outside() -> None:
    bench = Bench(64, 1, 0.3)

    async def machine(context: Any) -> None:
        for i in range(USED // 8):
            await bench.write(context, 8 * i, [i * 0x0101010101010101], [255])
        for at, size in ((12, 2), (8, 1), (24, 3)):
            ((data, response),) = await bench.read(context, at, 1, size)
            assert (data, response) == (at // 8 * 0x0101010101010101, Response.OKAY.value)
        narrow = await bench.read(context, 8, 4, 2)
        assert [data & 0xFF for data, _ in narrow] == [1, 1, 2, 2]
        for at in (SIZE, -8, 1 << 30):
            before = bytes(bench.content)
            assert await bench.write(context, at, [7], [255]) == Response.DECERR.value
            answers = await bench.read(context, at, 3)
            assert [answer for _, answer in answers] == [Response.DECERR.value] * 3
            assert bench.content == before
        for i in range(USED // 8):
            assert (await bench.read(context, 8 * i, 1))[0][0] == i * 0x0101010101010101

    run(bench.memory, machine, deadline=20_000)


def test_sizes_that_no_address_bits_tell_apart_are_refused() -> None:
    for base, size in ((BASE, 6144), (BASE + 4096, 8192), (BASE, 2048)):
        with pytest.raises(ConfigError, match="choose a power of two"):
            BlockMemory(system(64), base, size)


def test_one_more_address_is_accepted_and_waits() -> None:
    """Of reads and of writes; what the host asks for changes no ``ready`` in its cycle."""
    bench = Bench(64, 1, 0.0)
    bus, request = bench.memory.bus, bench.memory.request

    async def machine(context: Any) -> None:
        for channel in (bus.ar, bus.aw):
            accepted = []
            context.set(channel.valid, 1)
            for number in range(6):
                context.set(channel.p, {"id": number, "addr": BASE, "len": 3, "size": 3})
                readies = []
                for asks in (1, 0):
                    context.set(request.valid, asks)
                    readies.append(context.get(channel.ready))
                assert readies[0] == readies[1]
                accepted.append(readies[0])
                await context.tick()
            # Nothing of the first burst is taken: it and another one are there.
            assert sum(accepted) == 2
            assert accepted[:2] == [1, 1]
            context.set(channel.valid, 0)
        context.set(bus.r.ready, 1)
        ids = []
        for _ in range(20):
            if context.get(bus.r.valid) and context.get(bus.r.p.last):
                ids.append(context.get(bus.r.p.id))
            await context.tick()
        assert ids == [0, 1]

    run(bench.memory, machine)
