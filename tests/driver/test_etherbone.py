"""The bus over Etherbone: LiteX's datagrams, lost, late, doubled, cut and changed."""

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from board_line import SMALL
from dtqatten.boards.host import random_recording, run_layers
from dtqatten.driver.device import Arena, Device
from dtqatten.driver.errors import (
    LinkCorruptError,
    LinkLostError,
    LinkTimeoutError,
    PortError,
    RefusedAccessError,
)
from dtqatten.driver.etherbone_bus import EtherboneBus
from dtqatten.golden.numerics.select import PAPER_SHARES
from dtqatten.interface.registers import IDENTIFIER, offset_of
from dtqatten.sim.machine.axi import SimulatedBus
from etherbone_soc import HOST, REGISTERS, SOC, EtherboneSoc, etherbone_soc, once_each

SIZE, L2 = 1 << 14, 256
LAYER = random_recording(SMALL, 1, 5, 0)


@pytest.fixture(scope="module")
def machine() -> Iterator[SimulatedBus]:
    bus = SimulatedBus(SMALL.system, size=SIZE, timeout=100_000)
    yield bus
    bus.close()


@pytest.fixture(params=[0, L2], ids=["no L2", "L2"])
def soc(machine: SimulatedBus, request: pytest.FixtureRequest) -> Iterator[EtherboneSoc]:
    with etherbone_soc(machine, machine.base, request.param) as served:
        served.l2_bytes = request.param
        yield served


@pytest.fixture
def opened(soc: EtherboneSoc, machine: SimulatedBus) -> Iterator[Callable[..., EtherboneBus]]:
    buses = []

    def make(**options: Any) -> EtherboneBus:
        given = {"registers": REGISTERS, "port": soc.port, "local": HOST, "patience": 0.2}
        given |= {"memory_base": machine.base, "memory_bytes": SIZE, "l2_bytes": soc.l2_bytes}
        buses.append(EtherboneBus(SOC, **given | options))
        return buses[-1]

    yield make
    for bus in buses:
        bus.close()


@pytest.fixture
def bus(opened: Callable[..., EtherboneBus]) -> EtherboneBus:
    return opened()


