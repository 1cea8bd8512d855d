# amaranth: UnusedElaboratable=no
"""Receiver and transmitter, bit by bit and cycle by cycle."""

from typing import Any

import numpy as np
import pytest

from dtqatten.boards.gateware.uart import Receiver, Transmitter
from dtqatten.configuration.fields import ConfigError
from dtqatten.sim.engines.native import run


def frame(byte: int, stop: int = 1) -> list[int]:
    """Levels of a frame's bits."""
    return [0, *(byte >> i & 1 for i in range(8)), stop]


def levels(bits: list[int], cycles: float) -> list[int]:
    """Levels by cycle of bits that last so many cycles each."""
    ends = [round(cycles * (i + 1)) for i in range(len(bits))]
    return [
        bit
        for bit, (a, b) in zip(bits, zip([0, *ends], ends, strict=False), strict=True)
        for _ in range(b - a)
    ]


def received(divisor: int, line: list[int]) -> list[tuple[int, int | None]]:
    """Return what comes of a line, and in which cycle: a byte, or None for a broken frame."""
    component = Receiver(divisor)
    found: list[tuple[int, int | None]] = []

    async def testbench(context: Any) -> None:
        for cycle, level in enumerate([*line, *[1] * 4 * divisor]):
            context.set(component.rx, level)
            if context.get(component.valid):
                byte = context.get(component.o.byte)
                found.append((cycle, None if context.get(component.o.broken) else byte))
            await context.tick()

    run(component, testbench, deadline=len(line) + 100 * divisor)
    return found


@pytest.mark.parametrize("divisor", [4, 5, 7, 16])
@pytest.mark.parametrize("skew", [0.0, 0.02, -0.02])
def test_bytes_arrive_whatever_the_pauses_and_clocks(divisor: int, skew: float) -> None:
    rng = np.random.default_rng(divisor)
    line = [1] * 20
    wanted = [0x00, 0xFF, 0x55, 0x80, 0x01, *map(int, rng.integers(0, 256, 60))]
    for byte in wanted:
        line += levels(frame(byte), divisor * (1 + skew))
        line += [1] * int(rng.integers(0, 3) * rng.integers(0, 2 * divisor))
    assert [byte for _, byte in received(divisor, line)] == wanted


def test_a_byte_is_there_in_the_middle_of_its_stop_bit() -> None:
    for divisor in (4, 8):
        ((cycle, byte),) = received(divisor, [1, *levels(frame(0xA5), divisor)])
        assert byte == 0xA5
        # A cycle of rest, nine bits and a half, the synchronizer, and the output's register.
        assert cycle == 1 + 9 * divisor + divisor // 2 + 3


def test_a_break_is_one_broken_frame_and_what_follows_is_right() -> None:
    for length in (10, 11, 40):
        line = [1] * 5 + [0] * 8 * length + [1] * 8 + levels(frame(0x5A), 8)
        assert [byte for _, byte in received(8, line)] == [None, 0x5A]


def test_a_frame_without_stop_bit_is_broken() -> None:
    line = [1] * 5 + levels([*frame(0x5A, stop=0), 1, *frame(0x33)], 8)
    assert [byte for _, byte in received(8, line)] == [None, 0x33]


def test_a_glitch_begins_no_frame() -> None:
    line = [1] * 5 + [0] * 3 + [1] * 20 + levels(frame(0x77), 8)
    assert [byte for _, byte in received(8, line)] == [0x77]


@pytest.mark.parametrize("divisor", [4, 5, 16])
def test_every_cycle_of_the_line_is_as_it_should_be(divisor: int) -> None:
    component = Transmitter(divisor)
    rng = np.random.default_rng(divisor)
    bytes_ = list(map(int, rng.integers(0, 256, 20)))
    pauses = list(map(int, rng.integers(0, 2, 20) * rng.integers(0, 30, 20)))
    pauses[:3] = 0, 0, 0
    line: list[int] = []
    wanted: list[int] = []

    async def record(context: Any) -> None:
        async for _, _, level in context.tick().sample(component.tx):
            line.append(level)

    async def testbench(context: Any) -> None:
        for byte, pause in zip(bytes_, pauses, strict=True):
            for _ in range(pause):
                await context.tick()
            context.set(component.i.valid, 1)
            context.set(component.i.p, byte)
            while not (await context.tick().sample(component.i.ready))[-1]:
                pass
            # Accepted in the cycle sampled last: the frame begins in the next one.
            wanted.extend([1] * (len(line) - len(wanted)) + levels(frame(byte), divisor))
            context.set(component.i.valid, 0)
        for _ in range(12 * divisor):
            await context.tick()

    run(component, testbench, background=[record], deadline=20 * 40 * divisor)
    assert wanted == line[: len(wanted)]
    assert set(line[len(wanted) :]) == {1}
    # Those without a pause follow each other at once.
    assert line[1 : 1 + 30 * divisor] == [
        level for b in bytes_[:3] for level in levels(frame(b), divisor)
    ]


def test_a_divisor_that_leaves_no_middle_is_refused() -> None:
    for kind in (Receiver, Transmitter):
        with pytest.raises(ConfigError, match="divisor is 3, below 4: choose a lower baud rate"):
            kind(3)
