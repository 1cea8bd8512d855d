"""Run a top-k engine beside its cycle model and compare them on every clock edge."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.choices import TopKEngine
from dtqatten.golden.cycles.topk import IdBeat, TopKModel, score_beats
from dtqatten.golden.numerics.select import select
from dtqatten.hw.payloads.topk import TopKConfig, ids_layout, scores_layout, thresholds_layout
from dtqatten.sim.engines.bench import MismatchError, compare
from dtqatten.sim.engines.ports import pack_payload, padded

__all__ = [
    "Run",
    "TopKLockstep",
    "adversaries",
    "pack_ids",
    "pack_scores",
    "pivot_killer",
    "random_runs",
    "shown_ids",
]


@dataclass(frozen=True, eq=False)
class Run:
    """Scores of some tokens, how many to keep, and how many of those in 8 bits."""

    scores: NDArray[np.uint64]
    k0: int
    k1: int


def pack_scores(config: TopKConfig, scores: NDArray[np.uint64], tokens: int, last: bool) -> int:
    """Pack a beat of :func:`dtqatten.hw.payloads.topk.scores_layout`.

    Parameters
    ----------
    config : TopKConfig
    scores : array of uint64
    tokens : int
        Tokens of a last beat; 0 means all lanes.
    last : bool
    """
    fields = {"scores": padded(scores, config.lanes), "tokens": tokens, "last": last}
    return pack_payload(scores_layout(config), fields, "scores")


def shown_ids(beat: IdBeat, lanes: int) -> dict[str, Any]:
    """Fields of a beat of ids as the gateware names them; lanes past its ids are zero."""
    return {
        "ids": padded(beat.ids, lanes),
        "count": len(beat.ids),
        "precision": beat.wide,
        "last": beat.last,
    }


def pack_ids(config: TopKConfig, beat: IdBeat) -> int:
    """Pack a beat as :func:`dtqatten.hw.payloads.topk.ids_layout` lays it out."""
    return pack_payload(ids_layout(config), shown_ids(beat, config.lanes), "ids")


def _pick(rng: np.random.Generator, low: int, high: int) -> int:
    """Draw from a range, its ends more often than a uniform draw would."""
    return (low, high, int(rng.integers(low, high + 1)))[rng.integers(3)]


def random_runs(config: TopKConfig, rng: np.random.Generator, count: int) -> list[Run]:
    """Return runs of every size, corner cases of ``k0`` and ``k1``, many ties and few."""
    runs = []
    top = (1 << config.score_width) - 1
    for _ in range(count):
        n = _pick(rng, 1, config.n_max)
        scores = rng.integers(0, top, n, dtype=np.uint64, endpoint=True)
        # All of them, only the low bits, few different values, or a heavy tail.
        scores >>= np.uint64(rng.choice([0, config.score_width // 2]))
        kind = rng.integers(3)
        if kind == 0:
            scores = rng.choice(scores[: int(rng.integers(1, 4))], n)
        elif kind == 1:
            scores >>= rng.integers(0, config.score_width, n, dtype=np.uint64)
        k0 = _pick(rng, 1, n)
        k1 = _pick(rng, 0, k0)
        runs.append(Run(scores, k0, k1))
    return runs


def adversaries(config: TopKConfig, n: int) -> dict[str, NDArray[np.uint64]]:
    """Return by name inputs that are hard for some selection algorithm, this one included.

    ``killer``: the first beat hides the scale of the rest, so the first pass is repeated; then
    the scores that share a threshold's range lose few tokens a pass, until the last bit.
    ``pivot killer``: the same for quick-select, as of :func:`pivot_killer`.
    """
    width = config.score_width
    top = (1 << width) - 1
    up = (np.arange(n, dtype=object) * top // max(n - 1, 1)).astype(np.uint64)
    half = np.arange(n) * 2 // n
    late = up.copy()
    late[: config.lanes] = 0
    # Kept and 8-bit thresholds differ in the first bit; in either half, token i leaves the
    # others at bit i of what is left.
    killer = np.where(np.arange(n) % 20 < 10, np.uint64(1 << width - 1), np.uint64(0))
    for i in range(min(width - 1, n // 4)):
        killer[-1 - 2 * i : n - 2 * i + 1][:2] |= np.uint64(1 << i)
    killer[: config.lanes] = 0
    return {
        "ascending": up,
        "descending": up[::-1].copy(),
        "all equal": np.full(n, top // 3, np.uint64),
        "all zero": np.zeros(n, np.uint64),
        "organ pipe": np.concatenate([up[::2], up[1::2][::-1]]),
        "two values": np.where(half == 1, np.uint64(top), np.uint64(top - 1)),
        "powers of two": np.uint64(1) << (np.arange(n, dtype=np.uint64) % np.uint64(width)),
        "small first beat": late,
        "killer": killer,
        "pivot killer": pivot_killer(config, n),
    }


def pivot_killer(config: TopKConfig, n: int, dropped: float = 0.2) -> NDArray[np.uint64]:
    """Return scores for which quick-select takes about as long as it can.

    Each pivot is the smallest score that is left, so that a pass drops one token. Behind the last
    pivot two values are left, a threshold each if less than half of what is left are in 8 bits and
    more than half are kept; the halving of the range reaches either one last.

    Parameters
    ----------
    config : TopKConfig
    n : int
        Tokens.
    dropped : float
        Share of the tokens that pivots may drop; the rest must be more than are kept.
    """
    top = (1 << config.score_width) - 1
    left, place = list(range(n)), 0
    passes = min(config.pivots + 1, int(n * dropped))
    scores = np.zeros(n, np.uint64)
    for value in range(passes):
        scores[left.pop(place)] = min(value, top)
        place = len(left) // 2
    middle = (passes + top + 1) // 2
    low, high = min(passes, top), min(middle + 1, top)
    for number, token in enumerate(left):
        scores[token] = (low, high)[number % 2]
    return scores


class TopKLockstep:
    """Runs streamed through the cycle model, and what a device must show meanwhile.

    A :class:`dtqatten.sim.engines.bench.Bench`. What the contract leaves open (unused lanes,
    payload without valid, counts with any but the last beat) is driven with noise.

    Parameters
    ----------
    config : TopKConfig
    runs : sequence of Run
    stall : float
        Probability that the source pauses, and that the sink takes no beat, in a cycle.
    lazy : bool
        The sink is ready only after it has seen ``valid``.
    seed : int
        Of the stalls.

    Attributes
    ----------
    model : TopKModel
    compared : int
        Cycles compared.
    """

    def __init__(
        self,
        config: TopKConfig,
        runs: Sequence[Run],
        *,
        stall: float = 0.0,
        lazy: bool = False,
        seed: int = 0,
    ) -> None:
        self.config, self.stall, self.lazy = config, stall, lazy
        self.model = TopKModel(
            config.lanes,
            config.n_max,
            index_bits=config.index_bits,
            slow_logic=config.slow_logic,
            engine=config.engine,
            score_width=config.score_width,
        )
        self.rng = np.random.default_rng(seed)
        self.compared = 0
        self._runs = list(runs)
        self._ids: list[IdBeat] = []
        self._selected = 0
        self._beats = [b for r in runs for b in score_beats(r.scores, r.k0, r.k1, config.lanes)]
        self._next = 0
        self._offered = False
        # Nothing takes longer than this; a deadlock ends the run instead of hanging it.
        passes = 4 + config.score_width // (config.index_bits - 1) + 4
        if config.engine is TopKEngine.QUICK_SELECT:
            passes = 4 + config.pivots + 2 * config.score_width
        work = sum(passes * (len(r.scores) // config.lanes + 10) for r in runs)
        self.deadline = int(work * 4 / (1 - stall)) + 1000
        self._draw()

    def _draw(self) -> None:
        willing = bool(self.rng.random() >= self.stall)
        self._ready = willing and (not self.lazy or self.model.ids is not None)
        more = self._next < len(self._beats)
        self._offered = more and (self._offered or bool(self.rng.random() >= self.stall))

    @property
    def done(self) -> bool:
        """Whether all runs went in and all their ids came out."""
        return self._selected == len(self._runs)

    def inputs(self) -> dict[str, int]:
        """Return the values of the input ports in this cycle."""
        config = self.config
        # Stays an array: a list of integers above and below 63 bits would become floats.
        scores = self.rng.integers(0, (1 << config.score_width) - 1, config.lanes, np.uint64)
        tokens, last = int(self.rng.integers(config.lanes + 1)), False
        counts = self.rng.integers(0, config.capacity + 1, 2).tolist()
        if self._offered:
            beat = self._beats[self._next]
            scores[: len(beat.scores)] = beat.scores
            last = beat.last
            if last:
                tokens, counts = len(beat.scores), [beat.k0, beat.k1]
                if tokens == config.lanes:
                    tokens *= int(self.rng.integers(2))
        return {
            "scores__valid": int(self._offered),
            "scores__payload": pack_scores(config, scores, tokens, last),
            "k0": counts[0],
            "k1": counts[1],
            "ids__ready": int(self._ready),
        }

    def expected(self) -> dict[str, int]:
        """Return the values of the output ports in this cycle; payloads only while valid."""
        model = self.model
        ports = {
            "scores__ready": int(model.scores_ready),
            "ids__valid": int(model.ids is not None),
            "known": int(model.thresholds is not None),
        }
        if model.ids is not None:
            ports["ids__payload"] = pack_ids(self.config, model.ids)
        if model.thresholds is not None:
            fields = dict(zip(("kept", "wide"), model.thresholds, strict=True))
            ports["thresholds"] = pack_payload(thresholds_layout(self.config), fields, "thresholds")
        return ports

    def check(self, ports: Mapping[str, int]) -> None:
        """Compare the output ports of the device in this cycle.

        Raises
        ------
        MismatchError
            If a port differs, or the deadline has passed.
        """
        compare(self.model.cycle, ports, self.expected())
        self.compared += 1
        if self.compared > self.deadline:
            raise MismatchError(
                f"deadline: {self._selected} of {len(self._runs)} runs after {self.compared} cycles"
            )

    def clock(self) -> None:
        """Pass a clock edge.

        Raises
        ------
        MismatchError
            If the ids of a finished run are not those of
            :func:`dtqatten.golden.numerics.select.select`.
        """
        model = self.model
        taken = model.scores_ready and self._offered
        if model.ids is not None and self._ready:
            self._ids.append(model.ids)
            if model.ids.last:
                self._compare_run()
        model.clock(self._beats[self._next] if self._offered else None, self._ready)
        if taken:
            self._next += 1
            self._offered = False
        self._draw()

    def _compare_run(self) -> None:
        run = self._runs[self._selected]
        chosen = select(run.scores, run.k0, run.k1)
        got = list(self._flat(self._ids))
        if got != list(zip(chosen.ids.tolist(), (chosen.bits == 8).tolist(), strict=True)):
            raise MismatchError(f"run {self._selected}: wrong ids {got}")
        self._ids = []
        self._selected += 1

    @staticmethod
    def _flat(beats: Sequence[IdBeat]) -> Iterator[tuple[int, bool]]:
        for beat in beats:
            yield from ((i, beat.wide) for i in beat.ids)
