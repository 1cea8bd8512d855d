"""A board at the other end of a line that fails: typed errors, never a wrong result, then right."""

import os
import signal
import threading
from typing import Any

import numpy as np
import pytest

from board_line import SMALL, Line, Once
from dtqatten.boards.host import device_on, random_recording, run_layers
from dtqatten.boards.simulated import SimulatedBoard
from dtqatten.driver.device import Device
from dtqatten.driver.errors import (
    LayoutError,
    LinkCorruptError,
    LinkError,
    LinkLostError,
    LinkTimeoutError,
    PortError,
    RefusedAccessError,
)
from dtqatten.driver.serial_bus import SerialBus, read_packet
from dtqatten.golden.numerics.select import PAPER_SHARES
from dtqatten.interface.host_link import LINK_BASE, MEMORY_BASE, SILENCE
from dtqatten.interface.registers import Control, Status, offset_of

LAYER = random_recording(SMALL, 1, 5, 0)


def run(bus: SerialBus) -> list[Any]:
    """Run a layer; every bit is compared."""
    return run_layers(device_on(bus, SMALL), SMALL, LAYER, shares=PAPER_SHARES)


@pytest.fixture
def line(small_board: SimulatedBoard) -> Any:
    with Line(small_board.port) as found:
        yield found


@pytest.fixture
def bus(line: Line) -> Any:
    found = SerialBus(line.port)
    yield found
    found.close()


def test_a_layer_is_exact_and_so_is_the_next(bus: SerialBus) -> None:
    assert (bus.memory_bytes, bus.clock_hz) == (SMALL.memory_bytes, SMALL.clock_hz)
    first, second = run(bus), run(bus)
    assert np.array_equal(first[0].output, second[0].output)
    assert first[0].output.any()


def test_bytes_of_memory_at_any_place(bus: SerialBus) -> None:
    rng, held = np.random.default_rng(1), bytearray(64)
    bus.write(MEMORY_BASE + 4096, bytes(held))
    for _ in range(30):
        start, size = int(rng.integers(0, 50)), int(rng.integers(0, 14))
        content = rng.bytes(size)
        bus.write(MEMORY_BASE + 4096 + start, content)
        held[start : start + size] = content
        start, size = int(rng.integers(0, 50)), int(rng.integers(0, 14))
        assert bus.read(MEMORY_BASE + 4096 + start, size) == held[start : start + size]
    assert bus.read(MEMORY_BASE + 4096, 64) == held
    large = rng.bytes(5000)
    bus.write(MEMORY_BASE + 8, large)
    assert bus.read(MEMORY_BASE + 8, 5000) == large


def test_what_the_board_does_not_have_is_refused_and_the_line_stays_in_step(
    bus: SerialBus,
) -> None:
    for address in (0, MEMORY_BASE + SMALL.memory_bytes):
        with pytest.raises(RefusedAccessError, match="refuses 1 of the words"):
            bus.read(address, 4)
        with pytest.raises(RefusedAccessError, match="refuses 2 of the words"):
            bus.write(address, bytes(8))
    with pytest.raises(RefusedAccessError):
        bus.write_register(offset_of("status"), 0)
    with pytest.raises(RefusedAccessError):
        bus.read_register(0x1F8)
    run(bus)


def drop(_: int) -> bytes:
    return b""


def double(byte: int) -> bytes:
    return bytes((byte, byte))


def flip(bit: int) -> Any:
    return lambda byte: bytes((byte ^ 1 << bit,))


def test_every_fault_is_found_and_the_next_run_is_right(line: Line, bus: SerialBus) -> None:
    """A byte anywhere in a run is lost, doubled or changed in a bit, in either direction."""
    before = list(line.passed)
    run(bus)
    length = [now - then for now, then in zip(line.passed, before, strict=True)]
    rng = np.random.default_rng(int(os.environ.get("DTQATTEN_SEED", "0")))
    found: set[type] = set()
    for number in range(8):
        way = number % 2
        kinds = (drop, double, flip(int(rng.integers(8))))
        fault = Once(int(rng.integers(length[way])), kinds[int(rng.integers(3))])
        setattr(line, ("to_board", "to_host")[way], fault)
        bus.patience = 1.0
        try:
            run(bus)
        except LinkError as error:
            found.add(type(error))
        else:
            # The fault has not been met, or a doubled byte came after the last answer.
            assert not fault.done or fault.change is double
        line.to_board = line.to_host = bytes
        bus.patience = 10.0
        run(bus)
    assert found <= {LinkCorruptError, LinkTimeoutError}
    assert found


