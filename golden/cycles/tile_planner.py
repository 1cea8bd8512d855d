"""Cycle model of the planner of tiles: every handshake and payload, every cycle."""

from dataclasses import dataclass

from dtqatten.configuration.core import BANKS, Config
from dtqatten.golden.cycles.rings import Buffered
from dtqatten.golden.cycles.softmax_beats import HeadFactor, Key, Query
from dtqatten.golden.cycles.tiles import Visit
from dtqatten.golden.numerics.masks import position_mask

__all__ = ["TilePlannerModel"]


@dataclass(frozen=True)
class _Span:
    """Positions of a row block's queries or a tile's keys; ``last`` of their head."""

    ids: tuple[int, ...]
    last: bool


class TilePlannerModel:
    """Predict :class:`dtqatten.hw.arrays.tile_planner.TilePlanner` on every clock edge.

    Between two calls of :meth:`clock` the attributes hold what the ports show in that cycle.

    Parameters
    ----------
    config : Config

    Attributes
    ----------
    cycle : int
        Cycles since reset.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.cycle = 0
        self._ids: list[int] = []
        self._blocks: Buffered[_Span] = Buffered()
        # Tiles of the heads that are complete, and of the one that comes.
        self._heads: list[list[_Span]] = []
        self._tiles: list[_Span] = []
        self._keys: list[int] = []
        # The row block being planned: its mask and the next of its head's tiles to look at.
        self._mask: HeadFactor | None = None
        self._next: int | None = None
        self._again = False
        # The tile looked at: row block, mask, tile and its place.
        self._looked: tuple[_Span, HeadFactor, _Span, int] | None = None
        self._found = False
        self._kept: Visit | None = None
        self._visits: Buffered[Visit] = Buffered()

    @property
    def visits(self) -> Visit | None:
        """The visit on offer."""
        return self._visits.offered

    @property
    def queries_ready(self) -> bool:
        """Whether a query is taken."""
        return self._blocks.ready

    @property
    def keys_ready(self) -> bool:
        """Whether a key is taken."""
        return len(self._heads) < BANKS

    @property
    def heads_ready(self) -> bool:
        """Whether a head is taken: its last row block has been gone through."""
        block = self._blocks.offered
        return self._moves and self._ends and not self._trial and block is not None and block.last

    @property
    def _trial(self) -> bool:
        """Whether the row block is planned once more."""
        return self._mask is not None and self._mask.progressive and not self._again

    @property
    def _ends(self) -> bool:
        return self._next is not None and self._heads[0][self._next].last

    @property
    def _visited(self) -> bool:
        """Whether the tile looked at is visited."""
        if self._looked is None:
            return False
        block, mask, tile, _ = self._looked
        before = position_mask([max(block.ids)], [min(tile.ids)], causal=mask.causal)
        after = position_mask(
            [min(block.ids)], [max(tile.ids)], causal=False, window=mask.window or None
        )
        return bool(before & after) or (tile.last and (block.last or not self._found))

    @property
    def _gives(self) -> bool:
        return self._kept is not None and (self._visited or self._kept.last)

    @property
    def _moves(self) -> bool:
        return not self._gives or self._visits.ready

    def clock(
        self,
        heads: HeadFactor | None,
        queries: Query | None,
        keys: Key | None,
        visits_ready: bool,
    ) -> None:
        """Pass a clock edge.

        Parameters
        ----------
        heads, queries, keys
            What is valid at the inputs; taken if ready.
        visits_ready : bool
            The consumer takes a visit.
        """
        moves, gives, ends, head_ends = self._moves, self._gives, self._ends, self.heads_ready
        trial = self._trial
        query = queries if self.queries_ready else None
        key = keys if self.keys_ready else None
        block = self._blocks.offered
        given = self._kept if gives else None
        if moves:
            self._look(heads, ends)
        self._visits.clock(given if self._visits.ready else None, taken=visits_ready)
        self._take_query(query, taken=moves and ends and not trial)
        if moves and ends:
            self._again = trial
        if head_ends:
            self._heads.pop(0)
        if key is not None:
            self._take_key(key)
        assert block is not None or not ends
        self.cycle += 1

    def _look(self, heads: HeadFactor | None, ends: bool) -> None:
        """Go on to the next tile, of this row block or of the next one."""
        if self._visited:
            assert self._looked is not None
            self._kept = Visit(self._looked[3], self._looked[2].last)
        elif self._gives:
            self._kept = None
        elif self._looked is not None and self._looked[2].last:
            assert self._kept is not None
            self._kept = Visit(self._kept.tile, True)
        closed = self._looked is not None and self._looked[2].last
        self._found = not closed and (self._found or self._visited)
        block = self._blocks.offered
        if self._next is None:
            self._looked = None
            if block is not None and heads is not None and self._heads:
                self._next, self._mask = 0, heads
            return
        assert block is not None
        assert self._mask is not None
        self._looked = (block, self._mask, self._heads[0][self._next], self._next)
        self._next = None if ends else self._next + 1

    def _take_query(self, query: Query | None, *, taken: bool) -> None:
        complete = None
        if query is not None:
            self._ids.append(query.id)
            if query.last or len(self._ids) == self.config.rows:
                complete, self._ids = _Span(tuple(self._ids), bool(query.last)), []
        self._blocks.clock(complete, taken=taken)

    def _take_key(self, key: Key) -> None:
        self._keys.append(key.id)
        if not key.last and len(self._keys) < self.config.cols:
            return
        self._tiles.append(_Span(tuple(self._keys), key.last))
        self._keys = []
        if key.last:
            self._heads.append(self._tiles)
            self._tiles = []
