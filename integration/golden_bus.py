"""A bus without a machine: the driver runs a chain on it, and the golden model answers."""

from collections.abc import Callable
from dataclasses import dataclass

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.system import constants
from dtqatten.interface.registers import REGISTERS, Control, Interrupt, offset_of

__all__ = ["Access", "GoldenBus"]

#: What memory holds that nobody has written: no result may depend on it.
FILL = 0xA5


@dataclass(frozen=True)
class Access:
    """An access of the host to a register: what it wrote there, or has read."""

    offset: int
    value: int
    written: bool


class GoldenBus:
    """Registers and memory as of :class:`dtqatten.driver.bus.Bus`.

    A chain that is started is complete at once: ``answer`` writes its results to memory.

    Parameters
    ----------
    system : SystemConfig
    base, size : int
        Of the memory.

    Attributes
    ----------
    answer : callable
        Called at START; returns how many descriptors are done.
    accesses : list of Access
        All until START, START included.
    image : bytes
        Memory at START.
    memory : bytearray
        Memory.
    """

    def __init__(self, system: SystemConfig, base: int, size: int) -> None:
        self.base = base
        self.memory = bytearray([FILL]) * size
        self.accesses: list[Access] = []
        self.image = b""
        self.answer: Callable[[], int] = lambda: 0
        reset = {register.name: register.init for register in REGISTERS}
        self._words: dict[int, int] = {}
        for register in REGISTERS:
            value = (reset | constants(system))[register.name]
            for word in range(register.bits // 32):
                self._words[register.offset + 4 * word] = value >> 32 * word & 0xFFFFFFFF

    def read_register(self, offset: int) -> int:
        """Return a word of a register."""
        value = self._words[offset]
        if not self.image:
            self.accesses.append(Access(offset, value, written=False))
        return value

    def write_register(self, offset: int, value: int) -> None:
        """Write a word of a register."""
        if not self.image:
            self.accesses.append(Access(offset, value, written=True))
        if offset == offset_of("interrupt"):
            self._words[offset] &= ~value
        elif offset != offset_of("control"):
            self._words[offset] = value
        elif value & Control.START:
            self.image = bytes(self.memory)
            self._words[offset_of("layers_done")] = self.answer()
            self._words[offset_of("interrupt")] |= Interrupt.LAYER | Interrupt.DONE

    def read(self, address: int, size: int) -> bytes:
        """Return bytes of memory."""
        return bytes(self.memory[address - self.base : address - self.base + size])

    def write(self, address: int, data: bytes) -> None:
        """Write bytes of memory."""
        self.memory[address - self.base : address - self.base + len(data)] = data

    def wait(self) -> None:
        """Return: the chain is complete."""
