"""The bus over a serial line: a board's registers and memory, in LiteX's packets, checked."""

import time
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import serial

from dtqatten.driver.errors import (
    LinkCorruptError,
    LinkError,
    LinkLostError,
    LinkTimeoutError,
    PortError,
    RefusedAccessError,
)
from dtqatten.driver.link_bus import LinkBus
from dtqatten.interface.host_link import (
    CHECKED,
    LINK_BASE,
    LINK_IDENTIFIER,
    LINK_VERSION,
    MEMORY_BASE,
    MOST_WORDS,
    REGISTER_BASE,
    SILENCE,
    Command,
    LinkRegister,
)

__all__ = ["SerialBus", "read_packet", "write_packet"]

#: Attempts at beginning anew.
ATTEMPTS = 3
#: Seconds that the first answer of an attempt may take.
FIRST = 2.0


def read_packet(address: int, words: int) -> bytes:
    """Return the packet that reads up to 255 words from a byte address on."""
    return bytes((Command.READ, words)) + (address // 4).to_bytes(4, "big")


def write_packet(address: int, data: bytes) -> bytes:
    """Return the packet that writes up to 255 words, of little-endian bytes, from an address on."""
    words = [data[i : i + 4][::-1] for i in range(0, len(data), 4)]
    return bytes((Command.WRITE, len(words))) + (address // 4).to_bytes(4, "big") + b"".join(words)


class SerialBus(LinkBus):
    """The bus of :class:`dtqatten.driver.bus.Bus` on a serial line.

    The protocol has no checksum of its own, so each access is followed by a read of the link's: of
    all bytes that came and went since the line was opened. An access that returns has happened as
    asked, and no other has. After any error, Ctrl-C included, the next access waits for silence,
    with which the board forgets half a packet, and begins anew.

    Parameters
    ----------
    port : str
        Such as ``/dev/ttyUSB0``.
    baud : int
    patience : float
        Seconds without a byte after which an answer is given up.
    timeout : float
        Seconds after which :meth:`wait` gives up.

    Attributes
    ----------
    memory_base, memory_bytes : int
        The memory on the board.
    clock_hz : int
        Clock rate of its machine.

    Raises
    ------
    PortError
        If the port cannot be opened, or there is no such board on it.
    LinkError
        If the line fails.
    """

    def __init__(
        self, port: str, *, baud: int = 1_000_000, patience: float = 10.0, timeout: float = 60.0
    ) -> None:
        super().__init__(timeout)
        self.port, self.patience = port, patience
        # Checksums of what went and came, as the board has them; and what it has refused.
        self._went = self._came = self._refused = 0
        self._lost = True
        try:
            self._serial = serial.Serial(
                port, baud, timeout=patience, write_timeout=patience, exclusive=True
            )
        except (OSError, ValueError) as error:
            raise PortError(f"cannot open {port}: {_reason(error)}") from None
        self.memory_base = MEMORY_BASE
        try:
            start = LINK_BASE + 4 * LinkRegister.MEMORY_BYTES
            self.memory_bytes, self.clock_hz = self._access([read_packet(start, 2)], 2)
        except (LinkTimeoutError, LinkCorruptError) as error:
            self.close()
            raise PortError(
                f"nothing on {port} answers as a board of dtqatten does: {error}; is it the right "
                "port, has the board its bitstream, is the baud rate its own?"
            ) from None
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the port."""
        with suppress(OSError):
            self._serial.close()

    def read(self, address: int, size: int) -> bytes:
        """Return bytes of the memory.

        Raises
        ------
        LinkError
            If the line fails, or they are not all in the memory.
        """
        first, last = address // 4, -(-(address + size) // 4)
        words: list[int] = []
        for start in range(first, last, MOST_WORDS):
            count = min(MOST_WORDS, last - start)
            words += self._access([read_packet(4 * start, count)], count)
        raw = b"".join(word.to_bytes(4, "little") for word in words)
        return raw[address - 4 * first :][:size]

    def write(self, address: int, data: bytes) -> None:
        """Write bytes of the memory, in ascending order; part of a word with the rest of it.

        Raises
        ------
        LinkError
            If the line fails, or they are not all in the memory.
        """
        before, after = address % 4, -(address + len(data)) % 4
        if before:
            data = self.read(address - before, before) + data
        if after:
            data += self.read(address - before + len(data), after)
        address -= before
        step = 4 * MOST_WORDS
        for i in range(0, len(data), step):
            self._access([write_packet(address + i, data[i : i + step])], 0)

    def _registers(self, offsets: Sequence[int]) -> list[int]:
        packets = [read_packet(REGISTER_BASE + offset, 1) for offset in offsets]
        return self._access(packets, len(packets))

    def _write_register(self, offset: int, value: int) -> None:
        data = (value & 0xFFFFFFFF).to_bytes(4, "little")
        self._access([write_packet(REGISTER_BASE + offset, data)], 0)

    def _access(self, packets: Sequence[bytes], words: int) -> list[int]:
        """Send packets and return the words that answer them, after a check of all that passed.

        Parameters
        ----------
        packets : sequence of bytes
        words : int
            In their answers.
        """
        with self._turn():
            if self._lost:
                self._begin()
            try:
                answer = self._checked(packets, words)
            except RefusedAccessError:
                raise
            except BaseException:
                self._lost = True
                raise
        return answer

    def _checked(self, packets: Sequence[bytes], words: int) -> list[int]:
        """As of :meth:`_access`, on a line that is in step."""
        check = read_packet(LINK_BASE + 4 * CHECKED[0], len(CHECKED))
        for packet in (*packets, check):
            self._send(packet)
        answer = self._receive(4 * (words + len(CHECKED)))
        found = [int.from_bytes(answer[i : i + 4], "big") for i in range(0, len(answer), 4)]
        came, went, refused = found[words:]
        if came != self._went:
            raise LinkCorruptError(
                f"{self.port}: the board has received other bytes than were sent"
            )
        if went != zlib.crc32(answer[: 4 * words + 4], self._came):
            raise LinkCorruptError(
                f"{self.port}: the board has sent other bytes than were received"
            )
        self._came = zlib.crc32(answer, self._came)
        before, self._refused = self._refused, refused
        if refused != before:
            raise RefusedAccessError(
                f"{self.port}: the board refuses {refused - before} of the words of an access: "
                "there is no such address, or it is not written"
            )
        return found[:words]

    def _begin(self) -> None:
        """Get in step: silence, then the checksums as they are, then a check of them."""
        for attempt in range(ATTEMPTS):
            try:
                self._silence()
                self._send(read_packet(LINK_BASE, len(LinkRegister)))
                answer = self._receive(4 * len(LinkRegister), min(FIRST, self.patience))
                found = [int.from_bytes(answer[i : i + 4], "big") for i in range(0, len(answer), 4)]
                self._went, self._refused = found[LinkRegister.RECEIVED], found[-1]
                sent = LinkRegister.SENT
                self._came = zlib.crc32(answer[4 * sent :], found[sent])
                self._checked([], 0)
            except LinkLostError:
                raise
            except LinkError:
                if attempt + 1 == ATTEMPTS:
                    raise
                continue
            if found[:2] != [LINK_IDENTIFIER, LINK_VERSION]:
                raise PortError(
                    f"{self.port}: link {found[0]:#x}, version {found[1]}; expected "
                    f"{LINK_IDENTIFIER:#x}, {LINK_VERSION}: build the board anew"
                )
            self._lost = False
            return

    def _silence(self) -> None:
        """Wait until nothing comes for longer than the board remembers half a packet."""
        ends = time.monotonic() + self.patience
        with _failures(self.port):
            self._serial.timeout = 2 * SILENCE
            while self._serial.read(max(1, self._serial.in_waiting)):
                if time.monotonic() > ends:
                    raise LinkTimeoutError(f"{self.port}: it does not stop sending")

    def _send(self, packet: bytes) -> None:
        with _failures(self.port):
            self._serial.write(packet)
        self._went = zlib.crc32(packet, self._went)

    def _receive(self, size: int, patience: float | None = None) -> bytes:
        """Return bytes; ``patience``: seconds without one, usually the bus's."""
        answer, patience = b"", self.patience if patience is None else patience
        with _failures(self.port):
            self._serial.timeout = patience
            while len(answer) < size:
                part = self._serial.read(min(size - len(answer), max(1, self._serial.in_waiting)))
                if not part:
                    raise LinkTimeoutError(
                        f"{self.port}: {len(answer)} of the {size} bytes of an answer came, then "
                        f"none for {patience} s"
                    )
                answer += part
        return answer


def _reason(error: Exception) -> str:
    """Return what a library says of a failure, without its own name for it."""
    return getattr(error, "strerror", None) or str(error)


@contextmanager
def _failures(port: str) -> Iterator[None]:
    """Turn what pyserial and the system raise into errors of the link."""
    try:
        yield
    except serial.SerialTimeoutException:
        raise LinkTimeoutError(f"{port}: the line takes no more bytes") from None
    except (OSError, TypeError) as error:
        raise LinkLostError(f"{port} is gone: {_reason(error)}") from None
