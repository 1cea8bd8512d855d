"""Cycles of the top-k engine, measured on its RTL; of both engines, by their cycle models.

``python -m dtqatten.sim.studies.topk_bench`` prints the former, ``dtqatten bench --part topk`` the
latter.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from amaranth.hdl import Shape
from numpy.typing import NDArray

from dtqatten.configuration.choices import TopKEngine
from dtqatten.golden.cycles.topk import TopKModel, score_beats
from dtqatten.golden.numerics.importance import importance
from dtqatten.golden.numerics.select import PAPER_SHARES, counts
from dtqatten.hw.payloads.topk import TopKConfig, ids_layout
from dtqatten.hw.ranking.topk import TopK
from dtqatten.sim.engines.verilated import VerilatedModel
from dtqatten.sim.lockstep.topk import Run, adversaries, pack_scores

__all__ = [
    "QUICK_SELECT",
    "RunCycles",
    "build_topk",
    "measure_engines",
    "measure_topk",
    "model_cycles",
    "run_cycles",
    "table",
]

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
    deadline = 100 * (len(beats) + 10)
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


def model_cycles(config: TopKConfig, run: Run) -> RunCycles:
    """Return a run's cycles by the cycle model, the same as :func:`run_cycles` by the RTL."""
    model = TopKModel(
        config.lanes,
        config.n_max,
        index_bits=config.index_bits,
        slow_logic=config.slow_logic,
        engine=config.engine,
        score_width=config.score_width,
    )
    beats = score_beats(run.scores, run.k0, run.k1, config.lanes)
    for beat in beats:
        model.clock(beat, True)
    while model.thresholds is None:
        model.clock(None, True)
    known = model.cycle
    while model.ids is None or not model.ids.last:
        model.clock(None, True)
    return RunCycles(known, known - len(beats) + 1, model.cycle + 1 - known)


def _importances(n: int, rng: np.random.Generator) -> NDArray[np.uint64]:
    """Importances as attention makes them: sums of rows of probabilities of 16 bits.

    Some keys matter to all queries of a layer, others to one: logits are a key's own normal of
    deviation 1.5 and a pair's of deviation 1; 64 rows.
    """
    logits = rng.normal(0, 1.5, n) + rng.normal(0, 1, (64, n))
    weights = np.exp(logits - logits.max(1, keepdims=True))
    rows = np.rint(weights / weights.sum(1, keepdims=True) * 65535).astype(np.int64)
    return importance(rows[np.newaxis]).astype(np.uint64)


def measure_engines(
    tokens: Sequence[int] = (128, 512, 1024), *, inputs: int = 1000, seed: int = 0
) -> dict[str, dict[str, dict[str, Any]]]:
    """Count cycles from the last beat accepted to both thresholds known, by the cycle models.

    Both engines get the same scores: 16 lanes, 1024 tokens at most, 72 % kept, 31 % in 8 bits.

    Parameters
    ----------
    tokens : sequence of int
        Sizes ``n`` of a run.
    inputs : int
        Runs of random scores per size.
    seed : int
        Of the scores.

    Returns
    -------
    dict
        By ``n``, as text, and engine: ``mean``, ``p99`` and ``worst`` of scores as attention makes
        them; ``uniform_mean`` of uniform ones; by name ``adversarial``; and the worst of those,
        ``adversarial_worst``.
    """
    result: dict[str, dict[str, dict[str, Any]]] = {}
    for n in tokens:
        rng = np.random.default_rng(seed)
        attention = [_importances(n, rng) for _ in range(inputs)]
        uniform = [rng.integers(0, (1 << 32) - 1, n, np.uint64) for _ in range(inputs)]
        result[str(n)] = {
            str(engine): _figures(TopKConfig(16, 1024, engine=engine), attention, uniform)
            for engine in TopKEngine
        }
    return result


def _figures(
    config: TopKConfig, attention: list[NDArray[np.uint64]], uniform: list[NDArray[np.uint64]]
) -> dict[str, Any]:
    """Return an engine's figures, of scores of one size, as of :func:`measure_engines`."""
    n = len(attention[0])

    def cycles(scores: NDArray[np.uint64]) -> int:
        return model_cycles(config, Run(scores, *counts(n, PAPER_SHARES))).search

    found = [cycles(scores) for scores in attention]
    hard = {name: cycles(scores) for name, scores in adversaries(config, n).items()}
    return {
        "mean": float(np.mean(found)),
        "p99": _percentile(found, 99),
        "worst": max(found),
        "adversarial_worst": max(hard.values()),
        "uniform_mean": float(np.mean([cycles(scores) for scores in uniform])),
        "adversarial": hard,
    }


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
