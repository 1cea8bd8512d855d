"""Heads of values as they come, of all groups or of those that a row block has chosen."""

from collections import deque
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import BANKS, Config
from dtqatten.golden.cycles.group_lister import Choice
from dtqatten.golden.cycles.tiles import Beat
from dtqatten.golden.cycles.value_steps import grouped
from dtqatten.golden.numerics.local_values import chosen_groups

__all__ = ["Head", "HeadLoader", "group_size", "multiplied_groups"]


class Head(NamedTuple):
    """Values ``[groups, depth, channels]``, groups with one at 8 bit, and what its last beat says.

    ``chosen``: groups are those that its row block has chosen.
    """

    values: NDArray[np.int64]
    wide: NDArray[np.bool_]
    follows: bool
    share: int
    chosen: bool


def group_size(config: Config, part: int) -> int:
    """Tokens of a group of a full tile: fewer in its last ``part``."""
    return min(config.depth, config.cols - part * config.depth)


def multiplied_groups(config: Config, weights: NDArray[np.int64], share: int) -> NDArray[np.int64]:
    """Return which of the groups that a row block visits it multiplies; all if ``share`` is 0.

    Parameters
    ----------
    config : Config
        With the value array's depth.
    weights : array of int, [rows, keys]
    share : int
        In 1/256.
    """
    each = grouped(config, weights.T).sum((1, 2))
    if not share:
        return np.arange(len(each))
    kept = np.flatnonzero(chosen_groups(each, share))
    # One at least, as the row block has results.
    return kept if len(kept) else np.arange(1)


class HeadLoader:
    """Collect value beats into heads.

    Parameters
    ----------
    config : Config
        With the value array's depth.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.used = 0
        self.freed: deque[int] = deque()
        self._beats: list[Beat] = []
        # Chosen groups that are to come; whether the first one's token has a low plane to come, its
        # tokens so far, and those of the head's groups before it.
        self._choices: deque[Choice] = deque()
        self._low, self._tokens = False, 0
        self._sizes: list[int] = []

    def ready(self, beat: Beat | None) -> bool:
        """Whether a beat is taken: there is a bank, and one of a chosen head knows its group."""
        known = bool(self._choices) or beat is None or not beat.chosen
        return self.used < BANKS and known

    @property
    def choices_ready(self) -> bool:
        """Whether a chosen group is taken."""
        return len(self._choices) < self.config.key_tiles * self.config.parts

    def choose(self, choice: Choice) -> None:
        """Take a chosen group."""
        self._choices.append(choice)

    def clock(self, cycle: int, beat: Beat | None) -> Head | None:
        """Pass a clock edge; return the head that ``beat`` completes."""
        while self.freed and self.freed[0] == cycle + 1:
            self.freed.popleft()
            self.used -= 1
        if beat is None:
            return None
        self._beats.append(beat)
        per_plane = self.config.d_head // self.config.value_nibbles
        if beat.chosen:
            self._count(beat, per_plane)
        if not beat.last or len(self._beats) % per_plane:
            return None
        planes = iter(
            np.concatenate([b.nibbles for b in self._beats[i : i + per_plane]]).astype(np.int64)
            for i in range(0, len(self._beats), per_plane)
        )
        flags = iter([b.wide for b in self._beats[::per_plane]])
        tokens, wide = [], []
        for high in planes:
            wide.append(next(flags))
            if wide[-1]:
                next(flags)
            tokens.append(16 * high + (next(planes) if wide[-1] else 0))
        self._beats = []
        self.used += 1
        sizes, self._sizes = self._sizes, []
        values, wides = (self._grouped(np.array(each), sizes) for each in (tokens, wide))
        some = np.asarray(wides.any(-1), bool)
        return Head(values, some, beat.follows, beat.share, beat.chosen)

    def _count(self, beat: Beat, per_plane: int) -> None:
        """Count the tokens of chosen groups: the next one's come when one is complete."""
        if len(self._beats) % per_plane:
            return
        self._low = beat.wide and not self._low
        if self._low:
            return
        self._tokens += 1
        full = self._tokens == group_size(self.config, self._choices[0].part)
        if full or beat.last:
            self._sizes.append(self._tokens)
            self._tokens = 0
            self._choices.popleft()

    def _grouped(self, tokens: NDArray, sizes: list[int]) -> NDArray:
        """Cut ``[n, ...]`` into groups: of the sizes that chosen ones have, or of all tiles."""
        if not sizes:
            return grouped(self.config, tokens)
        places = np.cumsum([0, *sizes])
        made = np.zeros((len(sizes), self.config.depth, *tokens.shape[1:]), tokens.dtype)
        for number, size in enumerate(sizes):
            made[number, :size] = tokens[places[number] : places[number + 1]]
        return made
