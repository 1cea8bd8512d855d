"""Model of the lister of groups: when a row block's groups are listed, or chosen."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from dtqatten.configuration.core import Config

__all__ = ["Choice", "GroupListerModel", "WeighedTile"]


@dataclass(frozen=True)
class Choice:
    """A group that a row block has chosen, the ``last`` one or not."""

    tile: int
    part: int
    last: bool

    @property
    def group(self) -> "Choice":
        """Tile and part, as the gateware groups them."""
        return self


class _OfHead(Protocol):
    @property
    def last(self) -> bool:
        """Whether it is its head's last row block."""

    @property
    def share(self) -> int:
        """Groups that it chooses before values come, in 1/256; 0: none."""

    @property
    def choices(self) -> Sequence[Choice | None]:
        """Of each group that it visits, whether it is chosen."""


Block = TypeVar("Block", bound=_OfHead)


@dataclass(frozen=True, eq=False)
class WeighedTile(Generic[Block]):
    """A tile of a row block's weights.

    Parameters
    ----------
    here, weighed : int
        Cycle from which on it is here, and its levels are.
    tile, keys : int
        Its place among the tiles of its head; its keys.
    share : int
        Of its row block.
    block : Block, optional
        The row block that it completes.
    """

    here: int
    weighed: int
    tile: int
    keys: int
    share: int
    block: Block | None


class GroupListerModel(Generic[Block]):
    """Go through the groups of the tiles that row blocks visit, a group a cycle.

    A tile waits for its head's values, but for one of a row block with a share, whose values come
    later; a row block is complete with the last group of its tiles. Where a head asks for a share
    of them, groups are then chosen: they go by again, while those of the next row block come. Those
    that are chosen before values come wait until they have been told.

    Parameters
    ----------
    config : Config
        With the value array's depth.

    Attributes
    ----------
    tiles : deque of WeighedTile
    heads : deque
        Cycle from which on a head's values are here, its groups, and the share that it asks for.
    """

    # Cycles from a row block's last group to the one in which the choice is known.
    CHOICE = 3

    def __init__(self, config: Config) -> None:
        self.config = config
        self.tiles: deque[WeighedTile[Block]] = deque()
        self.heads: deque[tuple[int, int, int]] = deque()
        self._part = self._count = 0
        # What is to go by next: from when on, and how many groups; what goes by, and those left.
        self._known: tuple[int, int, Block] | None = None
        self._going: Block | None = None
        self._left = 0

    @property
    def choice(self) -> Choice | None:
        """The chosen group that is told."""
        block = self._going
        return block.choices[-self._left] if block is not None and block.share else None

    def clock(self, cycle: int, *, told: bool = True) -> Block | None:
        """Return the row block whose last group is listed, or goes by to be, in ``cycle``.

        Parameters
        ----------
        cycle : int
        told : bool
            What is told is taken.
        """
        listed, goes_by = None, self._going
        if goes_by is not None and (told or self.choice is None):
            self._left -= 1
            if not self._left:
                self._going = None
                listed = None if goes_by.share else goes_by
        if self._known is not None:
            known, count, waits = self._known
            if cycle >= known and self._going is None:
                self._known, self._going, self._left = None, waits, count
        elif (walked := self._walk(cycle, goes_by is not None)) is not None:
            block, share = walked
            if not share:
                listed = block
            else:
                self._known = (cycle + self.CHOICE, self._count, block)
            self._count = 0
        return listed

    def _walk(self, cycle: int, goes_by: bool) -> tuple[Block, int] | None:
        """Return the row block whose last group comes in ``cycle``, and the share that it keeps.

        Parameters
        ----------
        cycle : int
        goes_by : bool
            A group goes by, which those that are listed at once do not overtake.
        """
        if not self.tiles:
            return None
        tile = self.tiles[0]
        share, parts = tile.share, -(-tile.keys // self.config.depth)
        if not share:
            if not self.heads or cycle < self.heads[0][0]:
                return None
            _, groups, share = self.heads[0]
            parts = min(self.config.parts, groups - tile.tile * self.config.parts)
        if cycle < tile.weighed if share else (goes_by or cycle < tile.here):
            return None
        self._part += 1
        self._count += 1
        if self._part < parts:
            return None
        self._part = 0
        self.tiles.popleft()
        block = tile.block
        if block is None:
            return None
        if block.last and not tile.share:
            self.heads.popleft()
        return block, share
