"""What the driver needs of a bus: registers, memory, and a way to wait."""

from typing import Protocol

__all__ = ["Bus"]


class Bus(Protocol):
    """Access to a machine and to the memory that it shares with the host.

    Implementations: :class:`dtqatten.sim.axi.SimulatedBus`; on a board, registers mapped from
    ``/dev/mem`` or a PCIe BAR, and a buffer for DMA.
    """

    def read_register(self, offset: int) -> int:
        """Return the 32-bit register at a byte offset."""
        ...

    def write_register(self, offset: int, value: int) -> None:
        """Write the 32-bit register at a byte offset."""
        ...

    def read(self, address: int, size: int) -> bytes:
        """Return bytes of the shared memory, by the machine's addresses."""
        ...

    def write(self, address: int, data: bytes) -> None:
        """Write bytes of the shared memory."""
        ...

    def wait(self) -> None:
        """Return when the interrupt line is high.

        Raises
        ------
        TimeoutError
            If it does not become high within the time that the bus allows.
        """
        ...
