"""Run what sums and ranks heads beside its cycle models and compare them on every clock edge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.head_ranking import MagnitudesModel, RankedHeads, RankingOfHeadsModel
from dtqatten.golden.cycles.normalizer import OutputBeat
from dtqatten.golden.numerics.codes import BoolArray, IntArray
from dtqatten.golden.numerics.heads import kept_heads
from dtqatten.golden.numerics.importance import IMPORTANCE_MAX, accumulate
from dtqatten.hw.payloads.heads import head_report_layout, heads_layout, weight_layout
from dtqatten.hw.softmax.normalizer import output_beat_layout
from dtqatten.sim.lockstep.normalizer import sum_rows
from dtqatten.sim.lockstep.streams import StreamLockstep

__all__ = [
    "HeadRankingLockstep",
    "LayerOfHeads",
    "MagnitudesLockstep",
    "OutputHead",
    "beats_of",
    "random_head_layers",
    "random_output_heads",
]


@dataclass(frozen=True, eq=False)
class OutputHead:
    """Outputs ``[queries, channels]`` of a head, and its weight: multiplier and shift."""

    output: IntArray
    weight: tuple[int, int]


def random_output_heads(config: Config, rng: np.random.Generator, count: int) -> list[OutputHead]:
    """Return random outputs, some all at an end of their range, and weights of any size."""
    heads = []
    for number in range(count):
        queries = (1, config.n_max, int(rng.integers(1, config.n_max + 1)))[int(rng.integers(3))]
        output = rng.integers(-(1 << 15), 1 << 15, (queries, config.d_head))
        if number % 3 == 0:
            output[:] = rng.choice([-(1 << 15), (1 << 15) - 1, 0])
        weight = int(rng.integers(1 << 16)), int(rng.integers(41))
        heads.append(OutputHead(output, weight))
    return heads


def beats_of(config: Config, head: OutputHead) -> list[OutputBeat]:
    """Return a head's outputs as the normalizer gives them."""
    lanes, beats = config.output_lanes, []
    for row in sum_rows(config, head.output.astype(np.int64)):
        for at in range(0, row.keys, lanes):
            count = min(lanes, row.keys - at)
            values = np.zeros(lanes, np.int64)
            values[:count] = row.values[at : at + count]
            last = at + count == row.keys
            beats.append(
                OutputBeat(values, count, last, row.last_row, row.last_tile, row.last_block)
            )
    return beats


class MagnitudesLockstep(StreamLockstep):
    """Heads streamed through what adds their magnitudes up.

    Parameters
    ----------
    config : Config
    heads : sequence of OutputHead
    stall, lazy, seed, held
        As of :class:`~dtqatten.sim.lockstep.streams.StreamLockstep`.
    """

    def __init__(self, config: Config, heads: Sequence[OutputHead], **stalls: Any) -> None:
        beats = [beat for head in heads for beat in beats_of(config, head)]
        super().__init__(
            MagnitudesModel(config),
            {"i": output_beat_layout(config), "weights": weight_layout()},
            {"o": output_beat_layout(config), "sums": 32},
            {"i": beats, "weights": [head.weight for head in heads]},
            {"o": len(beats), "sums": len(heads)},
            work=len(beats) + 30 * len(heads),
            **stalls,
        )

    def pack(self, name: str, beat: Any) -> int:
        """Pack a beat of a stream as its payload."""
        if name == "weights":
            beat = {"multiplier": beat[0], "shift": beat[1]}
        return super().pack(name, beat)

    def source_ready(self, offered: Mapping[str, Any]) -> dict[str, bool]:
        """Return whether the model takes what each source offers."""
        ready = self.ready["o"]
        passes = self.model.o is not None and ready
        return {"i": passes, "weights": self.model.weights_ready(ready)}

    def step(self, offered: Mapping[str, Any], ready: Mapping[str, bool]) -> None:
        """Pass a clock edge of the model."""
        self.model.clock(offered["weights"], ready["o"], ready["sums"])

    def _draw(self) -> None:
        self.model.offer(self.offered["i"], self.offered["weights"])
        super()._draw()


@dataclass(frozen=True, eq=False)
class LayerOfHeads:
    """A layer, and what each head that it computes adds."""

    command: RankedHeads
    sums: list[int]


def random_head_layers(config: Config, rng: np.random.Generator, count: int) -> list[LayerOfHeads]:
    """Return layers that are chained or begin afresh; heads tie, and sums saturate, in some."""
    layers: list[LayerOfHeads] = []
    alive: BoolArray = np.zeros(0, bool)
    total: IntArray = np.zeros(0, np.int64)
    for _ in range(count):
        chained = bool(layers) and layers[-1].command.keep > 0 and rng.random() < 0.7
        if not chained:
            n = (1, config.heads, int(rng.integers(1, config.heads + 1)))[int(rng.integers(3))]
            alive, total = np.ones(n, bool), np.zeros(n, np.int64)
        n, left = len(alive), int(alive.sum())
        top = int(rng.choice([1, 3, 1000, IMPORTANCE_MAX]))
        added = rng.integers(0, top + 1, n) * alive
        keep = int(rng.choice([0, 1, left, int(rng.integers(1, left + 1))], p=[0.1, 0.2, 0.3, 0.4]))
        command = RankedHeads(n, keep, chained, bool(rng.random() < 0.6))
        layers.append(LayerOfHeads(command, added[alive].tolist()))
        total = accumulate(added, total, saturate=True)
        alive = kept_heads(total, alive, keep)
    return layers


class HeadRankingLockstep(StreamLockstep):
    """Sums of heads streamed through what ranks them.

    Parameters
    ----------
    config : Config
    layers : sequence of LayerOfHeads
    stall, lazy, seed, held
        As of :class:`~dtqatten.sim.lockstep.streams.StreamLockstep`.
    """

    def __init__(self, config: Config, layers: Sequence[LayerOfHeads], **stalls: Any) -> None:
        commands = [layer.command for layer in layers]
        reported = sum(each.heads for each in commands if each.report)
        super().__init__(
            RankingOfHeadsModel(config),
            {"layer": heads_layout(config), "sums": 32},
            {"report": head_report_layout()},
            {"layer": commands, "sums": [x for layer in layers for x in layer.sums]},
            {"report": reported},
            work=sum(each.heads * (each.heads + 8) for each in commands),
            **stalls,
        )

    @property
    def done(self) -> bool:
        """Whether all layers are ranked."""
        return super().done and self.model.idle

    def source_ready(self, offered: Mapping[str, Any]) -> dict[str, bool]:
        """Return whether the model takes what each source offers."""
        return {"layer": self.model.idle, "sums": self.model.sums_ready}

    def expected(self) -> dict[str, int]:
        """Return the values of the output ports in this cycle; heads while all are ranked."""
        shown = super().expected() | {"idle": int(self.model.idle)}
        if self.model.idle:
            shown["kept"] = sum(1 << i for i in np.flatnonzero(self.model.kept).tolist())
        return shown

    def step(self, offered: Mapping[str, Any], ready: Mapping[str, bool]) -> None:
        """Pass a clock edge of the model."""
        self.model.clock(offered["layer"], offered["sums"], ready["report"])
