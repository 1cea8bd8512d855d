"""Layers as the core gets them, and runs of its cycle model on them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.core import CoreInputs, CoreModel
from dtqatten.golden.cycles.softmax_beats import HeadFactor, Key, OutputForm, Query
from dtqatten.golden.cycles.streams import StreamRun
from dtqatten.golden.cycles.tiles import load_beats
from dtqatten.golden.cycles.token_ranking import LayerCommand
from dtqatten.golden.numerics import softmax
from dtqatten.golden.numerics.attention import Inputs, Options, Outputs, attention
from dtqatten.golden.numerics.codes import Codes, Granularity, quantize
from dtqatten.golden.numerics.masks import causal_mask
from dtqatten.golden.numerics.order import boundaries, promote
from dtqatten.golden.numerics.select import PAPER_SHARES, counts, select
from dtqatten.golden.traces.trace import Trace

__all__ = [
    "SOURCES",
    "CoreLayer",
    "CoreRun",
    "core_beats",
    "output_parts",
    "random_chain",
    "random_layer",
    "trace_layers",
]

#: Input streams of the core.
SOURCES = ("layers", "heads", "q", "k", "v", "queries", "keys")


@dataclass(frozen=True, eq=False, kw_only=True)
class CoreLayer:
    """A layer as the core gets it, and what the golden block makes of it.

    Parameters
    ----------
    q, k, v : Codes ``[heads, n, d_head]``
        Tokens in the order in which they are streamed, none of them pruned.
    q_bits, k_bits, v_bits : int array ``[n]``
        Precision of each token in each role.
    q_ids, k_ids : int array ``[n]``
        Ids that a causal mask compares.
    causal : bool
    options : Options
        Of the golden block; ``p_planes`` as the configuration has them.
    k0, k1 : int
        Tokens to keep, and of those in 8 bits.
    report, cumulative, fresh : bool
        As of a layer command.
    carried : int array ``[n]``, optional
        Importance of the keys in earlier layers.
    """

    q: Codes
    k: Codes
    v: Codes
    q_bits: NDArray[np.integer]
    k_bits: NDArray[np.integer]
    v_bits: NDArray[np.integer]
    q_ids: NDArray[np.integer]
    k_ids: NDArray[np.integer]
    causal: bool = False
    options: Options = field(default_factory=Options)
    k0: int = 1
    k1: int = 0
    report: bool = False
    cumulative: bool = False
    fresh: bool = False
    carried: NDArray[np.integer] | None = None

    @property
    def golden(self) -> Outputs:
        """Outputs of the golden block."""
        mask = causal_mask(self.q_ids, self.k_ids) if self.causal else None
        return attention(
            Inputs(
                self.q,
                self.k,
                self.v,
                self.q_bits,
                self.k_bits,
                self.v_bits,
                mask,
                self.carried,
            ),
            self.options,
        )

    def beats(self, config: Config) -> dict[str, list]:
        """Return what each source streams for this layer."""
        heads, n_q, d = self.q.codes.shape
        n_k = self.k.codes.shape[1]
        factor = softmax.multiplier(self.q.unit * self.k.unit, d, self.options.softmax_scale)
        form = OutputForm(self.options.output_bits == 8, self.options.output_shift)
        narrow = (self.v_bits == 4) & self.options.p_follows_token
        narrow_queries = (self.q_bits == 4) & self.options.p_follows_query
        beats: dict[str, list] = {
            "layers": [
                LayerCommand(
                    heads,
                    self.k0,
                    self.k1,
                    self.report,
                    self.cumulative,
                    self.fresh,
                    self.options.count_normalize,
                )
            ],
            "heads": [
                HeadFactor(int(m), int(s), self.causal, form)
                for m, s in zip(np.ravel(factor.m), np.ravel(factor.shift), strict=True)
            ],
        }
        for name, codes, bits in (("q", self.q, self.q_bits), ("k", self.k, self.k_bits)):
            beats[name] = [b for c in codes.codes for b in load_beats(config, c, bits == 8)]
        beats["v"] = [
            beat
            for codes in self.v.codes
            for beat in load_beats(
                config,
                codes,
                self.v_bits == 8,
                config.value_nibbles,
                follows=self.options.p_follows_token,
            )
        ]

        def gains(codes: Codes, n: int) -> NDArray[np.int64]:
            return np.full((heads, n), 256) if codes.gains is None else codes.gains.astype(int)

        q_gains, k_gains, v_gains = (
            gains(c, n) for c, n in ((self.q, n_q), (self.k, n_k), (self.v, n_k))
        )
        beats["queries"] = [
            Query(int(i), int(q_gains[h, at]), bool(narrow_queries[at]))
            for h in range(heads)
            for at, i in enumerate(self.q_ids)
        ]
        beats["keys"] = [
            Key(
                int(i),
                int(k_gains[h, at]),
                int(v_gains[h, at]),
                bool(narrow[at]),
                at == n_k - 1,
            )
            for h in range(heads)
            for at, i in enumerate(self.k_ids)
        ]
        return beats


def output_parts(config: Config, layer: CoreLayer) -> Iterator[tuple[int, int, int, int]]:
    """Yield head, query, first and past channel of every beat of a layer's outputs."""
    heads, n_q, d = layer.q.codes.shape
    for head in range(heads):
        for top in range(0, n_q, config.rows):
            for left in range(0, d, config.cols):
                for row in range(top, min(top + config.rows, n_q)):
                    end = min(left + config.cols, d)
                    for at in range(left, end, config.output_lanes):
                        yield head, row, at, min(at + config.output_lanes, end)


