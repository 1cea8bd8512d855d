"""Run the score accumulator beside its cycle model and compare them on every clock edge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.score_accumulator import AccumulatorModel
from dtqatten.golden.cycles.tile_rows import tile_rows, visited_tiles
from dtqatten.hw.payloads.ranking import importance_layout, ranking_run_layout
from dtqatten.hw.payloads.softmax import probability_row_layout
from dtqatten.sim.lockstep.streams import StreamLockstep
from dtqatten.sim.lockstep.value_array import clear_tiles

__all__ = ["AccumulatorLockstep", "AccumulatorRun", "random_runs"]


@dataclass(frozen=True, eq=False)
class AccumulatorRun:
    """Probabilities ``[heads, n_q, n_k]`` and which keys the queries see, ``[n_q, n_k]``."""

    probabilities: NDArray[np.integer]
    seen: NDArray[np.integer]


def random_runs(
    config: Config, rng: np.random.Generator, count: int, *, heads: int | None = None
) -> list[AccumulatorRun]:
    """Return runs of every size; every second one has the largest probabilities or zeros.

    Parameters
    ----------
    config : Config
    rng : numpy.random.Generator
    count : int
        Runs.
    heads : int, optional
        Most heads of a run; ``config.heads`` by default.
    """
    runs = []
    for number in range(count):
        n_q, n_k = rng.integers(1, config.n_max + 1, 2)
        shape = (rng.integers(1, (heads or config.heads) + 1), n_q, n_k)
        top = 65536 if number % 2 else int(rng.choice([1, 300]))
        probabilities = rng.integers(0, top, shape)
        if number % 4 == 1:
            probabilities[:] = 65535
        seen = rng.integers(0, 2, (n_q, n_k))
        if config.skip_tiles:
            clear_tiles(config, rng, seen, *probabilities)
        runs.append(AccumulatorRun(probabilities, seen))
    return runs


class AccumulatorLockstep(StreamLockstep):
    """Runs streamed through a score accumulator.

    Parameters
    ----------
    config : Config
    runs : sequence of AccumulatorRun
    sink_stall : float, optional
        Stall of the sink, if another than that of the sources.
    stall, lazy, seed, held
        As of :class:`~dtqatten.sim.lockstep.streams.StreamLockstep`.
    """

    def __init__(
        self,
        config: Config,
        runs: Sequence[AccumulatorRun],
        *,
        sink_stall: float | None = None,
        **stalls: Any,
    ) -> None:
        self.config = config
        rows = [
            replace(row, seen=seen.values) if config.count_normalize else row
            for run in runs
            for visited in [visited_tiles(config, run.seen | run.probabilities.any(0))]
            for head in run.probabilities
            for row, seen in zip(
                tile_rows(config, head, visited=visited),
                tile_rows(config, run.seen, visited=visited),
                strict=True,
            )
        ]
        wanted = sum(
            -(-min(config.cols, run.seen.shape[1] - tile) // config.importance_lanes)
            for run in runs
            for tile in range(0, run.seen.shape[1], config.cols)
        )
        super().__init__(
            AccumulatorModel(config),
            {"runs": ranking_run_layout(config), "probabilities": probability_row_layout(config)},
            {"importance": importance_layout(config)},
            {"runs": [len(run.probabilities) for run in runs], "probabilities": rows},
            {"importance": wanted},
            work=int(len(rows) + wanted / (1 - (sink_stall or 0)) + 100),
            **stalls,
        )
        if sink_stall is not None:
            self.stall = sink_stall

    def pack(self, name: str, beat: Any) -> int:
        """Pack a beat of a stream as its payload."""
        if name == "runs":
            beat = {"heads": beat}
        if name == "importance":
            beat = {**vars(beat), "scores": beat.values}
        return super().pack(name, beat)

    def source_ready(self, offered: Mapping[str, Any]) -> dict[str, bool]:
        """Return whether the model takes what each source offers."""
        model = self.model
        return {"runs": model.runs_ready, "probabilities": model.probabilities_ready}

    def step(self, offered: Mapping[str, Any], ready: Mapping[str, bool]) -> None:
        """Pass a clock edge of the model."""
        self.model.clock(offered["runs"], offered["probabilities"], ready["importance"])

    def importances(self) -> list[list[tuple[int, int]]]:
        """Return the importance of each key of each run, and how many queries saw it."""
        got: list[list[tuple[int, int]]] = [[]]
        for _, beat in self.taken["importance"]:
            both = zip(beat.values.tolist(), beat.seen.tolist(), strict=True)
            got[-1] += list(both)[: beat.tokens]
            if beat.last:
                got.append([])
        return got[:-1]