@pytest.mark.parametrize(
    ("change", "kind"), [(flip(0), LinkCorruptError), (flip(7), LinkCorruptError)]
)
def test_a_wrong_bit_of_data_is_found_before_anything_starts(
    line: Line, bus: SerialBus, change: Any, kind: type
) -> None:
    content = bytes(range(256))
    bus.write(MEMORY_BASE, content)
    line.to_board = Once(6 + 77, change)
    with pytest.raises(kind, match="the board has received other bytes than were sent"):
        bus.write(MEMORY_BASE, content)
    line.to_board = bytes
    assert bus.read(MEMORY_BASE, 256) != content
    line.to_host = Once(40, change)
    with pytest.raises(kind, match="the board has sent other bytes than were received"):
        bus.read(MEMORY_BASE, 256)
    line.to_host = bytes
    bus.write(MEMORY_BASE, content)
    assert bus.read(MEMORY_BASE, 256) == content


def test_half_a_packet_of_a_killed_host_is_forgotten(small_board: SimulatedBoard) -> None:
    for half in (read_packet(LINK_BASE, 7)[:3], b"\x01\xff\x10\x00\x00\x00" + bytes(37), b"\x02"):
        with Line(small_board.port) as line:
            raw = SerialBus(line.port)
            raw._serial.write(half)
            raw.close()
            bus = SerialBus(line.port)
            run(bus)
            bus.close()


def test_ctrl_c_in_an_access_leaves_the_line_usable(bus: SerialBus) -> None:
    def interrupt() -> None:
        os.kill(os.getpid(), signal.SIGINT)

    def interrupted(after: float) -> bool:
        """Whether runs end by Ctrl-C: Python drops one that comes while it finalizes an object."""
        timer = threading.Timer(after, interrupt)
        timer.start()
        try:
            while timer.is_alive():
                run(bus)
            run(bus)
        except KeyboardInterrupt:
            return True
        finally:
            timer.join()
        return False

    for after in (0.01, 0.05, 0.3):
        assert any(interrupted(after) for _ in range(10))
        run(bus)


def test_a_signal_handler_aborts_in_the_middle_of_an_access(bus: SerialBus) -> None:
    device = device_on(bus, SMALL)
    fired = []

    def handler(*_: object) -> None:
        fired.append(bus._holder is not None)
        device.set_register("control", Control.ABORT)

    old = signal.signal(signal.SIGUSR1, handler)
    try:
        for _ in range(20):
            threading.Timer(0.02, os.kill, (os.getpid(), signal.SIGUSR1)).start()
            content = bytes(range(200))
            bus.write(MEMORY_BASE, content)
            assert bus.read(MEMORY_BASE, 200) == content
            while not fired:
                device.register("status")
            if fired.pop():
                break
        else:
            pytest.fail("no signal has come during an access")
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert not bus._later
    assert Status.BUSY not in device.status
    run(bus)


def test_the_line_is_unplugged(small_board: SimulatedBoard) -> None:
    with Line(small_board.port) as line:
        bus = SerialBus(line.port)
        device = device_on(bus, SMALL)
        line.unplug()
        with pytest.raises(LinkLostError, match="is gone"):
            run_layers(device, SMALL, LAYER, shares=PAPER_SHARES)
        bus.close()
    with Line(small_board.port) as line:
        bus = SerialBus(line.port)
        run(bus)
        bus.close()


def test_nothing_answers(line: Line, bus: SerialBus) -> None:
    bus.patience = 0.3
    line.to_board = lambda _: b""
    with pytest.raises(LinkTimeoutError, match=r"0 of the 16 bytes of an answer came"):
        bus.read_register(0)
    bus.close()
    with pytest.raises(PortError, match=r"nothing on .* answers as a board"):
        SerialBus(line.port, patience=0.1)
    line.to_board = bytes
    again = SerialBus(line.port)
    run(again)
    again.close()


def test_ports_that_are_none_are_refused(tmp_path: Any) -> None:
    (tmp_path / "file").write_text("x")
    for path in ("/nowhere/at/all", str(tmp_path / "file"), str(tmp_path)):
        with pytest.raises(PortError, match="cannot open"):
            SerialBus(path)


def test_another_board_is_told(bus: SerialBus) -> None:
    from dtqatten.boards.catalog import BOARDS

    with pytest.raises(PortError, match="its machine has rows 2, that of ulx3s-85f 4"):
        device_on(bus, BOARDS["ulx3s-85f"])
    with pytest.raises(LayoutError, match="more than the machine's 2"):
        run_layers(
            device_on(bus, SMALL), SMALL, random_recording(SMALL, 3, 6, 0), shares=PAPER_SHARES
        )
    assert isinstance(device_on(bus, SMALL), Device)


def test_silence_is_longer_than_the_line_takes() -> None:
    assert SILENCE * SMALL.clock_hz > 10 * 10 * SMALL.config().divisor