def core_beats(config: Config, layers: Sequence[CoreLayer]) -> dict[str, list]:
    """Return what each source streams for layers one after the other."""
    per_layer = [layer.beats(config) for layer in layers]
    return {name: [b for one in per_layer for b in one[name]] for name in SOURCES}


class CoreRun(StreamRun):
    """Layers streamed through the core's cycle model, operands a beat a cycle.

    Parameters
    ----------
    config : Config
    layers : sequence of CoreLayer
    """

    def __init__(self, config: Config, layers: Sequence[CoreLayer]) -> None:
        outputs = sum(len(list(output_parts(config, layer))) for layer in layers)
        super().__init__(
            CoreModel(config),
            core_beats(config, layers),
            {"outputs": outputs},
            ("outputs", "ids", "report"),
        )

    def source_ready(self, offered: Mapping[str, Any]) -> dict[str, bool]:
        """Return whether the model takes what each source offers."""
        return self.model.ready(CoreInputs(**offered))

    def step(self, offered: Mapping[str, Any], ready: Mapping[str, bool]) -> None:
        """Pass a clock edge of the model."""
        self.model.clock(CoreInputs(**offered), dict(ready))


def random_layer(
    config: Config,
    rng: np.random.Generator,
    *,
    heads: int | None = None,
    tokens: int | None = None,
    share: float | None = None,
    causal: bool | None = None,
    after: CoreLayer | None = None,
) -> CoreLayer:
    """Return a layer of random codes; what is not given is drawn too, corners more often.

    Queries and keys are the same tokens with random ids; precisions differ by role. With
    cumulative importance a layer ``after`` another one carries on what that one chose.

    Parameters
    ----------
    config : Config
    rng : numpy.random.Generator
    heads, tokens : int, optional
        How many; ``after`` decides on the tokens.
    share : float, optional
        Probability that a token has 8 bits in a role.
    causal : bool, optional
        Whether there is a causal mask.
    after : CoreLayer, optional
        Layer on whose chosen tokens this one computes.
    """
    carried = None
    if after is not None:
        importance = after.golden.importance
        carried = importance[select(importance, after.k0, after.k1).ids]
        tokens = len(carried)
    heads = int(rng.integers(1, min(config.heads, 3) + 1)) if heads is None else heads
    most = min(config.n_max, 3 * max(config.rows, config.cols))
    n = int(rng.choice([1, most, int(rng.integers(1, most + 1))])) if tokens is None else tokens
    share = float(rng.choice([0.0, 0.3, 1.0])) if share is None else share
    causal = bool(rng.integers(2)) if causal is None else causal
    d = config.d_head

    def codes(*, gained: bool) -> Codes:
        values = np.where(
            rng.random((heads, n, d)) < 0.9,
            rng.integers(-120, 120, (heads, n, d)),
            rng.choice([-120, 119, 0], (heads, n, d)),
        )
        gains = rng.choice([1, 255, 128, 200], (heads, n)) if gained else None
        return Codes(values.astype(np.int8), np.full(heads, rng.choice([1e-4, 3e-3])), gains)

    def bits() -> NDArray[np.int64]:
        return np.where(rng.random(n) < share, 8, 4)

    gained = bool(rng.integers(2))
    ids = rng.permutation(config.n_max)[:n]
    form = int(rng.choice([8, 16]))
    k0 = int(rng.choice([1, n, int(rng.integers(1, n + 1))]))
    return CoreLayer(
        q=codes(gained=gained),
        k=codes(gained=gained),
        v=codes(gained=config.v_gains),
        q_bits=bits(),
        k_bits=bits(),
        v_bits=bits(),
        q_ids=ids,
        k_ids=ids,
        causal=causal,
        options=Options(
            p_planes=config.planes,
            p_follows_token=bool(rng.integers(2)),
            p_follows_query=bool(rng.integers(2)),
            output_bits=form,
            output_shift=int(rng.integers(0, 8)) if form == 8 else 0,
            count_normalize=config.count_normalize and bool(rng.integers(2)),
        ),
        k0=k0,
        k1=int(rng.integers(0, k0 + 1)),
        report=bool(rng.integers(2)),
        cumulative=config.cumulative,
        fresh=config.cumulative and after is None,
        carried=carried,
    )


