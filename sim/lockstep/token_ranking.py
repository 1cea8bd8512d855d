"""Run module B beside its cycle model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.score_accumulator import ImportanceBeat
from dtqatten.golden.cycles.tile_rows import tile_rows
from dtqatten.golden.cycles.token_ranking import Held, LayerCommand, TokenRankingModel
from dtqatten.golden.cycles.topk import IdBeat
from dtqatten.hw.payloads.ranking import beat_layout, held_layout, layer_layout, topk_config
from dtqatten.hw.payloads.softmax import probability_row_layout
from dtqatten.hw.payloads.topk import ids_layout
from dtqatten.sim.engines.ports import padded
from dtqatten.sim.lockstep.streams import StreamLockstep
from dtqatten.sim.lockstep.topk import shown_ids

__all__ = [
    "RankedLayer",
    "RankingLockstep",
    "flat_ids",
    "random_layers",
    "shown_importance",
]


@dataclass(frozen=True, eq=False)
class RankedLayer:
    """Probabilities ``[heads, n_q, n_k]``, which keys are seen ``[n_q, n_k]``, and the command.

    ``held``: what each key has from before, of layers that have that.
    """

    probabilities: NDArray[np.int64]
    seen: NDArray[np.bool_]
    command: LayerCommand
    held: Sequence[Held] = ()


def shown_importance(beat: ImportanceBeat, lanes: int) -> dict[str, Any]:
    """Fields of a beat of importances as the gateware names them; lanes past them are zero."""
    return {**vars(beat), "scores": padded(beat.values, lanes)}


def flat_ids(beats: Sequence[IdBeat]) -> list[list[tuple[int, bool]]]:
    """Ids of each run, and whether they are 8-bit."""
    runs: list[list[tuple[int, bool]]] = [[]]
    for beat in beats:
        runs[-1] += [(i, beat.wide) for i in beat.ids]
        if beat.last:
            runs.append([])
    return runs[:-1]


def random_layers(config: Config, rng: np.random.Generator, count: int) -> list[RankedLayer]:
    """Return layers of every size; a cumulative one, if not fresh, has the keys last chosen."""
    layers: list[RankedLayer] = []
    chosen = 0
    for _ in range(count):
        cumulative = config.cumulative and bool(rng.random() < 0.7)
        fresh = not chosen or bool(rng.random() < 0.3)
        n_k = chosen if cumulative and not fresh else int(rng.integers(1, config.n_max + 1))
        heads, n_q = (int(n) for n in rng.integers(1, (config.heads + 1, config.n_max + 1)))
        probabilities = rng.integers(0, int(rng.choice([1, 300, 65536])), (heads, n_q, n_k))
        if rng.random() < 0.2:
            probabilities[:] = 65535
        k0 = int(rng.integers(1, n_k + 1))
        command = LayerCommand(
            heads,
            k0,
            int(rng.integers(0, k0 + 1)),
            report=bool(rng.integers(2)),
            cumulative=cumulative,
            fresh=cumulative and fresh,
            count=config.count_normalize and bool(rng.integers(2)),
            held=config.held_importance and bool(rng.random() < 0.7),
        )
        held = []
        if command.held:
            # Protected keys exceed what is kept, too; sums that saturate tie.
            most, share = int(rng.choice([1, 1 << 20, 1 << 32])), float(rng.choice([0, 0.3, 1]))
            amounts = rng.integers(0, most, n_k).tolist()
            held = [Held(amount, bool(rng.random() < share)) for amount in amounts]
        chosen = k0 if cumulative else 0
        layers.append(RankedLayer(probabilities, rng.random((n_q, n_k)) < 0.6, command, held))
    return layers


class RankingLockstep(StreamLockstep):
    """Layers streamed through module B.

    Parameters
    ----------
    config : Config
    layers : sequence of RankedLayer
    stall, lazy, seed
        As of :class:`~dtqatten.sim.lockstep.streams.StreamLockstep`.
    """

    def __init__(self, config: Config, layers: Sequence[RankedLayer], **stalls: Any) -> None:
        rows = [
            replace(row, seen=seen.values) if config.count_normalize else row
            for layer in layers
            for head in layer.probabilities
            for row, seen in zip(
                tile_rows(config, head), tile_rows(config, layer.seen), strict=True
            )
        ]
        keys = sum(layer.seen.shape[1] for layer in layers)
        self.config = config
        sources = {"layers": layer_layout(config), "probabilities": probability_row_layout(config)}
        beats: dict[str, list] = {
            "layers": [layer.command for layer in layers],
            "probabilities": rows,
        }
        if config.held_importance:
            sources["held"] = held_layout()
            beats["held"] = [held for layer in layers for held in layer.held]
        super().__init__(
            TokenRankingModel(config),
            sources,
            {
                "ids": ids_layout(topk_config(config)),
                "report": beat_layout(config.topk_lanes),
            },
            beats,
            {},
            work=len(rows) + 20 * keys + 150 * len(layers),
            **stalls,
        )
        self.runs = len(layers)

    @property
    def done(self) -> bool:
        """Whether all went in and all ids came out."""
        ended = sum(beat.last for _, beat in self.taken["ids"])
        return super().done and ended == self.runs

    def pack(self, name: str, beat: Any) -> int:
        """Pack a beat of a stream as its payload."""
        if name == "ids":
            beat = shown_ids(beat, self.config.topk_lanes)
        if name == "report":
            beat = shown_importance(beat, self.config.topk_lanes)
        return super().pack(name, beat)

    def source_ready(self, offered: Mapping[str, Any]) -> dict[str, bool]:
        """Return whether the model takes what each source offers."""
        model = self.model
        ready = {"layers": model.layers_ready, "probabilities": model.probabilities_ready}
        return ready | ({"held": model.held_ready} if "held" in offered else {})

    def expected(self) -> dict[str, int]:
        """Return the values of the output ports in this cycle, payloads while valid."""
        return super().expected() | {"searching": int(self.model.searching)}

    def step(self, offered: Mapping[str, Any], ready: Mapping[str, bool]) -> None:
        """Pass a clock edge of the model."""
        self.model.clock(
            offered["layers"],
            offered["probabilities"],
            ids_ready=ready["ids"],
            report_ready=ready["report"],
            held=offered.get("held"),
        )
