"""Blocks and stimuli of mutation testing, at sizes small enough for equivalence proofs."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from dtqatten.configuration.choices import TopKEngine
from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.token_ranking import LayerCommand
from dtqatten.hw.arrays.pod import Pod
from dtqatten.hw.arrays.score_array import ScoreArray
from dtqatten.hw.arrays.value_array import ValueArray
from dtqatten.hw.merge.merger import Merger
from dtqatten.hw.payloads.topk import TopKConfig
from dtqatten.hw.ranking.head_magnitudes import HeadMagnitudes
from dtqatten.hw.ranking.head_ranking import HeadRanking
from dtqatten.hw.ranking.score_accumulator import ScoreAccumulator
from dtqatten.hw.ranking.token_ranking import TokenRanking
from dtqatten.hw.ranking.topk import TopK
from dtqatten.hw.softmax.normalizer import Normalizer
from dtqatten.hw.softmax.softmax import Softmax
from dtqatten.sim.engines.bench import Bench
from dtqatten.sim.lockstep.head_ranking import (
    HeadRankingLockstep,
    MagnitudesLockstep,
    random_head_layers,
    random_output_heads,
)
from dtqatten.sim.lockstep.merger import MergerLockstep, random_merged_heads
from dtqatten.sim.lockstep.normalizer import NormalizerLockstep, random_heads
from dtqatten.sim.lockstep.pod import PodLockstep, pe_width, random_steps
from dtqatten.sim.lockstep.score_accumulator import AccumulatorLockstep, AccumulatorRun, random_runs
from dtqatten.sim.lockstep.score_array import Lockstep, random_head
from dtqatten.sim.lockstep.softmax import SoftmaxLockstep, random_softmax_head
from dtqatten.sim.lockstep.token_ranking import RankedLayer, RankingLockstep, random_layers
from dtqatten.sim.lockstep.topk import Run, TopKLockstep, adversaries, pivot_killer
from dtqatten.sim.lockstep.topk import random_runs as random_topk_runs
from dtqatten.sim.lockstep.value_array import ValueLockstep, random_value_head
from dtqatten.sim.proofs.mutation import Block
from dtqatten.sim.proofs.mutation_plays import plays
from dtqatten.sim.proofs.recording import Play
from dtqatten.sim.proofs.scripted_blocks import SCRIPTED

__all__ = ["BLOCKS"]

#: Part-filled tiles both ways, several words and parts a token, two channel passes and more.
ARRAY = Config(rows=3, cols=2, depth=2, d_head=24, n_max=7)
#: Tiles of weights have exponents.
RAISED = ARRAY.replace(block_exponents=True, unsigned_weights=True, v_gains=True)
#: As many rows held as are no power of two; passes of three, three and two parts.
MERGER = ARRAY.replace(cols=3, d_head=8, capacity=200, v_gains=True, sinks=True, merge_rows=5)
#: The most heads there can be, so that every bit of a counter is used.
ACCUMULATOR = Config(rows=3, cols=4, depth=8, d_head=8, n_max=18, heads=3640, topk_lanes=2)
#: Importance that stays from layer to layer and is divided by its count of queries; as many heads.
RANKING = replace(ACCUMULATOR, topk_lanes=4, cumulative=True, count_normalize=True)
#: As many heads, and lanes of the output, as are no power of two.
HEADS = ARRAY.replace(cols=3, heads=5, normalizer_lanes=3, head_pruning=True)
TOPK = TopKConfig(4, 22, score_width=12, index_bits=4)
QUICK_SELECT = replace(TOPK, engine=TopKEngine.QUICK_SELECT)


def array_plays() -> Iterator[Play]:
    """Yield runs of the score array."""

    def make(rng: np.random.Generator, stall: float, lazy: bool, seed: int) -> Bench:
        """Return a bench of random heads.

        Parameters
        ----------
        rng, stall, lazy, seed
            As of the ``make`` of :func:`plays`.
        """
        heads = [random_head(ARRAY, rng) for _ in range(25)]
        # Seldom, so that counts get high between.
        clear = 0.002 if lazy else 0.0
        return Lockstep(ARRAY, heads, stall=stall, lazy=lazy, seed=seed, clear=clear)

    return plays(make, ARRAY.flush_cycles)


def value_array_plays(config: Config) -> Iterator[Play]:
    """Yield runs of a value array."""

    def make(rng: np.random.Generator, stall: float, lazy: bool, seed: int) -> Bench:
        """Return a bench of random heads.

        Parameters
        ----------
        rng, stall, lazy, seed
            As of the ``make`` of :func:`plays`.
        """
        heads = [random_value_head(config, rng) for _ in range(25)]
        return ValueLockstep(config, heads, stall=stall, lazy=lazy, seed=seed)

    return plays(make, config.flush_cycles)


def pe_plays(config: Config) -> Iterator[Play]:
    """Yield runs of a PE, which never stalls."""
    for seed in range(3):
        steps = random_steps(config, np.random.default_rng(seed), 100)
        yield Play(PodLockstep(config, steps), reset_cycles=3)


def softmax_plays(config: Config) -> Iterator[Play]:
    """Yield runs of a softmax unit; in the last ones a sink is held back."""

    def make(
        rng: np.random.Generator, stall: float, lazy: bool, seed: int, held: str | None = None
    ) -> Bench:
        """Return a bench of random heads.

        Parameters
        ----------
        rng, stall, lazy, seed
            As of the ``make`` of :func:`plays`.
        held : str, optional
            Sink that is held back.
        """
        heads = [random_softmax_head(config, rng) for _ in range(60)]
        return SoftmaxLockstep(config, heads, stall=stall, lazy=lazy, seed=seed, held=held)

    yield from plays(make)
    for seed, held in enumerate(SoftmaxLockstep.SINKS, start=200):
        yield Play(make(np.random.default_rng(seed), 0.0, False, seed, held))


def accumulator_plays() -> Iterator[Play]:
    """Yield runs of the score accumulator; the last sums as many rows as there can be."""

    def make(rng: np.random.Generator, stall: float, lazy: bool, seed: int) -> Bench:
        """Return a bench of random runs.

        Parameters
        ----------
        rng, stall, lazy, seed
            As of the ``make`` of :func:`plays`.
        """
        runs = random_runs(ACCUMULATOR, rng, 30, heads=5)
        return AccumulatorLockstep(ACCUMULATOR, runs, stall=stall, lazy=lazy, seed=seed)

    yield from plays(make)
    tokens = ACCUMULATOR.n_max, ACCUMULATOR.cols
    most = np.full((ACCUMULATOR.heads, *tokens), 65535)
    yield Play(AccumulatorLockstep(ACCUMULATOR, [AccumulatorRun(most, np.ones(tokens, int))]))


def topk_plays(config: TopKConfig) -> Iterator[Play]:
    """Yield runs of a top-k engine, adversarial inputs among them; of some, pivots run out."""
    hard = [
        Run(scores, k0, k1)
        for n in (1, 4, 11, 22)
        for scores in adversaries(config, n).values()
        for k0, k1 in ((n, n // 2), (-(-3 * n // 4), n // 3))
    ]
    # With quick-select, the range that is halved is all of it, or the highest eighth.
    narrow = replace(config, score_width=config.score_width - 3)
    high = pivot_killer(narrow, 22, 0.5) | np.uint64(7 << narrow.score_width)
    for scores in (pivot_killer(config, 22, 0.5), high):
        hard += [Run(scores, k0, k1) for k0, k1 in ((8, 2), (9, 0), (3, 3))]

    def make(rng: np.random.Generator, stall: float, lazy: bool, seed: int) -> Bench:
        """Return a bench of random runs, then the adversarial ones.

        Parameters
        ----------
        rng, stall, lazy, seed
            As of the ``make`` of :func:`plays`.
        """
        runs = [*random_topk_runs(config, rng, 60), *hard]
        return TopKLockstep(config, runs, stall=stall, lazy=lazy, seed=seed)

    return plays(make)


def normalizer_plays() -> Iterator[Play]:
    """Yield runs of the normalizer."""

    def make(rng: np.random.Generator, stall: float, lazy: bool, seed: int) -> Bench:
        """Return a bench of random heads.

        Parameters
        ----------
        rng, stall, lazy, seed
            As of the ``make`` of :func:`plays`.
        """
        heads = random_heads(ARRAY, rng, 40)
        return NormalizerLockstep(ARRAY, heads, stall=stall, lazy=lazy, seed=seed)

    return plays(make)


def merger_plays() -> Iterator[Play]:
    """Yield runs of the merger; the last ones are rows that come back before they are written."""

    def make(rng: np.random.Generator, stall: float, lazy: bool, seed: int) -> Bench:
        """Return a bench of random heads in segments.

        Parameters
        ----------
        rng, stall, lazy, seed
            As of the ``make`` of :func:`plays`.
        """
        heads = [random_merged_heads(MERGER, rng) for _ in range(100)]
        return MergerLockstep(MERGER, heads, stall=stall, lazy=lazy, seed=seed)

    yield from plays(make)
    for seed, (queries, segments) in enumerate([(1, 4), (2, 4), (5, 4)], start=500):
        rng = np.random.default_rng(seed)
        shape = {"queries": queries, "segments": segments}
        heads = [random_merged_heads(MERGER, rng, **shape) for _ in range(50)]
        yield Play(MergerLockstep(MERGER, heads, seed=seed))


def token_ranking_plays() -> Iterator[Play]:
    """Yield runs of module B; the last adds up the largest importances of some layers."""

    def make(rng: np.random.Generator, stall: float, lazy: bool, seed: int) -> Bench:
        """Return a bench of random layers.

        Parameters
        ----------
        rng, stall, lazy, seed
            As of the ``make`` of :func:`plays`.
        """
        layers = random_layers(replace(RANKING, heads=5), rng, 40)
        return RankingLockstep(RANKING, layers, stall=stall, lazy=lazy, seed=seed)

    yield from plays(make)
    rng, n = np.random.default_rng(300), RANKING.n_max
    layers = []
    most = RANKING.heads
    for number, (heads, n_k, k0) in enumerate([(most, n, n), (40, n, 7), (400, 7, 3)]):
        values = rng.integers(0, 65536, n_k)
        values[:2] = 65535
        command = LayerCommand(
            heads, k0, k0 // 2, report=True, cumulative=True, fresh=number == 0, count=False
        )
        probabilities = np.broadcast_to(values, (heads, n, n_k))
        layers.append(RankedLayer(probabilities, np.ones((n, n_k), bool), command))
    yield Play(RankingLockstep(RANKING, layers))


def head_plays(lockstep: Callable[..., Bench], jobs: Callable, count: int) -> Iterator[Play]:
    """Yield runs of what sums or ranks heads.

    Parameters
    ----------
    lockstep : callable
        Returns the bench of some jobs.
    jobs : callable
        Returns ``count`` random jobs for it.
    count : int
    """
    return plays(
        lambda rng, stall, lazy, seed: lockstep(
            HEADS, jobs(HEADS, rng, count), stall=stall, lazy=lazy, seed=seed
        )
    )


#: By module name, and engine.
BLOCKS = {
    "array": Block(lambda: ScoreArray(ARRAY, monitored=True), array_plays),
    "value_array": Block(
        lambda: ValueArray(ARRAY, observed=True), lambda: value_array_plays(ARRAY)
    ),
    "value_array_exponents": Block(
        lambda: ValueArray(RAISED, observed=True), lambda: value_array_plays(RAISED)
    ),
    "softmax": Block(lambda: Softmax(ARRAY), lambda: softmax_plays(ARRAY)),
    "softmax_exponents": Block(lambda: Softmax(RAISED), lambda: softmax_plays(RAISED)),
    "normalizer": Block(lambda: Normalizer(ARRAY), normalizer_plays),
    "merger": Block(lambda: Merger(MERGER), merger_plays),
    "token_ranking": Block(lambda: TokenRanking(RANKING), token_ranking_plays),
    "topk": Block(
        lambda: TopK(TOPK),
        lambda: topk_plays(TOPK),
        {"thresholds": "known"},
    ),
    "topk_quick_select": Block(
        lambda: TopK(QUICK_SELECT),
        lambda: topk_plays(QUICK_SELECT),
        {"thresholds": "known"},
    ),
    "pe": Block(lambda: Pod(ARRAY, ARRAY.score_width), lambda: pe_plays(ARRAY)),
    "pe_exponents": Block(
        lambda: Pod(RAISED, pe_width(RAISED), exponents=True), lambda: pe_plays(RAISED)
    ),
    "score_accumulator": Block(lambda: ScoreAccumulator(ACCUMULATOR), accumulator_plays),
    "head_magnitudes": Block(
        lambda: HeadMagnitudes(HEADS),
        lambda: head_plays(MagnitudesLockstep, random_output_heads, 60),
    ),
    "head_ranking": Block(
        lambda: HeadRanking(HEADS),
        lambda: head_plays(HeadRankingLockstep, random_head_layers, 150),
        {"kept": "idle"},
    ),
} | SCRIPTED