def random_chain(
    config: Config, rng: np.random.Generator, count: int, **given: Any
) -> list[CoreLayer]:
    """Return random layers as of :func:`random_layer`.

    With cumulative importance about half of them carry on what the one before chose.
    """
    layers: list[CoreLayer] = []
    for _ in range(count):
        carries = config.cumulative and layers and rng.random() < 0.5
        layers.append(random_layer(config, rng, after=layers[-1] if carries else None, **given))
    return layers


def trace_layers(config: Config, trace: Trace, layers: int = 2) -> list[CoreLayer]:
    """Return a recorded layer on its kept tokens, then on those that it chooses itself.

    One layer is recorded: a later one computes on the same Q, K and V, of the tokens that the core
    chose, clustered and promoted to full tiles.
    """
    q, k, v = (
        quantize(x, Granularity.TOKEN if config.v_gains else Granularity.HEAD)
        for x in trace.gathered()
    )
    kept, n8 = np.arange(len(trace.kept)), int((trace.bits == 8).sum())
    result: list[CoreLayer] = []
    for _ in range(layers):
        n = len(kept)
        limits = boundaries(n - n8, n, config.rows, config.cols, config.group)

        def gathered(codes: Codes, places: NDArray[np.integer]) -> Codes:
            gains = None if codes.gains is None else codes.gains[:, places]
            return Codes(codes.codes[:, places], codes.scale, gains)

        keep, wide = counts(n, PAPER_SHARES)
        layer = CoreLayer(
            q=gathered(q, kept),
            k=gathered(k, kept),
            v=gathered(v, kept),
            q_bits=promote(limits.q, n),
            k_bits=promote(limits.k, n),
            v_bits=promote(limits.v, n),
            q_ids=trace.kept[kept],
            k_ids=trace.kept[kept],
            options=Options(p_planes=config.planes, output_bits=8, output_shift=2),
            k0=keep,
            k1=wide,
            report=True,
        )
        result.append(layer)
        chosen = select(layer.golden.importance, keep, wide)
        kept, n8 = kept[chosen.ids], wide
    return result
