"""Where beats wait: stores of tokens, rings whose room is reserved early, places in a stream."""

from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

__all__ = ["BiasBanks", "Buffered", "Fifo", "Fork", "Ring", "TokenStore"]

Beat = TypeVar("Beat")


class TokenStore:
    """Ring of words that tokens fill; only counts have timing.

    Parameters
    ----------
    lanes : int
        Tokens of a word.
    size : int
        Words held.

    Attributes
    ----------
    held : int
        Complete words.
    words : deque of list
        They.
    """

    def __init__(self, lanes: int, size: int) -> None:
        self.lanes, self.size = lanes, size
        self.held = 0
        self.words: deque[list] = deque()
        self._word: list = []
        # Words of each complete sequence.
        self._lengths: deque[int] = deque()
        self._length = 0

    @property
    def ready(self) -> bool:
        """Whether a token is taken."""
        return self.held < self.size

    def take(self, token: object, *, last: bool) -> None:
        """Take a token, the last of its word and sequence if ``last``."""
        self._word.append(token)
        if last or len(self._word) == self.lanes:
            self.words.append(self._word)
            self._word = []
            self.held += 1
            self._length += 1
        if last:
            self._lengths.append(self._length)
            self._length = 0

    @property
    def complete(self) -> bool:
        """Whether a sequence is."""
        return bool(self._lengths)

    def free(self, words: int) -> None:
        """Forget the oldest words."""
        self.held -= words
        for _ in range(words):
            self.words.popleft()

    def free_sequence(self) -> None:
        """Forget the oldest sequence."""
        self.free(self._lengths.popleft())


class BiasBanks:
    """Biases of two heads: one comes while the other is read.

    Attributes
    ----------
    heads : deque of list
        Complete ones, a list of biases for each query head.
    """

    def __init__(self) -> None:
        self.heads: deque[list[list[int]]] = deque()
        self._coming: list[list[int]] = [[]]
        self._held = 0

    @property
    def ready(self) -> bool:
        """Whether a bias is taken."""
        return self._held < 2

    def take(self, bias: int, *, last: bool, head: bool) -> None:
        """Take a bias, the last one of its query head, and of its head."""
        self._coming[-1].append(bias)
        if last:
            self._coming.append([])
        if last and head:
            self.heads.append(self._coming[:-1])
            self._coming = [[]]
            self._held += 1

    def free(self) -> None:
        """Give room for another head."""
        self._held -= 1


class Buffered(Generic[Beat]):
    """Two places in a stream: what is offered, and what waits behind it."""

    def __init__(self) -> None:
        self.offered: Beat | None = None
        self._aside: Beat | None = None

    @property
    def ready(self) -> bool:
        """Whether a beat is taken."""
        return self._aside is None

    def clock(self, beat: Beat | None, *, taken: bool) -> None:
        """Pass a clock edge; ``beat`` counts only if ready."""
        waits = self._aside or beat
        if self.offered is None or taken:
            self.offered, self._aside = waits, None
        else:
            self._aside = waits


class Fork:
    """One stream to several consumers, each of which takes every beat once."""

    def __init__(self, sinks: int) -> None:
        self._done = [False] * sinks

    def offers(self, beat: Beat | None) -> list[Beat | None]:
        """What each sink is offered."""
        return [None if done else beat for done in self._done]

    def ready(self, takes: Sequence[bool]) -> bool:
        """Whether a beat is taken, by sinks that do or do not take theirs."""
        return all(done or take for done, take in zip(self._done, takes, strict=True))

    def clock(self, beat: object | None, takes: Sequence[bool]) -> None:
        """Pass a clock edge."""
        waits = beat is not None and not self.ready(takes)
        self._done = [
            waits and (done or take) for done, take in zip(self._done, takes, strict=True)
        ]


class Ring:
    """Room that rows reserve early; if ``late`` for a row more, free again a cycle later."""

    def __init__(self, depth: int, *, late: bool = False) -> None:
        self.room = depth + late
        self._freed = deque([False] * late)

    def count(self, *, read: bool) -> None:
        """Pass a clock edge, at which a row may be read."""
        self._freed.append(read)
        self.room += self._freed.popleft()


class Fifo(Ring, Generic[Beat]):
    """Output stream whose room is reserved early; a row of ``t`` is offered from ``t + 2`` on."""

    def __init__(self, depth: int, *, late: bool = False) -> None:
        super().__init__(depth, late=late)
        self.offered: Beat | None = None
        self._rows: deque[Beat] = deque()

    def clock(self, ready: bool) -> None:
        """Pass a clock edge."""
        freed = False
        if self.offered is None or ready:
            self.offered = self._rows.popleft() if self._rows else None
            freed = self.offered is not None
        self.count(read=freed)

    def write(self, row: Beat) -> None:
        """Take a row whose room has been reserved."""
        self._rows.append(row)
