"""Model of the lister of groups: when a row block's groups are listed."""

from collections import deque
from typing import Generic, Protocol, TypeVar

from dtqatten.configuration.core import Config

__all__ = ["GroupListerModel"]


class _OfHead(Protocol):
    @property
    def last(self) -> bool:
        """Whether it is its head's last row block."""


Block = TypeVar("Block", bound=_OfHead)


class GroupListerModel(Generic[Block]):
    """Go through the groups of the tiles that row blocks visit, a group a cycle.

    A tile waits for its head's values; a row block is complete with the last group of its tiles.
    Where a head asks for a share of them, groups are then chosen: they go by again, while those of
    the next row block come.

    Parameters
    ----------
    config : Config
        With the value array's depth.

    Attributes
    ----------
    tiles : deque
        Cycle from which on a tile is here, and its levels are; the tile, and the row block that it
        completes, if any.
    heads : deque
        Cycle from which on a head's values are here, its groups, and the share that it asks for.
    """

    # Cycles from a row block's last group to the one in which the choice is known.
    CHOICE = 3

    def __init__(self, config: Config) -> None:
        self.config = config
        self.tiles: deque[tuple[int, int, int, Block | None]] = deque()
        self.heads: deque[tuple[int, int, int]] = deque()
        self._part = self._count = 0
        # First cycle in which a group comes; last one in which groups go by; row blocks by it.
        self._comes = self._went = 0
        self._going: deque[tuple[int, Block]] = deque()

    def clock(self, cycle: int) -> Block | None:
        """Return the row block whose last group is listed, or goes by, in ``cycle``."""
        share = self.heads[0][2] if self.heads else 0
        block = self._walk(cycle)
        if not share:
            self._count = 0
            if block is not None:
                return block
        elif block is not None:
            known = max(cycle + self.CHOICE, self._went)
            self._comes, self._went = known + 1, known + self._count
            self._going.append((self._went, block))
            self._count = 0
        if self._going and self._going[0][0] == cycle:
            return self._going.popleft()[1]
        return None

    def _walk(self, cycle: int) -> Block | None:
        """Return the row block whose last group comes in ``cycle``."""
        if not self.tiles or not self.heads or cycle < self._comes:
            return None
        (here, levels, tile, block), (loaded, groups, share) = self.tiles[0], self.heads[0]
        # What is listed at once does not overtake what goes by.
        if cycle < max(loaded, levels if share else max(here, self._went + 1)):
            return None
        self._part += 1
        self._count += 1
        if self._part < min(self.config.parts, groups - tile * self.config.parts):
            return None
        self._part = 0
        self.tiles.popleft()
        if block is not None and block.last:
            self.heads.popleft()
        return block
