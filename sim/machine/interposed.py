"""A bus on which things happen that no machine does: what a driver has to withstand."""

from collections.abc import Callable

from dtqatten.interface.descriptor import HEAD_BYTES, SIZE, pack, unpack
from dtqatten.sim.machine.axi import SimulatedBus
from dtqatten.sim.machine.wrapped import WrappedBus

__all__ = ["InterposedBus"]


class InterposedBus(WrappedBus):
    """A simulated bus with something between it and the driver.

    Parameters
    ----------
    inner : SimulatedBus

    Attributes
    ----------
    before_wait : callable or None
        Called in place of the next wait, which follows unless it raises; once.
    spoil : callable or None
        Called with the fields of each descriptor that is written ready, and returns those that
        reach the memory.
    """

    def __init__(self, inner: SimulatedBus) -> None:
        super().__init__(inner)
        self.before_wait: Callable[[], None] | None = None
        self.spoil: Callable[[int, dict[str, int]], dict[str, int]] | None = None
        self._rest: tuple[int, bytes] = (0, b"")

    def write(self, address: int, data: bytes) -> None:
        """Write bytes of the memory, spoiled where they complete a descriptor."""
        if self.spoil is not None:
            if len(data) == SIZE - HEAD_BYTES:
                self._rest = (address, data)
            elif len(data) == HEAD_BYTES and self._rest[0] == address + HEAD_BYTES:
                raw = pack(self.spoil(address, unpack(data + self._rest[1])))
                self.inner.write(address + HEAD_BYTES, raw[HEAD_BYTES:])
                data = raw[:HEAD_BYTES]
        super().write(address, data)

    def wait(self) -> None:
        """Wait for the interrupt line, after what comes before."""
        happens, self.before_wait = self.before_wait, None
        if happens is not None:
            happens()
        super().wait()
