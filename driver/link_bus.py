"""What buses at the end of a link share: turns, registers, a wait that asks."""

import abc
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from dtqatten.interface.registers import offset_of

__all__ = ["LinkBus"]

#: Seconds between two looks at the interrupt.
PAUSE = 0.002


class LinkBus(abc.ABC):
    """Part of the bus of :class:`dtqatten.driver.bus.Bus` over a link without an interrupt line.

    Threads may share it. A signal handler's write of a register during an access of its own thread
    is done at the end of that access.

    Parameters
    ----------
    timeout : float
        Seconds after which :meth:`wait` gives up.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        # A signal handler may come in before the holder is noted, and after: between two accesses.
        self._lock = threading.RLock()
        self._holder: int | None = None
        self._later: deque[tuple[int, int]] = deque()

    def read_register(self, offset: int) -> int:
        """Return the 32-bit register at a byte offset.

        Raises
        ------
        LinkError
            If the link fails, or there is no such register.
        """
        (value,) = self._registers([offset])
        return value

    def write_register(self, offset: int, value: int) -> None:
        """Write the 32-bit register at a byte offset.

        Raises
        ------
        LinkError
            If the link fails, or there is no such register.
        """
        if self._holder == threading.get_ident():
            self._later.append((offset, value))
        else:
            self._write_register(offset, value)

    def wait(self) -> None:
        """Return when an enabled interrupt is pending.

        Raises
        ------
        TimeoutError
            If there is none within ``timeout`` seconds.
        LinkError
            If the link fails.
        """
        asked = [offset_of(name) for name in ("interrupt", "interrupt_enable")]
        ends = time.monotonic() + self.timeout
        while True:
            pending, enabled = self._registers(asked)
            if pending & enabled:
                return
            if time.monotonic() > ends:
                raise TimeoutError(f"no interrupt within {self.timeout} s")
            time.sleep(PAUSE)

    @abc.abstractmethod
    def _registers(self, offsets: Sequence[int]) -> list[int]:
        """Return registers, in one access."""

    @abc.abstractmethod
    def _write_register(self, offset: int, value: int) -> None:
        """Write a register, by :meth:`_turn`."""

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """Use the link, alone; afterwards do what signal handlers have left."""
        with self._lock:
            self._holder = threading.get_ident()
            try:
                yield
            finally:
                self._holder = None
        while self._later:
            self._write_register(*self._later.popleft())
