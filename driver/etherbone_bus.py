"""The bus over Ethernet: a SoC's registers and memory, in LiteEth's Etherbone datagrams."""

import itertools
import socket
import struct
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

from dtqatten.driver.errors import (
    LinkCorruptError,
    LinkLostError,
    LinkTimeoutError,
    PortError,
    RefusedAccessError,
)
from dtqatten.driver.link_bus import LinkBus
from dtqatten.interface.registers import IDENTIFIER, REGISTERS, offset_of

__all__ = ["EtherboneBus"]

#: Magic number, version in the upper half of a byte, bytes of addresses and words: of all 4.
HEADER = struct.Struct(">HBB4x")
MAGIC, VERSION, SIZES = 0x4E6F, 1 << 4, 0x44
#: Flags, byte enables, words written, words read.
RECORD = struct.Struct(">4B")
#: Words in a record: LiteX's default buffer has 16, two of them addresses, one what is read back.
WORDS = 12
#: Times that what may be done twice is asked for.
ATTEMPTS = 4
#: Bytes that any line of LiteX's L2 has at least.
LINE = 16
#: Bytes of all registers.
REGISTER_BYTES = max(register.offset + register.bits // 8 for register in REGISTERS)


class EtherboneBus(LinkBus):
    """The bus of :class:`dtqatten.driver.bus.Bus` through LiteEth's Etherbone, over UDP.

    Each datagram is one record, which reads at least one word and is answered under a number of its
    own: so a write is known to have been done, and late or doubled answers are known. Of memory,
    the last word written is read back and compared, of registers the identifier. Reads and writes
    of memory are repeated where no answer comes; the network must not hold a datagram for longer
    than ``patience``. A write of a register is not repeated.

    An address of the SoC with nothing behind it reads as all ones, as LiteX has it; none but the
    machine's registers and the given memory is accessed.

    Parameters
    ----------
    host : str
        Name or IP address of the SoC.
    registers : int
        Where the SoC has the machine's registers: ``DTQATTEN_BASE``.
    memory_base, memory_bytes : int
        Memory that machine and bus share: ``main_ram``, or a part of it; whole words.
    l2_bytes : int
        The SoC's L2, ``CONFIG_L2_SIZE``, 0 without one. The machine does not see what is in it, and
        it does not see what the machine writes: its lines are evicted after writes and before
        reads, by reads of others, for which the memory is a multiple of twice its size.
    port : int
        UDP port of both ends.
    local : str
        Address of this end; any by default.
    words : int
        Most words read or written by a datagram, 1 to 255: the SoC's ``buffer_depth`` less 4.
    patience : float
        Seconds after which an answer is not waited for any longer.
    timeout : float
        Seconds after which :meth:`wait` gives up.

    Raises
    ------
    PortError
        If the port cannot be opened, or no such machine answers.
    ValueError
        If the memory is not of whole words, or too small for the L2.
    """

    def __init__(
        self,
        host: str,
        *,
        registers: int,
        memory_base: int,
        memory_bytes: int,
        l2_bytes: int = 0,
        port: int = 1234,
        local: str = "",
        words: int = WORDS,
        patience: float = 0.5,
        timeout: float = 60.0,
    ) -> None:
        super().__init__(timeout)
        if memory_base % LINE or memory_bytes % LINE or memory_bytes <= 0:
            raise ValueError(
                f"memory of {memory_bytes} bytes at {memory_base:#x}: both are multiples of {LINE}"
            )
        twice = 2 * l2_bytes or 1
        if l2_bytes & (l2_bytes - 1) or memory_bytes % twice or memory_base % twice:
            raise ValueError(
                f"an L2 of {l2_bytes} bytes, memory of {memory_bytes} at {memory_base:#x}: its "
                "size is a power of two, and both are multiples of twice that"
            )
        if not 1 <= words <= 255:
            raise ValueError(f"words is {words}: a record has 1 to 255")
        self.host, self.memory_base, self.memory_bytes = host, memory_base, memory_bytes
        self.patience = patience
        self._base, self._l2, self._words = registers, l2_bytes, words
        self._numbers = itertools.cycle(range(1, 1 << 32))
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            # LiteEth answers to the port that it listens at.
            self._socket.bind((local, port))
            self._socket.connect((host, port))
            (found,) = self._exchange([registers + offset_of("id")])
        except OSError as error:
            self.close()
            raise PortError(f"cannot reach {host}, UDP port {port}: {error}") from None
        except (LinkTimeoutError, LinkCorruptError, LinkLostError) as error:
            self.close()
            raise PortError(f"no Etherbone of LiteEth at {host}: {error}") from None
        except BaseException:
            self.close()
            raise
        if found != IDENTIFIER:
            self.close()
            raise PortError(
                f"{host}: the register at {registers:#x} is {found:#x}, not {IDENTIFIER:#x}: give "
                "the SoC's DTQATTEN_BASE as registers"
            )

    def close(self) -> None:
        """Close the socket."""
        with suppress(OSError):
            self._socket.close()

    def read(self, address: int, size: int) -> bytes:
        """Return bytes of the memory.

        Raises
        ------
        LinkError
            If the link fails, or they are not all in the memory.
        """
        self._check(address, size)
        self._evict(address, size)
        first, last = address // 4, -(-(address + size) // 4)
        words: list[int] = []
        for start in range(first, last, self._words):
            words += self._exchange([4 * n for n in range(start, min(start + self._words, last))])
        raw = b"".join(word.to_bytes(4, "little") for word in words)
        return raw[address - 4 * first :][:size]

    def write(self, address: int, data: bytes) -> None:
        """Write bytes of the memory, in ascending order; parts of words by their byte enables.

        Raises
        ------
        LinkError
            If the link fails, or they are not all in the memory.
        """
        self._check(address, len(data))
        for at, words, enable in _records(address, data, self._words):
            last = at + 4 * (len(words) - 1)
            (found,) = self._exchange([last], (at, words, enable))
            seen = sum(0xFF << 8 * n for n in range(4) if enable >> n & 1)
            if (found ^ words[-1]) & seen:
                raise LinkCorruptError(
                    f"{self.host}: {words[-1]:#010x} was written at {last:#x}, {found:#010x} read"
                )
        self._evict(address, len(data))

    def _registers(self, offsets: Sequence[int]) -> list[int]:
        for offset in offsets:
            self._check_register(offset)
        return self._exchange([self._base + offset for offset in offsets])

    def _write_register(self, offset: int, value: int) -> None:
        self._check_register(offset)
        asked = self._base + offset_of("id")
        written = (self._base + offset, [value & 0xFFFFFFFF], 0xF)
        (found,) = self._exchange([asked], written, attempts=1)
        if found != IDENTIFIER:
            raise LinkCorruptError(f"{self.host}: its identifier is {found:#x} after a write")

    def _check(self, address: int, size: int) -> None:
        inside = address - self.memory_base
        if inside < 0 or inside + size > self.memory_bytes:
            raise RefusedAccessError(
                f"{size} bytes at {address:#x} are not in the {self.memory_bytes} bytes of memory "
                f"at {self.memory_base:#x}"
            )

    def _check_register(self, offset: int) -> None:
        if offset % 4 or not 0 <= offset < REGISTER_BYTES:
            raise RefusedAccessError(f"there is no register at byte {offset:#x}")

    def _evict(self, address: int, size: int) -> None:
        """Take the lines of bytes out of the L2, whose place is that of lines ``l2_bytes`` away."""
        if not self._l2:
            return
        first = address // LINE * LINE
        last = min(address + size, first + self._l2)
        others = [line ^ self._l2 for line in range(first, last, LINE)]
        for start in range(0, len(others), self._words):
            self._exchange(others[start : start + self._words])

    def _exchange(
        self,
        reads: Sequence[int],
        write: tuple[int, Sequence[int], int] | None = None,
        *,
        attempts: int = ATTEMPTS,
    ) -> list[int]:
        """Return words that are read after others have been written.

        Parameters
        ----------
        reads : sequence of int
            Addresses.
        write : tuple
            Address, words, and enables of the bytes of each.
        attempts : int
        """
        with self._turn():
            for _ in range(attempts):
                number = next(self._numbers)
                try:
                    self._socket.send(_datagram(number, reads, write))
                    answer = self._answer(number, len(reads))
                except TimeoutError:
                    continue
                except OSError as error:
                    raise LinkLostError(f"{self.host} cannot be reached: {error}") from None
                return answer
        done = "; what was to be written may have been" if write else ""
        raise LinkTimeoutError(
            f"{self.host}: no answer to {attempts} datagrams, {self.patience} s each{done}"
        )

    def _answer(self, number: int, words: int) -> list[int]:
        """Return the words of the answer under a number; others are late ones.

        Raises
        ------
        TimeoutError
            If it does not come in time.
        """
        ends = time.monotonic() + self.patience
        while (left := ends - time.monotonic()) > 0:
            self._socket.settimeout(left)
            content = self._socket.recv(2048)
            if len(content) < HEADER.size + RECORD.size + 4:
                raise LinkCorruptError(f"{self.host}: {len(content)} bytes are no answer")
            magic, version, sizes = HEADER.unpack_from(content)
            _, _, count, _ = RECORD.unpack_from(content, HEADER.size)
            body = content[HEADER.size + RECORD.size :]
            if (magic, version & 0xF0, sizes) != (MAGIC, VERSION, SIZES):
                raise LinkCorruptError(f"{self.host}: an answer begins with {content[:4].hex()}")
            if int.from_bytes(body[:4], "big") != number:
                continue
            if count != words or len(body) < 4 + 4 * count:
                raise LinkCorruptError(f"{self.host}: {count} words came in place of {words}")
            return list(struct.unpack_from(f">{count}I", body, 4))
        raise TimeoutError


def _datagram(
    number: int, reads: Sequence[int], write: tuple[int, Sequence[int], int] | None
) -> bytes:
    """Return a request, whose answer comes under a number."""
    address, words, enable = write or (0, [], 0xF)
    written = struct.pack(f">{1 + len(words)}I", address, *words) if words else b""
    return (
        HEADER.pack(MAGIC, VERSION, SIZES)
        + RECORD.pack(0, enable, len(words), len(reads))
        + written
        + struct.pack(f">{1 + len(reads)}I", number, *reads)
    )


def _records(address: int, data: bytes, most: int) -> Iterator[tuple[int, list[int], int]]:
    """Yield what writes bytes: address, words, and which bytes of each; parts of words alone."""
    end = address + len(data)
    at = address
    while at < end:
        first = at % 4
        if first or end - at < 4:
            count = min(4 - first, end - at)
            part = data[at - address :][:count]
            word = int.from_bytes(bytes(first) + part, "little")
            yield at - first, [word], (1 << count) - 1 << first
        else:
            count = min(4 * most, (end - at) // 4 * 4)
            part = data[at - address :][:count]
            yield at, list(struct.unpack(f"<{count // 4}I", part)), 0xF
        at += count
