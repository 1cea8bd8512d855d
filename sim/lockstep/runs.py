"""Run heads through the score array's RTL and collect scores, times and counters."""

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.tile_costs import tile_costs
from dtqatten.golden.cycles.tiles import load_beats, row_places
from dtqatten.hw.arrays.score_array import ScoreArray
from dtqatten.sim.engines.ports import pack_beat, unpack
from dtqatten.sim.engines.verilated import VerilatedModel
from dtqatten.sim.lockstep.score_array import Head

__all__ = ["ScoreRun", "build_array", "run_heads"]


@functools.cache
def build_array(config: Config) -> VerilatedModel:
    """Return the monitored array of a configuration, compiled and reset."""
    return VerilatedModel(
        ScoreArray(config, monitored=True), "array", reset_cycles=config.flush_cycles
    )


@dataclass(frozen=True, eq=False)
class ScoreRun:
    """What an array did with some heads.

    Attributes
    ----------
    config : Config
    scores : list of array of int64, [queries, keys]
        Per head.
    cycles : int
        From the first beat offered to the last row read.
    spans : list of tuple of int
        Per head: the cycle in which the first PE holds its first operands, and the one in which
        its last row is read.
    busy_cycles, stall_cycles : array of int64, [rows, cols]
        The counters of every PE at the end.
    steps, tiles, mixed_tiles : int
        The array's counters at the end.
    """

    config: Config
    scores: list[NDArray[np.int64]]
    cycles: int
    spans: list[tuple[int, int]]
    busy_cycles: NDArray[np.int64]
    stall_cycles: NDArray[np.int64]
    steps: int
    tiles: int
    mixed_tiles: int


def run_heads(
    config: Config,
    heads: Sequence[Head],
    *,
    observe: Callable[[dict[str, int]], None] | None = None,
    observed: Sequence[str] = (),
) -> ScoreRun:
    """Stream heads through the RTL as fast as it takes them, reading every row at once.

    Parameters
    ----------
    config : Config
    heads : sequence of Head
    observe : callable, optional
        Called every cycle with the ports named in ``observed``.

    Raises
    ------
    RuntimeError
        If the array has not finished after four times the cycles its work takes.
    """
    model = build_array(config)
    beats = {
        side: [
            pack_beat(config, beat)
            for head in heads
            for beat in load_beats(config, getattr(head, side), getattr(head, f"{side}_wide"))
        ]
        for side in ("q", "k")
    }
    scores = [np.zeros((len(h.q), len(h.k)), dtype=np.int64) for h in heads]
    places = [
        (head, row, tile)
        for head, s in enumerate(scores)
        for row, tile in row_places(config, *s.shape)
    ]
    costs = [tile_costs(config, h.q_wide, h.k_wide).cycles for h in heads]
    work = sum(np.maximum(cost, config.rows).sum() for cost in costs)
    deadline = 4 * int(work + sum(map(len, beats.values()))) + 1000 * len(heads)
    # A head's first step is the one after all steps of the heads before it.
    first_steps = np.cumsum([0, *(int(cost.sum()) for cost in costs)])[:-1].tolist()
    head_ends = np.cumsum([sum(p[0] == h for p in places) for h in range(len(heads))]).tolist()

    watched = {
        "q__ready", "k__ready", "scores__valid", "scores__payload", "steps", *observed
    }  # fmt: skip
    taken = {"q": 0, "k": 0}
    starts: list[int] = []
    ends: list[int] = []
    model.step({"clear": 1})
    rows_read = cycle = 0
    while rows_read < len(places):
        inputs = {"scores__ready": 1}
        for side, words in beats.items():
            if taken[side] < len(words):
                inputs |= {f"{side}__valid": 1, f"{side}__payload": words[taken[side]]}
        ports = model.step(inputs, *watched)
        for side, words in beats.items():
            taken[side] += ports[f"{side}__ready"] and taken[side] < len(words)
        # The counter has counted a step one cycle after the step, two before its operands arrive.
        while len(starts) < len(heads) and ports["steps"] > first_steps[len(starts)]:
            starts.append(cycle + 2)
        if ports["scores__valid"]:
            head, row, tile = places[rows_read]
            keys = min(config.cols, scores[head].shape[1] - tile)
            payload = ports["scores__payload"] & ((1 << config.score_width * config.cols) - 1)
            values = unpack(payload, config.score_width, config.cols, signed=True)
            scores[head][row, tile : tile + keys] = values[:keys]
            rows_read += 1
            if rows_read == head_ends[len(ends)]:
                ends.append(cycle)
        if observe is not None:
            observe(ports)
        cycle += 1
        if cycle > deadline:
            raise RuntimeError(f"{rows_read} of {len(places)} rows after {cycle} cycles: deadlock")
    # Let the counters of the last PE catch up.
    final = model.step({})
    shape = (config.rows, config.cols)

    def per_pe(name: str) -> NDArray[np.int64]:
        return unpack(final[name], 32, config.rows * config.cols).reshape(shape)

    return ScoreRun(
        config,
        scores,
        cycle,
        list(zip(starts, ends, strict=True)),
        per_pe("busy_cycles"),
        per_pe("stall_cycles"),
        final["steps"],
        final["tiles"],
        final["mixed_tiles"],
    )
