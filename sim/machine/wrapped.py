"""A bus around a simulated one, which passes everything on."""

from dtqatten.sim.machine.axi import SimulatedBus

__all__ = ["WrappedBus"]


class WrappedBus:
    """The bus of :class:`dtqatten.driver.bus.Bus` on a simulated one, for others to change.

    Parameters
    ----------
    inner : SimulatedBus
    """

    def __init__(self, inner: SimulatedBus) -> None:
        self.inner = inner

    def read_register(self, offset: int) -> int:
        """Return a register."""
        return self.inner.read_register(offset)

    def write_register(self, offset: int, value: int) -> None:
        """Write a register."""
        self.inner.write_register(offset, value)

    def read(self, address: int, size: int) -> bytes:
        """Return bytes of the memory."""
        return self.inner.read(address, size)

    def write(self, address: int, data: bytes) -> None:
        """Write bytes of the memory."""
        self.inner.write(address, data)

    def wait(self) -> None:
        """Wait for the interrupt line."""
        self.inner.wait()
