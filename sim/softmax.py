"""Run the softmax unit beside its cycle model and compare them on every clock edge."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtqatten.config import Config
from dtqatten.golden.softmax_cycles import (
    HeadFactor,
    Key,
    OutputForm,
    Query,
    RowRecord,
    SoftmaxModel,
)
from dtqatten.golden.tiles import Row, tile_rows
from dtqatten.hw.layout import score_row_layout
from dtqatten.hw.softmax_layout import (
    head_layout,
    key_layout,
    probability_row_layout,
    query_layout,
    row_record_layout,
    weight_row_layout,
)
from dtqatten.sim.lockstep import MismatchError, Source, compare
from dtqatten.sim.ports import pack_payload, pack_row

__all__ = ["SoftmaxHead", "SoftmaxLockstep", "random_softmax_head"]


@dataclass(frozen=True, eq=False)
class SoftmaxHead:
    """One head's scores ``[n_q, n_k]`` and what else the softmax needs of it."""

    scores: NDArray[np.int64]
    factor: HeadFactor
    queries: list[Query]
    keys: list[Key]


def random_softmax_head(
    config: Config,
    rng: np.random.Generator,
    *,
    queries: int | None = None,
    keys: int | None = None,
    spread: float | None = None,
    causal: bool | None = None,
) -> SoftmaxHead:
    """Return a head of random scores; what is not given is drawn too.

    ``spread`` is the largest distance of scores in octaves; among the draws are scores at both
    ends of their range, equal and neighbouring ones, and queries that see no key.
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
    # Octaves of the whole range: 2 * limit * m >> (shift + 5).
    shift = int(rng.integers(0, 41))
    m = min(65535, int(spread * 2 ** (shift + 5) / (2 * limit)))
    shift = shift if 0 < m < 65535 else int(np.clip(36 - np.log2(limit / max(spread, 1e-3)), 0, 40))

    if rng.random() < 0.3:
        # Neighbouring scores, a step or more of the exponent apart: every rounding shows.
        scores = rng.integers(0, limit) - rng.integers(0, 200, size=scores.shape)
        m, shift = int(rng.integers(2**15, 2**16)), int(rng.integers(13, 16))

    def gain() -> int:
        return int(rng.choice([1, 255, 256, int(rng.integers(1, 257))]))

    def ids(n: int) -> list[int]:
        return sorted(rng.choice(config.n_max, n, replace=False).tolist(), key=lambda i: i % 3)

    gains_of_values = int(rng.integers(1, 9))
    narrow = rng.choice([0.0, 0.5])
    tokens = [
        Key(
            i, gain(), max(1, gain() >> gains_of_values), bool(rng.random() < narrow), at == n_k - 1
        )
        for at, i in enumerate(ids(n_k))
    ]
    return SoftmaxHead(
        scores,
        HeadFactor(
            max(m, 0), shift, causal, OutputForm(bool(rng.integers(2)), int(rng.integers(8)))
        ),
        [Query(i, gain()) for i in ids(n_q)],
        tokens,
    )


class SoftmaxLockstep:
    """Heads streamed through the cycle model, and what a device must show meanwhile.

    Parameters
    ----------
    config : Config
    heads : sequence of SoftmaxHead
    planes, v_gains
        As of the unit.
    stall : float
        Probability that a source pauses, and that a sink does not take a beat, in a cycle.
    lazy : bool
        Sinks are ready only after they have seen ``valid``.
    seed : int
        Of the stalls.

    Attributes
    ----------
    model : SoftmaxModel
    taken : dict of list
        By stream, ``(cycle, beat)`` of all beats taken.
    accepted : list of int
        Cycles in which score rows were accepted.
    compared : int
        Cycles compared.
    """

    SINKS = ("weights", "records", "probabilities")

    def __init__(
        self,
        config: Config,
        heads: Sequence[SoftmaxHead],
        *,
        planes: int = 2,
        v_gains: bool = False,
        stall: float = 0.0,
        lazy: bool = False,
        seed: int = 0,
    ) -> None:
        self.config, self.planes, self.lazy, self.stall = config, planes, lazy, stall
        self.model = SoftmaxModel(config, planes=planes, v_gains=v_gains)
        self.layouts = {
            "scores": score_row_layout(config),
            "heads": head_layout(),
            "queries": query_layout(config),
            "keys": key_layout(config),
            "weights": weight_row_layout(config, planes),
            "records": row_record_layout(config, planes),
            "probabilities": probability_row_layout(config),
        }
        self.rng = np.random.default_rng(seed)
        beats: dict[str, list] = {
            "scores": [row for head in heads for row in tile_rows(config, head.scores)],
            "heads": [head.factor for head in heads],
            "queries": [query for head in heads for query in head.queries],
            "keys": [key for head in heads for key in head.keys],
        }
        self.sources = {n: Source(b, stall, self.rng) for n, b in beats.items()}
        self.taken: dict[str, list[tuple[int, Any]]] = {name: [] for name in self.SINKS}
        self.accepted: list[int] = []
        self.wanted = {
            "weights": len(beats["scores"]),
            "records": len(beats["queries"]),
            "probabilities": len(beats["scores"]),
        }
        self.compared = 0
        work = sum(map(len, beats.values())) + 100 * (len(heads) + 1)
        self.deadline = int(6 * work / (1 - stall)) + 1000
        self._draw()

    def _draw(self) -> None:
        self.ready = {
            name: bool(self.rng.random() >= self.stall)
            and (not self.lazy or getattr(self.model, name) is not None)
            for name in self.SINKS
        }

    @property
    def done(self) -> bool:
        """Whether all went in and all came out."""
        return all(source.done for source in self.sources.values()) and all(
            len(self.taken[name]) == count for name, count in self.wanted.items()
        )

    def _pack(self, name: str, beat: Any) -> int:
        if beat is None:
            return 0
        layout = self.layouts[name]
        if isinstance(beat, Row):
            return pack_row(layout, beat)
        if isinstance(beat, RowRecord):
            beat = {**vars(beat), "reciprocal": beat}
        return pack_payload(layout, beat)

    def inputs(self) -> dict[str, int]:
        """Return the values of the input ports in this cycle."""
        ports = {f"{name}__ready": int(ready) for name, ready in self.ready.items()}
        for name, source in self.sources.items():
            ports[f"{name}__valid"] = int(source.offered is not None)
            ports[f"{name}__payload"] = self._pack(name, source.offered)
        return ports

    def _source_ready(self) -> dict[str, bool]:
        model, offered = self.model, {n: s.offered for n, s in self.sources.items()}
        return {
            "scores": model.scores_ready(offered["heads"]),
            "heads": model.heads_ready(offered["scores"], offered["heads"]),
            "queries": model.queries_ready,
            "keys": model.keys_ready,
        }

    def expected(self) -> dict[str, int]:
        """Return the values of the output ports in this cycle, payloads while valid."""
        ports = {f"{name}__ready": int(ready) for name, ready in self._source_ready().items()}
        for name in self.SINKS:
            beat = getattr(self.model, name)
            ports[f"{name}__valid"] = int(beat is not None)
            if beat is not None:
                ports[f"{name}__payload"] = self._pack(name, beat)
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
            got = {name: len(beats) for name, beats in self.taken.items()}
            raise MismatchError(f"deadline: {got} of {self.wanted} after {self.compared} cycles")

    def clock(self) -> None:
        """Pass a clock edge."""
        model, ready = self.model, self._source_ready()
        offered = {name: source.offered for name, source in self.sources.items()}
        if offered["scores"] is not None and ready["scores"]:
            self.accepted.append(model.cycle)
        for name in self.SINKS:
            beat = getattr(model, name)
            if beat is not None and self.ready[name]:
                self.taken[name].append((model.cycle, beat))
        model.clock(
            offered["scores"],
            offered["heads"],
            offered["queries"],
            offered["keys"],
            weights_ready=self.ready["weights"],
            records_ready=self.ready["records"],
            probabilities_ready=self.ready["probabilities"],
        )
        for name, source in self.sources.items():
            source.clock(ready[name])
        self._draw()
