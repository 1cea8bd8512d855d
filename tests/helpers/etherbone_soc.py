"""A SoC with Etherbone on a thread: datagrams by LiteX's own code, a machine, memory, an L2."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from litex.tools.remote.etherbone import EtherbonePacket, EtherboneRecord, EtherboneWrites

from dtqatten.driver.bus import Bus

#: Addresses of the two ends, and where the SoC has the machine's registers.
SOC, HOST, REGISTERS = "127.0.0.2", "127.0.0.1", 0x8000_0000

Disturb = Callable[[bytes], list[bytes]]


def once_each(content: bytes) -> list[bytes]:
    """Pass a datagram on as it is."""
    return [content]


class EtherboneSoc:
    """A SoC: an access is a word of its bus, as LiteEth's Etherbone does it.

    The L2 is write-back and of one way, in lines of 16 bytes.

    Attributes
    ----------
    to_soc, to_host : callable
        What becomes of a datagram: those that arrive in its place.
    handled : int
        Datagrams so far.
    """

    def __init__(self, bus: Bus, base: int, l2_bytes: int = 0) -> None:
        self._bus, self._base, self._sets = bus, base, l2_bytes // 16
        self._lines: dict[int, tuple[int, bytearray]] = {}
        self.to_soc: Disturb = once_each
        self.to_host: Disturb = once_each
        self.handled = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((SOC, 0))
        self._socket.settimeout(0.02)
        self.port = self._socket.getsockname()[1]
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._socket.close()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                content, host = self._socket.recvfrom(4096)
            except TimeoutError:
                continue
            for arrived in self.to_soc(content):
                self.handled += 1
                for answer in self.to_host(self._answer(arrived)):
                    self._socket.sendto(answer, host)

    def _answer(self, content: bytes) -> bytes:
        asked = EtherbonePacket(32, content)
        asked.decode()
        assert (asked.magic, asked.version, asked.addr_size, asked.port_size) == (0x4E6F, 1, 4, 4)
        (record,) = asked.records
        assert 1 + record.wcount + 1 + record.rcount <= 16, "more than LiteX's buffer holds"
        if record.wcount:
            for i, word in enumerate(record.writes.get_datas()):
                self._write(record.writes.base_addr + 4 * i, word, record.byte_enable)
        words = [self._read(address) for address in record.reads.get_addrs()]
        back = EtherboneRecord(addr_size=4)
        # LiteX's decoder forgets the address that answers go to.
        skipped = 12 + (4 + 4 * record.wcount if record.wcount else 0)
        number = int.from_bytes(content[skipped : skipped + 4], "big")
        back.writes = EtherboneWrites(base_addr=number, datas=words)
        answer = EtherbonePacket(32)
        answer.records = [back]
        answer.encode()
        return bytes(answer.bytes)

    def _read(self, address: int) -> int:
        if address >= REGISTERS:
            return self._bus.read_register(address - REGISTERS)
        line = self._line(address)
        return int.from_bytes(line[address % 16 :][:4], "little")

    def _write(self, address: int, word: int, enable: int) -> None:
        if address >= REGISTERS:
            self._bus.write_register(address - REGISTERS, word)
            return
        line = self._line(address)
        for n in range(4):
            if enable >> n & 1:
                line[address % 16 + n] = word >> 8 * n & 0xFF
        if not self._sets:
            self._bus.write(address // 16 * 16, bytes(line))

    def _line(self, address: int) -> bytearray:
        start = address // 16 * 16
        if not self._sets:
            return bytearray(self._bus.read(start, 16))
        index = start // 16 % self._sets
        if (found := self._lines.get(index)) and found[0] == start:
            return found[1]
        if found:
            self._bus.write(found[0], bytes(found[1]))
        self._lines[index] = start, bytearray(self._bus.read(start, 16))
        return self._lines[index][1]


@contextmanager
def etherbone_soc(bus: Bus, base: int, l2_bytes: int = 0) -> Iterator[EtherboneSoc]:
    """Serve a machine's bus."""
    soc = EtherboneSoc(bus, base, l2_bytes)
    try:
        yield soc
    finally:
        soc.close()
