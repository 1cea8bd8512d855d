# amaranth: UnusedElaboratable=no
"""The host's packets: a model of its own, random packets, halves of packets, breaks, checksums."""

import zlib
from typing import Any

import numpy as np
import pytest

from dtqatten.boards.gateware.link import PacketEngine
from dtqatten.sim.engines.native import collect, run, watch

SILENCE = 40
#: What stands for a broken frame among bytes.
BROKEN = -1


class Model:
    """What the packets in a sequence of bytes ask for; words read are a function of the address."""

    def __init__(self) -> None:
        self.requests: list[tuple[int, int, int]] = []
        self.sent = b""
        self.packet: list[int] = []

    @staticmethod
    def content(word: int) -> int:
        return word * 0x9E3779B1 + 0x1234567 & 0xFFFFFFFF

    def forget(self) -> None:
        self.packet = []

    def take(self, byte: int) -> None:
        if byte == BROKEN:
            self.forget()
            return
        self.packet.append(byte)
        if self.packet[0] not in (1, 2, 3, 4) or self.packet[1:2] == [0]:
            self.forget()
            return
        if len(self.packet) < 6:
            return
        command, count, *rest = self.packet
        start = int.from_bytes(bytes(rest[:4]), "big")
        if command in (2, 4):
            for i in range(count):
                word = (start + i * (command == 2)) & 0xFFFFFFFF
                self.requests.append((word, 0, 0))
                self.sent += self.content(word).to_bytes(4, "big")
            self.forget()
        elif len(rest) > 4 and len(rest) % 4 == 0:
            i = len(rest) // 4 - 2
            value = int.from_bytes(bytes(rest[-4:]), "big")
            self.requests.append(((start + i * (command == 1)) & 0xFFFFFFFF, 1, value))
            if i + 1 == count:
                self.forget()


def check(script: list[int | tuple[str, int]], seed: int = 0, stall: float = 0.0) -> Model:
    """Play bytes, broken frames and pauses; compare with the model."""
    model, engine = Model(), PacketEngine(SILENCE)
    for step in script:
        if isinstance(step, tuple):
            if step[1] > SILENCE:
                model.forget()
        else:
            model.take(step)
    rng = np.random.default_rng(seed)
    requests, watching = watch(engine.request, lambda p: (p.word, p.write, p.data))
    sent, sink = collect(engine.o, len(model.sent), rng, stall)

    async def bytes_(context: Any) -> None:
        for step in script:
            if isinstance(step, tuple):
                for _ in range(step[1]):
                    await context.tick()
                continue
            context.set(engine.i.valid, 1)
            context.set(engine.i.p, {"byte": step & 0xFF, "broken": int(step == BROKEN)})
            while not (await context.tick().sample(engine.i.ready))[-1]:
                pass
            context.set(engine.i.valid, 0)
        for _ in range(20):
            await context.tick()

    async def memory(context: Any) -> None:
        while True:
            while rng.random() < stall:
                await context.tick()
            context.set(engine.request.ready, 1)
            while True:
                _, _, valid, p = await context.tick().sample(engine.request.valid, engine.request.p)
                if valid:
                    break
            context.set(engine.request.ready, 0)
            while rng.random() < stall:
                await context.tick()
            context.set(engine.answer.p, 0xDEADBEEF if p.write else model.content(p.word))
            context.set(engine.answer.valid, 1)
            await context.tick().until(engine.answer.ready)
            context.set(engine.answer.valid, 0)

    found: list[int] = []

    async def ends(context: Any) -> None:
        await bytes_(context)
        while len(sent) < len(model.sent):
            await context.tick()
        await context.tick()
        found.extend((context.get(engine.received), context.get(engine.sent)))

    run(engine, ends, sink, background=[memory, watching], deadline=200_000)
    wanted = [(w, k, d) for w, k, d in model.requests]
    assert [(w, k, d if k else 0) for _, (w, k, d) in requests] == wanted
    assert bytes(sent) == model.sent
    came = bytes(step for step in script if isinstance(step, int) and step >= 0)
    assert found == [zlib.crc32(came), zlib.crc32(model.sent)]
    return model


def packet(command: int, word: int, *words: int, count: int | None = None) -> list[int]:
    count = len(words) if count is None else count
    return [
        command,
        count,
        *word.to_bytes(4, "big"),
        *b"".join(w.to_bytes(4, "big") for w in words),
    ]


def test_a_write_and_a_read_of_what_litex_sends() -> None:
    model = check([*packet(1, 0x10000000, 0x01020304, 5), *packet(2, 0x3C000400, count=3)])
    assert model.requests == [
        (0x10000000, 1, 0x01020304),
        (0x10000001, 1, 5),
        *[(0x3C000400 + i, 0, 0) for i in range(3)],
    ]
    assert len(model.sent) == 12


def test_fixed_addresses_and_the_largest_packets() -> None:
    rng = np.random.default_rng(3)
    words = [int(w) for w in rng.integers(0, 1 << 32, 255)]
    model = check([*packet(1, 7, *words), *packet(3, 9, *words[:3]), *packet(4, 5, count=255)])
    assert len(model.requests) == 255 + 3 + 255


def test_what_is_no_command_and_packets_of_nothing_are_skipped() -> None:
    assert not check([0, 5, 0xFF, *packet(2, 1, count=0)[:2], 0, *packet(1, 1)[:2]]).requests
    assert len(check([0x80, 0, *packet(2, 1, count=1)]).requests) == 1


@pytest.mark.parametrize("length", range(1, 13))
def test_half_a_packet_is_forgotten_after_silence_and_after_a_break(length: int) -> None:
    half, whole = packet(1, 1, 2, 3)[:length], packet(2, 4, count=1)
    for between in (("pause", 2 * SILENCE), BROKEN):
        model = check([*half, between, *whole])
        assert model.requests[-1] == (4, 0, 0)
        assert len(model.requests) == 1 + (length >= 10)


@pytest.mark.parametrize("length", range(1, 10))
def test_a_pause_that_is_short_enough_ends_nothing(length: int) -> None:
    whole = packet(1, 1, 2)
    assert check([*whole[:length], ("pause", SILENCE - 3), *whole[length:]]).requests == [(1, 1, 2)]


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_random_packets_and_noise(stall: float) -> None:
    rng = np.random.default_rng(int(stall * 10))
    script: list[Any] = []
    for _ in range(120):
        kind = int(rng.integers(1, 5))
        count = int(rng.choice([1, 1, 2, 3, 8]))
        words = [int(w) for w in rng.integers(0, 1 << 32, count if kind in (1, 3) else 0)]
        whole = packet(kind, int(rng.integers(0, 1 << 32)), *words, count=count)
        match int(rng.integers(6)):
            case 0:
                cut = int(rng.integers(1, len(whole)))
                script += [*whole[:cut], ("pause", 3 * SILENCE)]
            case 1:
                cut = int(rng.integers(1, len(whole)))
                script += [*whole[:cut], BROKEN]
            case 2:
                script += [int(b) for b in rng.integers(0, 256, 9)] + [("pause", 3 * SILENCE)]
            case _:
                script += whole
    check(script, seed=5, stall=stall)


def test_silence_has_a_length() -> None:
    with pytest.raises(ValueError, match="give 1 cycle at least"):
        PacketEngine(0)
