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
from dtqatten.golden.numerics.calls import shared
from dtqatten.golden.numerics.codes import Codes, Granularity, quantize
from dtqatten.golden.numerics.masks import position_mask
from dtqatten.golden.numerics.order import boundaries, promote
from dtqatten.golden.numerics.select import PAPER_SHARES, counts, select
from dtqatten.golden.numerics.sinks import NO_SINK
from dtqatten.golden.traces.trace import Trace

__all__ = [
    "SOURCES",
    "CoreLayer",
    "CoreRun",
    "core_beats",
    "output_parts",
    "trace_layers",
]

#: Input streams of the core.
SOURCES = ("layers", "heads", "q", "k", "v", "queries", "keys")


@dataclass(frozen=True, eq=False, kw_only=True)
class CoreLayer:
    """A layer as the core gets it, and what the golden block makes of it.

    Parameters
    ----------
    q : Codes ``[heads, m, d_head]``
    k, v : Codes ``[kv_heads, n, d_head]``
        Tokens in the order in which they are streamed, none of them pruned. ``kv_heads`` is
        ``heads`` unless the core groups heads.
    q_bits : int array ``[m]``
    k_bits, v_bits : int array ``[n]``
        Precision of each token in each role.
    q_ids, k_ids : int array ``[m]``, ``[n]``
        Positions that masks compare.
    causal : bool
    window : int, optional
        Positions that a query sees.
    sinks : int16 array ``[heads]``, optional
    by_token : bool
        Of grouped heads: each token's queries follow each other; if not, each head's.
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
    window: int | None = None
    sinks: NDArray[np.int16] | None = None
    by_token: bool = True
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
        heads = len(self.q.codes)
        return attention(
            Inputs(
                self.q,
                shared(self.k, heads),
                shared(self.v, heads),
                self.q_bits,
                self.k_bits,
                self.v_bits,
                position_mask(self.q_ids, self.k_ids, causal=self.causal, window=self.window),
                self.carried,
                sinks=self.sinks,
            ),
            self.options,
        )

    @property
    def rows(self) -> list[list[tuple[int, int]]]:
        """Query head and query of each row of scores, by head of K and V."""
        own, (heads, n_q, _) = len(self.k.codes), self.q.codes.shape
        group = heads // own
        places = [
            divmod(at, group) if self.by_token else divmod(at, n_q)[::-1]
            for at in range(n_q * group)
        ]
        return [[(head * group + i, query) for query, i in places] for head in range(own)]

    def beats(self, config: Config) -> dict[str, list]:
        """Return what each source streams for this layer."""
        heads, n_k, d = self.k.codes.shape
        unit = shared(self.k, len(self.q.codes)).unit
        factor = softmax.multiplier(self.q.unit * unit, d, self.options.softmax_scale)
        m, shift = (np.ravel(value).tolist() for value in (factor.m, factor.shift))
        rows = self.rows
        sinks = [NO_SINK] * len(m) if self.sinks is None else self.sinks.tolist()
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
                # Grouped, queries bring factors and sinks of their own.
                HeadFactor(
                    m[own[0][0]],
                    shift[own[0][0]],
                    self.causal,
                    form,
                    self.window or 0,
                    sinks[own[0][0]],
                )
                for own in rows
            ],
        }
        beats["q"] = [
            beat
            for own in rows
            for beat in load_beats(
                config,
                np.stack([self.q.codes[place] for place in own]),
                np.array([self.q_bits[query] == 8 for _, query in own]),
                limited=False,
            )
        ]
        beats["k"] = [b for c in self.k.codes for b in load_beats(config, c, self.k_bits == 8)]
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

        def gains(codes: Codes) -> NDArray[np.int64]:
            plain = np.full(codes.codes.shape[:2], 256)
            return plain if codes.gains is None else codes.gains.astype(int)

        q_gains, k_gains, v_gains = (gains(codes) for codes in (self.q, self.k, self.v))
        beats["queries"] = [
            Query(
                int(self.q_ids[query]),
                int(q_gains[head, query]),
                bool(narrow_queries[query]),
                m[head],
                shift[head],
                sinks[head],
                last=at == len(own) - 1,
            )
            for own in rows
            for at, (head, query) in enumerate(own)
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
    d = layer.q.codes.shape[-1]
    for rows in layer.rows:
        for top in range(0, len(rows), config.rows):
            for left in range(0, d, config.cols):
                for head, query in rows[top : top + config.rows]:
                    end = min(left + config.cols, d)
                    for at in range(left, end, config.output_lanes):
                        yield head, query, at, min(at + config.output_lanes, end)


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
