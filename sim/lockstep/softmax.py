"""Run the softmax unit beside its cycle model and compare them on every clock edge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.softmax import SoftmaxModel
from dtqatten.golden.cycles.softmax_beats import HeadFactor, Key, OutputForm, Query, bias_beats
from dtqatten.golden.cycles.tile_rows import tile_rows
from dtqatten.golden.numerics.sinks import NO_SINK
from dtqatten.hw.payloads.arrays import score_row_layout
from dtqatten.hw.payloads.octaves import bias_layout
from dtqatten.hw.payloads.softmax import (
    head_layout,
    key_layout,
    probability_row_layout,
    query_layout,
    row_record_layout,
    verdict_layout,
    weight_row_layout,
)
from dtqatten.sim.lockstep.streams import StreamLockstep

__all__ = ["SoftmaxHead", "SoftmaxLockstep", "random_softmax_head"]


@dataclass(frozen=True, eq=False)
class SoftmaxHead:
    """One head's scores ``[n_q, n_k]``, those of its trial, and what else the softmax needs.

    ``biases`` are ``[members, n_k]``, of keys for each query head.
    """

    scores: NDArray[np.int64]
    factor: HeadFactor
    queries: list[Query]
    keys: list[Key]
    trial: NDArray[np.int64] | None = None
    biases: NDArray[np.int64] | None = None


def random_softmax_head(
    config: Config,
    rng: np.random.Generator,
    *,
    queries: int | None = None,
    keys: int | None = None,
    spread: float | None = None,
    causal: bool | None = None,
) -> SoftmaxHead:
    """Return a head of random scores.

    Draws include scores at both ends of their range, equal and neighbouring scores, queries that
    see no key, and sinks at both ends, near the scores, and none.

    Parameters
    ----------
    config : Config
    rng : numpy.random.Generator
    queries, keys : int, optional
        Drawn by default.
    spread : float, optional
        Largest distance of scores, in octaves; drawn by default.
    causal : bool, optional
        Drawn by default.
    """
    limit = config.d_head * 120 * 120

    def count(lanes: int) -> int:
        return int(rng.integers(1, min(config.n_max, 3 * lanes) + 1))

    n_q = count(config.rows) if queries is None else queries
    n_k = count(config.cols) if keys is None else keys
    spread = float(rng.choice([0.0, 4.0, 12.0, 1e4])) if spread is None else spread
    causal = bool(rng.integers(2)) if causal is None else causal
    scores = rng.integers(-limit, limit + 1, size=(n_q, n_k))
    ends = rng.random(scores.shape)
    scores = np.where(ends < 0.05, -limit, np.where(ends > 0.95, limit, scores))
    neighbours = rng.random() < 0.3
    if neighbours:
        scores = rng.integers(0, limit) - rng.integers(0, 200, size=scores.shape)

    def factor() -> tuple[int, int]:
        if neighbours:
            # A step or more of the exponent apart: every rounding shows.
            return int(rng.integers(2**15, 2**16)), int(rng.integers(13, 16))
        # Octaves of the whole range: 2 * limit * m >> (shift + 5).
        shift = int(rng.integers(0, 41))
        m = min(65535, int(spread * 2 ** (shift + 5) / (2 * limit)))
        fits = 0 < m < 65535
        near = int(np.clip(36 - np.log2(limit / max(spread, 1e-3)), 0, 40))
        return max(m, 0), shift if fits else near

    def gain() -> int:
        return int(rng.choice([1, 255, 256, int(rng.integers(1, 257))]))

    # Ids are close together, so that windows have edges among them, or anywhere.
    most = int(rng.choice([min(max(n_q, n_k), config.positions), config.positions]))
    least = int(rng.integers(0, config.positions - most + 1))

    def ids(n: int) -> list[int]:
        chosen = least + rng.choice(most, n, replace=n > most)
        return sorted(chosen.tolist(), key=lambda i: i % 3)

    def negative() -> bool:
        return config.signed_gains and bool(rng.integers(2))

    gains_of_values = int(rng.integers(1, 9))
    narrow, narrow_queries = rng.choice([0.0, 0.5]), rng.choice([0.0, 0.5, 1.0])
    tokens = [
        Key(
            i,
            gain(),
            max(1, gain() >> gains_of_values),
            bool(rng.random() < narrow),
            at == n_k - 1,
            negative(),
        )
        for at, i in enumerate(ids(n_k))
    ]
    window = int(rng.choice([0, 1, int(rng.integers(1, most + 1)), config.positions]))
    output = OutputForm(bool(rng.integers(2)), int(rng.integers(8)))

    def sink() -> int:
        if not config.sinks:
            return NO_SINK
        ends = (NO_SINK, NO_SINK + 1, -NO_SINK - 1)
        return int(rng.choice([*ends, *rng.integers(-3000, 3001, 3), rng.integers(*ends[::2])]))

    biases, members = None, 1
    if config.bias_heads and rng.random() < 0.8:
        members = int(rng.integers(1, config.bias_heads + 1))
        near = rng.integers(-3000, 3001, (members, n_k))
        far = rng.choice((-(2**15), 2**15 - 1, 0), near.shape)
        biases = np.where(rng.random(near.shape) < 0.1, far, near)
    queries_of_head = [
        Query(
            i,
            gain(),
            bool(rng.random() < narrow_queries),
            *factor(),
            sink(),
            member=int(rng.integers(members)),
            negative=negative(),
        )
        for i in ids(n_q)
    ]
    found = HeadFactor(
        *factor(),
        causal,
        output,
        window * config.windows,
        sink(),
        biased=biases is not None,
    )
    trial = None
    if config.progressive and n_q <= config.rows and rng.integers(4):
        # Its scores are others, which nothing but the verdict shows.
        trial = rng.permutation(scores.ravel()).reshape(scores.shape) // 16
        limit = int(rng.choice([0, 65535, 100_000, 400_000, 1 << 31]))
        found = replace(found, progressive=True, flat_sum=limit)
    return SoftmaxHead(scores, found, queries_of_head, tokens, trial, biases)


class SoftmaxLockstep(StreamLockstep):
    """Heads streamed through a softmax unit.

    Parameters
    ----------
    config : Config
    heads : sequence of SoftmaxHead
    stall, lazy, seed, held
        As of :class:`~dtqatten.sim.lockstep.streams.StreamLockstep`.
    """

    SINKS = ("weights", "records", "probabilities")

    def __init__(self, config: Config, heads: Sequence[SoftmaxHead], **stalls: Any) -> None:
        beats: dict[str, list] = {
            "scores": [
                row
                for head in heads
                for scores in (head.trial, head.scores)
                if scores is not None
                for row in tile_rows(config, scores)
            ],
            "heads": [head.factor for head in heads],
            "queries": [query for head in heads for query in head.queries],
            "keys": [key for head in heads for key in head.keys],
        }
        biased = {"biases": bias_layout()} if config.bias_heads else {}
        if biased:
            given = [head.biases for head in heads if head.biases is not None]
            beats["biases"] = [beat for biases in given for beat in bias_beats(biases)]
        rows = sum(1 for head in heads for _ in tile_rows(config, head.scores))
        queries = len(beats["queries"])
        judged = {"verdicts": verdict_layout(config)} if config.progressive else {}
        tried = sum(head.trial is not None for head in heads)
        super().__init__(
            SoftmaxModel(config),
            {
                "scores": score_row_layout(config),
                "heads": head_layout(config),
                "queries": query_layout(config),
                "keys": key_layout(config),
                **biased,
            },
            {
                "weights": weight_row_layout(config),
                "records": row_record_layout(config),
                "probabilities": probability_row_layout(config),
                **judged,
            },
            beats,
            {"weights": rows, "records": queries, "probabilities": rows}
            | dict.fromkeys(judged, tried),
            work=2 * sum(map(len, beats.values())) + 100 * len(heads),
            **stalls,
        )

    def source_ready(self, offered: Mapping[str, Any]) -> dict[str, bool]:
        """Return whether the model takes what each source offers."""
        model = self.model
        return {
            "scores": model.scores_ready(offered["heads"]),
            "heads": model.heads_ready(offered["scores"], offered["heads"]),
            "queries": model.queries_ready,
            "keys": model.keys_ready,
            **({"biases": model.biases_ready} if "biases" in offered else {}),
        }

    def step(self, offered: Mapping[str, Any], ready: Mapping[str, bool]) -> None:
        """Pass a clock edge of the model."""
        self.model.clock(
            offered["scores"],
            offered["heads"],
            offered["queries"],
            offered["keys"],
            biases=offered.get("biases"),
            **{f"{name}_ready": ready[name] for name in self.taken},
        )
