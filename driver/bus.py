"""The bus as the driver uses it: registers, memory, and a wait for the interrupt."""

from typing import Protocol

__all__ = ["Bus"]


class Bus(Protocol):
    """Access to a machine and to the memory that it shares with the host.

    Implementations: :class:`dtqatten.sim.machine.axi.SimulatedBus`; on a board,
    :class:`dtqatten.driver.serial_bus.SerialBus`; in a SoC with Ethernet
    :class:`dtqatten.driver.etherbone_bus.EtherboneBus`, or registers mapped from ``/dev/mem`` or a
    PCIe BAR, and a buffer for DMA.

    The bus does barriers and cache maintenance: :meth:`write` and :meth:`read` work on memory as
    the machine sees it. The driver compares buses by identity: one object a machine.
    """

    def read_register(self, offset: int) -> int:
        """Return the 32-bit register at a byte offset."""
        ...

    def write_register(self, offset: int, value: int) -> None:
        """Write the 32-bit register at a byte offset.

        May be called while another thread is in :meth:`wait`, or by a signal handler, so that an
        abort is always possible.
        """
        ...

    def read(self, address: int, size: int) -> bytes:
        """Return bytes of the shared memory, by the machine's addresses.

        They include all that the machine wrote before the last read of a register.
        """
        ...

    def write(self, address: int, data: bytes) -> None:
        """Write bytes of the shared memory.

        The machine sees them before the effect of a later :meth:`write` or :meth:`write_register`.
        Up to 8 aligned bytes are one store, or words in ascending order.
        """
        ...

    def wait(self) -> None:
        """Return when the interrupt line is high; occasional early returns are harmless.

        Raises
        ------
        TimeoutError
            If it does not become high within the time that the bus allows.
        """
        ...
