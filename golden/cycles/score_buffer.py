"""Cycle model of the buffer at an array's lower edge."""

from collections import deque
from collections.abc import Iterable

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.tiles import Row

__all__ = ["ScoreBuffer"]


class ScoreBuffer:
    """The score buffer: rows on their way out, and the room that they take.

    Attributes
    ----------
    room : int
        Rows that a tile may still reserve.
    """

    # Cycles from a tile's last step to its row being readable, less those of words, products, row
    # and hops.
    BUFFERED = 5
    #: Rows that have been read and not been taken, at most.
    READ = 2

    def __init__(self, config: Config) -> None:
        self.config = config
        self.room = config.score_rows
        self._read: deque[Row] = deque()
        self._waiting: deque[tuple[int, Row]] = deque()
        # Rows read whose room is not free yet, by cycle.
        self._freed = deque([False] * config.timing.word_stages)

    @property
    def offered(self) -> Row | None:
        """The row on offer."""
        return self._read[0] if self._read else None

    def drain(self, cycle: int, rows: Iterable[Row]) -> None:
        """Take a tile's rows, whose last step is shown in ``cycle``."""
        readable = cycle + self.BUFFERED + self.config.grid_stages + self.config.hops
        for r, row in enumerate(rows):
            self._waiting.append((readable + r, row))

    def clock(self, cycle: int, ready: bool) -> None:
        """Pass the clock edge that ends ``cycle``."""
        read = len(self._read) < self.READ and bool(self._waiting) and self._waiting[0][0] <= cycle
        if self._read and ready:
            self._read.popleft()
        if read:
            self._read.append(self._waiting.popleft()[1])
        self._freed.append(read)
        self.room += self._freed.popleft()
