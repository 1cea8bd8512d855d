"""Cycles of the top-k engine, measured on its RTL.

``python -m dtqatten.sim.studies.topk_bench`` prints them.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.hdl import Shape
from numpy.typing import NDArray

from dtqatten.golden.cycles.topk import score_beats
from dtqatten.golden.numerics.select import PAPER_SHARES, counts
from dtqatten.hw.payloads.topk import TopKConfig, ids_layout
from dtqatten.hw.ranking.topk import TopK
from dtqatten.sim.engines.verilated import VerilatedModel
from dtqatten.sim.lockstep.topk import Run, adversaries, pack_scores

__all__ = ["QUICK_SELECT", "RunCycles", "build_topk", "measure_topk", "run_cycles", "table"]

#: Mean cycles that quick-select needs for one threshold, 16 lanes, 72 % kept, by tokens.
QUICK_SELECT = {64: 36, 384: 107, 1024: 248}


@functools.cache
def build_topk(config: TopKConfig) -> VerilatedModel:
    """Return the engine of a configuration, compiled and reset."""
    return VerilatedModel(TopK(config), "topk")


@dataclass(frozen=True)
class RunCycles:
    """Cycles of a run, nothing stalling.

    ``known``: from the first beat of scores accepted to both thresholds known; ``search``: the
    same from the last beat on; ``ids``: from the thresholds known to the last id taken.
    """

    known: int
    search: int
    ids: int


def run_cycles(config: TopKConfig, run: Run) -> RunCycles:
    """Stream a run through the RTL as fast as it goes.

    Raises
    ------
    RuntimeError
        If the engine does not accept the run, or its ids do not come in a bounded time.
    """
    rtl = build_topk(config)
    beats = score_beats(run.scores, run.k0, run.k1, config.lanes)
    for beat in beats:
        payload = pack_scores(config, beat.scores, len(beat.scores), beat.last)
        offer = {"scores__valid": 1, "scores__payload": payload, "k0": run.k0, "k1": run.k1}
        if not rtl.step(offer, "scores__ready")["scores__ready"]:
            raise RuntimeError("the engine is not ready for a run")
    last_bit = Shape.cast(ids_layout(config)).width - 1
    known = 0
    deadline = 40 * (len(beats) + 10)
    for cycle in range(len(beats), deadline):
        ports = rtl.step({"ids__ready": 1}, "known", "ids__valid", "ids__payload")
        if ports["known"] and not known:
            known = cycle
        if ports["ids__valid"] and ports["ids__payload"] >> last_bit:
            return RunCycles(known, known - len(beats) + 1, cycle + 1 - known)
    raise RuntimeError(f"no last id after {deadline} cycles: deadlock")


def _percentile(cycles: Sequence[int], share: float) -> int:
    return int(np.percentile(cycles, share, method="higher"))


def measure_topk(
    config: TopKConfig | None = None,
    tokens: Sequence[int] = (64, 384, 1024),
    *,
    inputs: int = 1000,
    seed: int = 0,
) -> dict[int, dict[str, Any]]:
    """Measure cycles until both thresholds are known, on the RTL, nothing stalling.

    Parameters
    ----------
    config : TopKConfig, optional
        16 lanes if not given.
    tokens : sequence of int
        Sizes ``n`` of a run; 72 % are kept, 31 % in 8 bits.
    inputs : int
        Runs of uniformly random scores per size.
    seed : int
        Of the scores.

    Returns
    -------
    dict
        By ``n``: ``mean``, ``p99``, ``worst`` from the first beat accepted;
        ``search_mean``, ``search_worst`` from the last beat accepted; ``adversarial_worst`` and
        by name ``adversarial``; ``heavy_tail_mean`` of log-normal scores; ``one_threshold_mean``
        and ``two_engines_mean``: of an engine that looks for the first threshold only, and of two
        side by side; ``ids_mean``: from the thresholds to the last id.
    """
    config = config or TopKConfig(16, 1024)
    top = (1 << config.score_width) - 1
    result: dict[int, dict[str, Any]] = {}
    for n in tokens:
        rng = np.random.default_rng(seed)
        k0, k1 = counts(n, PAPER_SHARES)

        def cycles(scores: NDArray[np.uint64], kept: int = k0, wide: int = k1) -> RunCycles:
            return run_cycles(config, Run(scores, kept, wide))

        uniform = [rng.integers(0, top, n, np.uint64, endpoint=True) for _ in range(inputs)]
        tails = np.exp(rng.normal(0, 1, (inputs, n)) + np.log(top) - 8)
        heavy = [np.minimum(row, top).astype(np.uint64) for row in tails]
        runs = [cycles(scores) for scores in uniform]
        first = [cycles(scores, k0, k0).known for scores in uniform]
        second = [cycles(scores, k1, k1).known for scores in uniform]
        adversarial = {name: cycles(s).known for name, s in adversaries(config, n).items()}
        known, searches = [r.known for r in runs], [r.search for r in runs]
        result[n] = {
            "mean": float(np.mean(known)),
            "p99": _percentile(known, 99),
            "worst": max(known),
            "search_mean": float(np.mean(searches)),
            "search_worst": max(searches),
            "adversarial_worst": max(adversarial.values()),
            "adversarial": adversarial,
            "heavy_tail_mean": float(np.mean([cycles(scores).known for scores in heavy])),
            "one_threshold_mean": float(np.mean(first)),
            "two_engines_mean": float(np.mean(np.maximum(first, second))),
            "ids_mean": float(np.mean([r.ids for r in runs])),
        }
    return result


def table(measured: dict[int, dict[str, Any]]) -> str:
    """Return a Markdown table of what :func:`measure_topk` returns."""
    rows = [
        "| tokens | quick-select, one threshold | mean | p99 | worst | adversarial worst | mean "
        "after loading | mean, heavy tail | one threshold | two engines | ids |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for n, m in measured.items():
        rows.append(
            f"| {n} | {QUICK_SELECT.get(n, '')} | {m['mean']:.1f} | {m['p99']} | {m['worst']} | "
            f"{m['adversarial_worst']} | {m['search_mean']:.1f} | {m['heavy_tail_mean']:.1f} | "
            f"{m['one_threshold_mean']:.1f} | {m['two_engines_mean']:.1f} | {m['ids_mean']:.1f} |"
        )
    return "\n".join(rows)


if __name__ == "__main__":
    print(table(measure_topk()))
