"""Cycle model of the value array: weighted sums, every accumulator and handshake, every cycle."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.grid import GridModel
from dtqatten.golden.cycles.group_lister import Choice, GroupListerModel, WeighedTile
from dtqatten.golden.cycles.rings import Fork
from dtqatten.golden.cycles.score_buffer import ScoreBuffer
from dtqatten.golden.cycles.tiles import Beat, Row, Step, padded
from dtqatten.golden.cycles.value_loads import Head, HeadLoader, multiplied_groups
from dtqatten.golden.cycles.value_steps import grouped, value_order, value_steps
from dtqatten.golden.numerics.weights import WeightCode

__all__ = ["ValueArrayModel"]


@dataclass(frozen=True, eq=False)
class _Block:
    """Weights ``[rows, keys]`` of a row block, and by how much their products are shifted up.

    ``last``: it is the head's last; ``narrow``: all have their highest plane only; ``tiles``: those
    that it visits, where tiles are skipped; ``share``: groups that it chooses before values come;
    ``choices``: of each group, whether it does.
    """

    codes: NDArray[np.int64]
    ups: NDArray[np.int64]
    last: bool
    narrow: bool
    tiles: tuple[int, ...]
    share: int
    choices: tuple[Choice | None, ...] = ()

    @property
    def weights(self) -> NDArray[np.int64]:
        """Weights as they count."""
        return self.codes << self.ups


class _BlockLoader:
    """Collect weight rows into row blocks."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.used = 0
        self.freed: deque[int] = deque()
        self._rows: list[Row] = []

    def clock(self, cycle: int, row: Row | None) -> _Block | None:
        while self.freed and self.freed[0] == cycle + 1:
            self.freed.popleft()
            self.used -= 1
        if row is None:
            return None
        self._rows.append(row)
        if not (row.last_row and row.last_tile):
            return None
        count = next(i for i, r in enumerate(self._rows) if r.last_row) + 1
        tiles = [self._rows[i : i + count] for i in range(0, len(self._rows), count)]
        codes = np.concatenate([[r.values[: r.keys] for r in tile] for tile in tiles], axis=1)
        fraction = WeightCode.of(self.config).fraction
        ups = [[[fraction - r.exponent] * r.keys for r in tile] for tile in tiles]
        self._rows = []
        self.used += 1
        narrow = all(r.narrow for r in tiles[0])
        places = tuple(tile[0].tile for tile in tiles)
        block = _Block(
            codes, np.concatenate(ups, axis=1), row.last_block, narrow, places, row.share
        )
        if not row.share:
            return block
        groups = [
            (tile[0].tile, part)
            for tile in tiles
            for part in range(-(-tile[0].keys // self.config.depth))
        ]
        kept = multiplied_groups(self.config, block.weights, row.share)
        choices = tuple(
            Choice(*group, number == kept[-1]) if number in kept else None
            for number, group in enumerate(groups)
        )
        return replace(block, choices=choices)


class ValueArrayModel:
    """Predict :class:`dtqatten.hw.arrays.value_array.ValueArray`, observed, on every clock edge.

    Parameters
    ----------
    config : Config
    observed : bool
        Follow the accumulators.

    Attributes
    ----------
    cycle : int
        Cycles since reset.
    """

    # Cycles from a row block's or a head's last beat to the first in which a tile may start.
    BLOCK_DESCRIBED, HEAD_DESCRIBED = 4, 7
    # Where tiles are skipped: cycles from a tile's last weights, or a head's last value beat, to
    # the first group being listed; from a row block's last group to its description, a cycle more
    # where groups are chosen.
    TILE_HERE, HEAD_HERE, LISTED = 1, 2, 2
    # Where groups are chosen: cycles from a tile's last weights to their levels, beside a level of
    # the tree of adders each.
    LEVELS = 2

    def __init__(self, config: Config, *, observed: bool = True) -> None:
        self.config, self.observed = (config := config.of_values), observed
        self.cycle = 0
        self._grid, self._buffer = GridModel(config, observed=observed), ScoreBuffer(config)
        self._block_loader, self._head_loader = _BlockLoader(config), HeadLoader(config)
        self._blocks: deque[_Block] = deque()
        self._heads: deque[Head] = deque()
        # What is loaded, by the cycle from which on the sequencer knows it.
        self._loaded_blocks: deque[tuple[int, _Block]] = deque()
        self._loaded_heads: deque[tuple[int, Head]] = deque()
        self._lister: GroupListerModel[_Block] = GroupListerModel(config)
        # Row blocks that have chosen, or will, whose values are not here; who is told what.
        self._waiting: deque[_Block] = deque()
        self._fork = Fork(2)
        lanes = min(config.depth, config.cols)
        self._listed = self.LISTED + config.local_values
        self._levels = self.LEVELS + (lanes - 1).bit_length() if config.local_values else 0
        self._pass = 0
        self._tile: Iterator[Step] = iter(())
        self._steps_left = 0
        self._earliest_end = 0

    @property
    def weights_ready(self) -> bool:
        """Whether a weight row is taken."""
        return self._block_loader.used < self.config.weight_banks

    def values_ready(self, beat: Beat | None) -> bool:
        """Whether the value beat that is offered is taken."""
        return self._head_loader.ready(beat)

    @property
    def choices(self) -> Choice | None:
        """The chosen group on offer."""
        return self._fork.offers(self._lister.choice)[1]

    @property
    def stepping(self) -> bool:
        """Whether a step is issued in this cycle."""
        return self._grid.stepping

    @property
    def sums(self) -> Row | None:
        """The row on offer."""
        return self._buffer.offered

    @property
    def acc(self) -> NDArray[np.int64]:
        """Accumulators, ``[rows, cols]``."""
        return self._grid.acc

    def _start_tile(self) -> None:
        if not self._blocks or not self._heads or self._buffer.room < self.config.rows:
            return
        block, head = self._blocks[0], self._heads[0]
        groups = self._multiplied(block, head)
        places = self._places(block, head, groups)
        wide = head.wide[places]
        order = value_order(self.config, wide, follows=head.follows, narrow=block.narrow)
        if self.cycle + len(order) <= self._earliest_end:
            return
        self._buffer.room -= len(block.codes)
        self._earliest_end = self.cycle + len(order) - 1 + self.config.drain_interval
        self._steps_left = len(order)
        if self.observed:
            self._tile = value_steps(
                self.config,
                grouped(self.config, padded(block.codes.T, self.config.rows))[groups],
                padded(self._channels(head, places), self.config.cols),
                wide,
                follows=head.follows,
                narrow=block.narrow,
                # A group is of one tile.
                ups=grouped(self.config, padded(block.ups.T, self.config.rows))[groups, 0],
            )

    def _multiplied(self, block: _Block, head: Head) -> NDArray[np.int64]:
        """Return which of the groups that a row block visits it multiplies."""
        if block.share:
            return np.array([number for number, kept in enumerate(block.choices) if kept])
        return multiplied_groups(self.config, block.weights, head.share)

    def _places(self, block: _Block, head: Head, groups: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return where these groups are among those of the head that came."""
        total, parts = len(head.wide), self.config.parts
        if block.share:
            return np.arange(total)
        if not self.config.skip_tiles:
            return groups
        spans = [np.arange(t * parts, min(total, (t + 1) * parts)) for t in block.tiles]
        return np.concatenate(spans)[groups]

    def _channels(self, head: Head, places: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the values of groups that a pass multiplies, ``[g, depth, channels]``."""
        at = self._pass * self.config.cols
        return head.values[places, :, at : at + self.config.cols]

    def _end_tile(self) -> None:
        config, shown = self.config, self.cycle + 1
        block, head = self._blocks[0], self._heads[0]
        last_block = block.last
        at = self._pass * config.cols
        groups = self._multiplied(block, head)
        weights = grouped(config, block.weights.T)[groups]
        values = self._channels(head, self._places(block, head, groups))
        sums = np.einsum("gdr,gdc->rc", weights, values)
        channels = sums.shape[1]
        sums = padded(sums, config.cols)
        last_pass = at + config.cols >= config.d_head
        self._buffer.drain(
            shown,
            (
                Row(
                    row,
                    channels,
                    r == len(sums) - 1,
                    last_pass,
                    last_block,
                )
                for r, row in enumerate(sums)
            ),
        )
        self._pass = 0 if last_pass else self._pass + 1
        if last_pass:
            self._blocks.popleft()
            self._block_loader.freed.append(shown + config.rows + 2)
            if last_block:
                self._heads.popleft()
                self._head_loader.freed.append(shown + config.hops + 2)

    def clock(
        self,
        weights: Row | None,
        values: Beat | None,
        sums_ready: bool,
        choices_ready: bool = False,
    ) -> None:
        """Pass a clock edge; a row or beat offered is taken if the stream is ready."""
        while self._loaded_blocks and self._loaded_blocks[0][0] <= self.cycle:
            self._blocks.append(self._loaded_blocks.popleft()[1])
        while self._loaded_heads and self._loaded_heads[0][0] <= self.cycle:
            self._heads.append(self._loaded_heads.popleft()[1])
        if not self._steps_left:
            self._start_tile()
        step = None
        if self._steps_left:
            step = next(self._tile) if self.observed else self._grid.unobserved
            self._steps_left -= 1
            if not self._steps_left:
                self._end_tile()
        self._grid.clock(step)
        self._buffer.clock(self.cycle, sums_ready)
        took, takes = self.weights_ready, [self._head_loader.choices_ready, choices_ready]
        block = self._block_loader.clock(self.cycle, weights if took else None)
        head = self._head_loader.clock(self.cycle, values if self.values_ready(values) else None)
        if self.config.skip_tiles:
            self._list(weights if took else None, block, head, self._tell(takes))
        else:
            if block is not None:
                self._loaded_blocks.append((self.cycle + self.BLOCK_DESCRIBED, block))
            if head is not None:
                self._loaded_heads.append((self.cycle + self.HEAD_DESCRIBED, head))
        self.cycle += 1

    def _tell(self, takes: list[bool]) -> bool:
        """Tell what loads values, and the port, of a chosen group; return whether both know it."""
        choice = self._lister.choice
        told = self._fork.ready(takes)
        if choice is not None and self._fork.offers(choice)[0] and takes[0]:
            self._head_loader.choose(choice)
        self._fork.clock(choice, takes)
        return told

    def _list(self, row: Row | None, block: _Block | None, head: Head | None, told: bool) -> None:
        """Let a row block wait until the groups that it visits are listed.

        Parameters
        ----------
        row : Row, optional
            Row of weights that is taken.
        block : _Block, optional
            Row block that it completes.
        head : Head, optional
            Head of values that is complete.
        told : bool
            A chosen group is told.
        """
        listed = self._lister.clock(self.cycle, told=told)
        if listed is not None:
            at = self.cycle + self._listed + self.BLOCK_DESCRIBED
            self._loaded_blocks.append((at, listed))
        if row is not None and row.last_row:
            here = self.cycle + self.TILE_HERE
            tile = (row.tile, row.keys, row.share)
            self._lister.tiles.append(WeighedTile(here, here + self._levels, *tile, block))
        if block is not None and block.share:
            self._waiting.append(block)
        if head is not None:
            self._heads.append(head)
            if head.chosen:
                # A group is listed in the cycle after its last beat.
                at = self.cycle + 1 + self.LISTED + self.BLOCK_DESCRIBED
                self._loaded_blocks.append((at, self._waiting.popleft()))
            else:
                here = self.cycle + self.HEAD_HERE
                self._lister.heads.append((here, len(head.wide), head.share))
