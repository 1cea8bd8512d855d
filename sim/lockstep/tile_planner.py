"""Run the planner of tiles beside its cycle model and compare them on every clock edge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.softmax_beats import HeadFactor, Key, Query
from dtqatten.golden.cycles.tile_planner import TilePlannerModel
from dtqatten.golden.numerics.masks import position_mask
from dtqatten.hw.payloads.arrays import listed_tile_layout
from dtqatten.hw.payloads.softmax import mask_layout, position_layout
from dtqatten.sim.lockstep.streams import StreamLockstep

__all__ = ["PlannedHead", "PlannerLockstep", "random_planned_head"]


@dataclass(frozen=True)
class PlannedHead:
    """Positions of a head's queries and keys, and its mask."""

    queries: list[int]
    keys: list[int]
    causal: bool
    window: int
    progressive: bool = False

    def seen(self, config: Config) -> list[list[int]]:
        """Tiles of keys of which a query sees one, by row block; twice if tried."""
        mask = position_mask(
            self.queries, self.keys, causal=self.causal, window=self.window or None
        )
        return [
            [
                left // config.cols
                for left in range(0, len(self.keys), config.cols)
                if mask[top : top + config.rows, left : left + config.cols].any()
            ]
            for top in range(0, len(self.queries), config.rows)
            for _ in range(1 + self.progressive)
        ]


def random_planned_head(config: Config, rng: np.random.Generator) -> PlannedHead:
    """Return a head of up to ``n_max`` keys, ascending in each of two classes, or in any order."""

    def ids(most: int) -> list[int]:
        n = int(rng.choice([1, most, int(rng.integers(1, most + 1))]))
        drawn = rng.permutation(config.positions)[:n]
        edge = int(rng.integers(0, n + 1))
        classes = [*sorted(drawn[:edge].tolist()), *sorted(drawn[edge:].tolist())]
        return classes if rng.random() < 0.8 else drawn.tolist()

    window = int(rng.choice([0, 1, int(rng.integers(1, config.positions + 1))])) * config.windows
    tried = config.progressive and bool(rng.integers(3))
    most = config.rows if tried else 3 * config.rows + 1
    return PlannedHead(
        ids(min(most, config.positions)), ids(config.n_max), bool(rng.integers(2)), window, tried
    )


class PlannerLockstep(StreamLockstep):
    """Heads streamed through a planner of tiles.

    Parameters
    ----------
    config : Config
    heads : sequence of PlannedHead
    stall, lazy, seed, held
        As of :class:`~dtqatten.sim.lockstep.streams.StreamLockstep`.
    """

    def __init__(self, config: Config, heads: Sequence[PlannedHead], **stalls: Any) -> None:
        beats: dict[str, list] = {
            "heads": [
                HeadFactor(0, 0, head.causal, window=head.window, progressive=head.progressive)
                for head in heads
            ],
            "queries": [
                Query(id, 256, last=at == len(head.queries) - 1)
                for head in heads
                for at, id in enumerate(head.queries)
            ],
            "keys": [
                Key(id, 256, 256, False, at == len(head.keys) - 1)
                for head in heads
                for at, id in enumerate(head.keys)
            ],
        }
        blocks = sum(len(head.seen(config)) for head in heads)
        super().__init__(
            TilePlannerModel(config),
            {
                "heads": mask_layout(config),
                "queries": position_layout(config),
                "keys": position_layout(config),
            },
            {"visits": listed_tile_layout(config)},
            beats,
            {"visits": blocks},
            work=sum(map(len, beats.values())) + 2 * blocks * (config.key_tiles + 2),
            **stalls,
        )
        self.blocks = blocks

    @property
    def done(self) -> bool:
        """Whether all went in and all came out."""
        return super().done and sum(v.last for _, v in self.taken["visits"]) == self.blocks

    @property
    def planned(self) -> list[list[int]]:
        """Tiles that each row block visits, as taken so far."""
        blocks: list[list[int]] = [[]]
        for _, visit in self.taken["visits"]:
            blocks[-1].append(visit.tile)
            if visit.last:
                blocks.append([])
        return blocks[:-1]

    def source_ready(self, offered: Mapping[str, Any]) -> dict[str, bool]:
        """Return whether the model takes what each source offers."""
        model = self.model
        return {
            "heads": model.heads_ready,
            "queries": model.queries_ready,
            "keys": model.keys_ready,
        }

    def step(self, offered: Mapping[str, Any], ready: Mapping[str, bool]) -> None:
        """Pass a clock edge of the model."""
        self.model.clock(offered["heads"], offered["queries"], offered["keys"], ready["visits"])
