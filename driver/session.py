"""Exclusive use of a machine: one chain at a time, one call at a time."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from weakref import ReferenceType, WeakKeyDictionary, ref

from dtqatten.driver.bus import Bus
from dtqatten.driver.errors import InUseError

if TYPE_CHECKING:
    from dtqatten.driver.chain import Chain

__all__ = ["Session", "session_of"]


class _Turn:
    """A call that uses the machine, or is about to be refused."""

    def __init__(self, chain: "Chain") -> None:
        self.chain, self.thread = chain, threading.get_ident()


class Session:
    """Use of the machine on a bus, by all devices and threads that share the bus."""

    def __init__(self) -> None:
        # A chain knows its bus, which would keep the session, and so itself, for good.
        self._chain: ReferenceType[Chain] | None = None
        self._turns: list[_Turn] = []

    @property
    def chain(self) -> "Chain | None":
        """The chain that has begun last; earlier ones are stale."""
        return None if self._chain is None else self._chain()

    @chain.setter
    def chain(self, chain: "Chain") -> None:
        self._chain = ref(chain)

    @contextmanager
    def turn(self, chain: "Chain") -> Iterator[None]:
        """Use the machine for a chain; nests in a thread.

        It takes no lock, which an exception in a signal handler could leave locked for good.

        Raises
        ------
        InUseError
            If another chain, or another thread, is using it.
        """
        mine = _Turn(chain)
        try:
            self._turns.append(mine)
            first = self._turns[0]
            if (first.chain, first.thread) != (mine.chain, mine.thread):
                raise InUseError(
                    "another call is using the machine: a layer function cannot run a chain of "
                    "its own, and a thread has to wait for the other; abort() ends what runs"
                )
            yield
        finally:
            if mine in self._turns:
                self._turns.remove(mine)


_SESSIONS: "WeakKeyDictionary[Bus, Session]" = WeakKeyDictionary()


def session_of(bus: Bus) -> Session:
    """Return the session of a bus, the same for every device on it."""
    return _SESSIONS.setdefault(bus, Session())