def device_on(bus: EtherboneBus) -> Device:
    inputs = Arena(bus.memory_base, SIZE // 2)
    return Device(bus, inputs, Arena(bus.memory_base + SIZE // 2, SIZE // 2))


def run(bus: EtherboneBus) -> list[Any]:
    """Run a layer; every bit is compared."""
    return run_layers(device_on(bus), SMALL, LAYER, shares=PAPER_SHARES)


def test_a_layer_is_exact_and_so_is_the_next(bus: EtherboneBus) -> None:
    first, second = run(bus), run(bus)
    assert np.array_equal(first[0].output, second[0].output)
    assert first[0].output.any()


@pytest.mark.parametrize("words", [1, 3, 12])
def test_bytes_of_memory_at_any_place(
    opened: Callable[..., EtherboneBus], machine: SimulatedBus, words: int
) -> None:
    """As the machine sees them, too: they are not only in the L2."""
    bus, rng, held = opened(words=words), np.random.default_rng(words), bytearray(64)
    start = bus.memory_base + 4096
    bus.write(start, bytes(held))
    for _ in range(20):
        at, size = int(rng.integers(0, 50)), int(rng.integers(0, 14))
        content = rng.bytes(size)
        bus.write(start + at, content)
        held[at : at + size] = content
        assert machine.memory[4096:4160].tobytes() == held
        at, size = int(rng.integers(0, 50)), int(rng.integers(0, 14))
        assert bus.read(start + at, size) == held[at : at + size]
    large = rng.bytes(3 * L2 + 5)
    bus.write(start + 8, large)
    assert machine.memory[4104:][: len(large)].tobytes() == large
    assert bus.read(start + 8, len(large)) == large


def test_what_the_machine_writes_is_seen(bus: EtherboneBus, machine: SimulatedBus) -> None:
    assert bus.read(bus.memory_base, 64) == machine.memory[:64].tobytes()
    machine.memory[:64] = range(64)
    assert bus.read(bus.memory_base, 64) == bytes(range(64))


def times(count: int, disturb: Callable[[bytes], list[bytes]]) -> Callable[[bytes], list[bytes]]:
    """Disturb so many datagrams."""
    left = [count]

    def some(content: bytes) -> list[bytes]:
        left[0] -= 1
        return disturb(content) if left[0] >= 0 else [content]

    return some


@pytest.mark.parametrize("way", ["to_soc", "to_host"])
def test_lost_datagrams_of_memory_are_sent_again(
    bus: EtherboneBus, soc: EtherboneSoc, way: str
) -> None:
    setattr(soc, way, times(2, lambda content: []))
    bus.write(bus.memory_base + 12, b"abcdefgh")
    setattr(soc, way, times(3, lambda content: []))
    assert bus.read(bus.memory_base + 12, 8) == b"abcdefgh"


@pytest.mark.parametrize("way", ["to_soc", "to_host"])
def test_a_lost_write_of_a_register_is_not_sent_again(
    bus: EtherboneBus, soc: EtherboneSoc, way: str
) -> None:
    """It may have been done; the next access is right, and so is the next run."""
    before = soc.handled
    setattr(soc, way, times(1, lambda content: []))
    with pytest.raises(LinkTimeoutError, match=r"1 datagrams.*may have been"):
        bus.write_register(offset_of("interrupt_enable"), 0)
    assert soc.handled == before + (way == "to_host")
    assert bus.read_register(offset_of("id")) == IDENTIFIER
    run(bus)


def test_no_answer_at_all(bus: EtherboneBus, soc: EtherboneSoc) -> None:
    soc.to_host = lambda content: []
    with pytest.raises(LinkTimeoutError, match="no answer to 4 datagrams"):
        bus.read(bus.memory_base, 4)
    soc.to_host = once_each
    run(bus)


def test_doubled_and_late_answers_are_known(bus: EtherboneBus, soc: EtherboneSoc) -> None:
    """Each answer comes twice, the second time after the next request."""
    held: list[bytes] = []

    def late(content: bytes) -> list[bytes]:
        before, held[:] = held[:], [content]
        return [*before, content, content]

    soc.to_host = late
    run(bus)


@pytest.mark.parametrize(
    ("disturb", "says"),
    [
        (lambda content: [content[:10]], "10 bytes are no answer"),
        (lambda content: [content[:-4]], "are no answer|words came in place of"),
        (lambda content: [b"no" + content[2:]], "begins with 6e6f"),
        (lambda content: [content[:10] + b"\x09" + content[11:]], "9 words came in place of"),
    ],
)
def test_what_is_no_answer_is_told(
    bus: EtherboneBus, soc: EtherboneSoc, disturb: Callable[[bytes], list[bytes]], says: str
) -> None:
    soc.to_host = times(1, disturb)
    with pytest.raises(LinkCorruptError, match=says):
        bus.read(bus.memory_base, 8)
    run(bus)


def test_memory_that_does_not_keep_what_is_written(
    bus: EtherboneBus, soc: EtherboneSoc, machine: SimulatedBus
) -> None:
    soc.to_host = lambda content: [content[:-1] + bytes([content[-1] ^ 1])]
    with pytest.raises(LinkCorruptError, match="was written at 0x"):
        bus.write(bus.memory_base, bytes(4))
    with pytest.raises(LinkCorruptError, match="its identifier is"):
        bus.write_register(offset_of("interrupt_enable"), 0)


def test_nothing_outside_is_accessed(bus: EtherboneBus, soc: EtherboneSoc) -> None:
    before = soc.handled
    for address, size in ((0, 4), (bus.memory_base - 1, 2), (bus.memory_base + SIZE - 2, 4)):
        with pytest.raises(RefusedAccessError, match="are not in the 16384 bytes"):
            bus.read(address, size)
        with pytest.raises(RefusedAccessError, match="are not in the 16384 bytes"):
            bus.write(address, bytes(size))
    for offset in (-4, 2, 1 << 12):
        with pytest.raises(RefusedAccessError, match="no register"):
            bus.read_register(offset)
        with pytest.raises(RefusedAccessError, match="no register"):
            bus.write_register(offset, 0)
    assert soc.handled == before


def test_a_signal_handler_writes_a_register_within_an_access(
    bus: EtherboneBus, soc: EtherboneSoc, machine: SimulatedBus
) -> None:
    """An abort by Ctrl-C comes after the access that it interrupts."""
    register = offset_of("interrupt_enable")

    def handler(*_: object) -> None:
        bus.write_register(register, 1)

    before = signal.signal(signal.SIGUSR1, handler)
    try:

        def interrupt(content: bytes) -> list[bytes]:
            soc.to_soc = once_each
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)
            return [content]

        bus.write_register(register, 0)
        soc.to_soc = interrupt
        bus.read(bus.memory_base, 4)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert machine.read_register(register) == 1
    bus.write_register(register, 0)


def test_an_interrupt_that_does_not_come(opened: Callable[..., EtherboneBus]) -> None:
    bus = opened(timeout=0.05)
    with pytest.raises(TimeoutError, match=r"no interrupt within 0.05 s"):
        bus.wait()


def test_another_soc_is_refused(opened: Callable[..., EtherboneBus], soc: EtherboneSoc) -> None:
    with pytest.raises(PortError, match="give the SoC's DTQATTEN_BASE"):
        opened(registers=REGISTERS + 8)
    soc.to_host = lambda content: []
    with pytest.raises(PortError, match=r"no Etherbone of LiteEth at 127\.0\.0\.2"):
        opened(patience=0.02)
    with pytest.raises(PortError, match="cannot reach"):
        opened(local="203.0.113.1")


def test_a_soc_that_goes(bus: EtherboneBus, soc: EtherboneSoc) -> None:
    soc.close()
    with pytest.raises((LinkLostError, LinkTimeoutError)):
        bus.read(bus.memory_base, 4)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"memory_bytes": SIZE + 4}, "multiples of 16"),
        ({"memory_bytes": 0}, "memory of 0 bytes"),
        ({"l2_bytes": 48}, "a power of two"),
        ({"l2_bytes": SIZE}, "multiples of twice that"),
        ({"words": 0}, "words is 0"),
        ({"words": 256}, "words is 256"),
    ],
)
def test_what_cannot_work_is_refused(
    opened: Callable[..., EtherboneBus], options: dict[str, int], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        opened(**options)
