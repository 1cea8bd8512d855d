"""Layers as the core gets them."""

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.core_head import CoreHead
from dtqatten.golden.cycles.core_values import fetched_keys, token_gains
from dtqatten.golden.cycles.softmax_beats import (
    Bias,
    HeadFactor,
    Key,
    OutputForm,
    Query,
    bias_beats,
)
from dtqatten.golden.cycles.tiles import load_beats
from dtqatten.golden.cycles.token_ranking import Held, LayerCommand
from dtqatten.golden.numerics import softmax
from dtqatten.golden.numerics.attention import Inputs, Options, Outputs, attention
from dtqatten.golden.numerics.calls import shared
from dtqatten.golden.numerics.codes import Codes
from dtqatten.golden.numerics.local_values import SHARE_ALL, Tiling, tiling
from dtqatten.golden.numerics.masks import position_mask
from dtqatten.golden.numerics.select import Selection, select
from dtqatten.golden.numerics.sinks import NO_SINK

__all__ = ["SOURCES", "CoreLayer", "output_parts"]

#: Input streams of every core.
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
    key_bias : int array ``[heads, n]``, optional
        Biases of the keys; given where the core has ``bias_heads``.
    biased : bool
        The core is given them; if not, they are 0.
    by_token : bool
        Of grouped heads: each token's queries follow each other; if not, each head's.
    options : Options
        Of the golden block; ``p_planes``, ``unsigned_weights`` and ``block_exponents`` as the
        configuration has them.
    k0, k1 : int
        Tokens to keep, and of those in 8 bits.
    report, cumulative, fresh : bool
        As of a layer command.
    carried : int array ``[n]``, optional
        Importance of the keys in earlier layers.
    held : int array ``[n]``, optional
        What the keys have from before, which is added to.
    protected : bool array ``[n]``, optional
        With ``held``: keys that rank first, at most ``k0``.
    cuts : tuple of int
        Places at which segments of the keys begin, besides 0. With any, module B takes no part.
    tiling : Tiling, optional
        With a ``value_share``, a ``flat_sum`` or ``block_exponents`` of the options: :meth:`tiled`
        of the configuration.
    chosen_values : bool
        V comes after the choice, of chosen groups alone: with a ``value_share``, and heads of one
        row block.
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
    key_bias: NDArray[np.integer] | None = None
    biased: bool = True
    by_token: bool = True
    options: Options = field(default_factory=Options)
    k0: int = 1
    k1: int = 0
    report: bool = False
    cumulative: bool = False
    fresh: bool = False
    carried: NDArray[np.integer] | None = None
    held: NDArray[np.integer] | None = None
    protected: NDArray[np.bool_] | None = None
    cuts: tuple[int, ...] = ()
    tiling: Tiling | None = None
    chosen_values: bool = False

    @property
    def chosen(self) -> Selection:
        """Keys that are kept, by their places."""
        importance = self.golden.importance
        return select(importance, self.k0, self.k1, protected=self.protected)

    @functools.cached_property
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
                self.carried if self.held is None else self.held,
                self.cuts,
                self.sinks,
                tiling=self.tiling,
                key_bias=self.key_bias,
            ),
            replace(self.options, importance_saturates=self.held is not None),
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

    def tiled(self, config: Config) -> Tiling:
        """Return row blocks, groups and tiles of keys on the arrays of a configuration."""
        blocks = np.full(self.q.codes.shape[:2], -1)
        number = 0
        for rows in self.rows:
            most = config.merge_rows if self.cuts else len(rows)
            for top in range(0, len(rows), most):
                for first in range(top, min(top + most, len(rows)), config.rows):
                    for place in rows[first : min(first + config.rows, top + most)]:
                        blocks[place] = number
                    number += 1
        tile = (config.rows, config.cols, config.group)
        return replace(tiling(1, 1, len(self.k_ids), tile, cuts=self.cuts), blocks=blocks)

    def heads(self, config: Config) -> Iterator[CoreHead]:
        """Yield the layer's heads as the core computes them.

        In segments, as many heads of K and V at a time as have their rows held, or one head's rows
        in chunks.
        """
        if not self.cuts:
            whole = slice(0, len(self.k_ids))
            yield from (CoreHead(own, rows, whole) for own, rows in enumerate(self.rows))
            return
        most = config.merge_rows
        together = max(1, most // len(self.rows[0]))
        edges = [0, *self.cuts, len(self.k_ids)]
        spans = [slice(*pair) for pair in itertools.pairwise(edges)]
        numbered = list(enumerate(self.rows))
        for first in range(0, len(numbered), together):
            held = numbered[first : first + together]
            for top in range(0, len(self.rows[0]), most):
                for number, span in enumerate(spans):
                    for at, (own, rows) in enumerate(held):
                        yield CoreHead(
                            own,
                            rows[top : top + most],
                            span,
                            number == 0,
                            number == len(spans) - 1,
                            at == len(held) - 1,
                        )

    def beats(self, config: Config) -> dict[str, list]:
        """Return what each source streams for this layer."""
        heads, _, d = self.k.codes.shape
        unit = shared(self.k, len(self.q.codes)).unit
        factor = softmax.multiplier(self.q.unit * unit, d, self.options.softmax_scale)
        sinks = np.full(len(self.q.codes), NO_SINK) if self.sinks is None else self.sinks
        # Of each query head: multiplier, shift and sink.
        columns = (np.ravel(x).tolist() for x in (factor.m, factor.shift, sinks))
        factors = list(zip(*columns, strict=True))
        command = LayerCommand(
            heads,
            self.k0,
            self.k1,
            self.report,
            self.cumulative,
            self.fresh,
            self.options.count_normalize,
            self.held is not None,
        )
        # Segments have no importance.
        beats: dict[str, list] = {"layers": [] if self.cuts else [command]}
        beats |= {name: [] for name in SOURCES if name != "layers"}
        if config.held_importance:
            beats["held"] = self._held()
        if config.bias_heads:
            beats["biases"] = self._biases(config)
        again = None if self.options.flat_sum is None else self._again
        for head in self.heads(config):
            for name, found in self._head_beats(config, head, factors, again).items():
                beats[name] += found
        return beats

    @property
    def _again(self) -> NDArray[np.bool_]:
        """Which rows are computed in 8 bits, ``[heads, m]``."""
        trial = self.golden.trial
        assert trial is not None
        return trial.again

    def _held(self) -> list[Held]:
        """Return what the core is told of the keys from before."""
        if self.held is None:
            return []
        safe = np.zeros(len(self.held), bool) if self.protected is None else self.protected
        return [Held(int(h), bool(p)) for h, p in zip(self.held, safe, strict=True)]

    def _biases(self, config: Config) -> list[Bias]:
        """Return the biases that the core is told: of a head those of all its query heads."""
        if not self.biased or self.key_bias is None:
            return []
        by_head = np.split(self.key_bias, len(self.k.codes))
        heads = self.heads(config)
        return [beat for head in heads for beat in bias_beats(by_head[head.own][:, head.span])]

    def _head_beats(
        self,
        config: Config,
        head: CoreHead,
        factors: list[tuple[int, int, int]],
        again: NDArray[np.bool_] | None,
    ) -> dict[str, list]:
        """Return what each source streams for a head.

        Parameters
        ----------
        config : Config
        head : CoreHead
        factors : list of tuple
            Multiplier, shift and sink of each query head.
        again : bool array, optional
            Rows that are computed in 8 bits, where keys have 4 bits first.
        """
        own, rows, span = head.own, head.rows, head.span
        narrow = (self.v_bits == 4) & self.options.p_follows_token
        narrow_queries = (self.q_bits == 4) & self.options.p_follows_query
        q_gains, k_gains, v_gains = (token_gains(codes) for codes in (self.q, self.k, self.v))
        # Grouped, queries bring factors and sinks of their own.
        multiplier, shift, sink = factors[rows[0][0]]
        factor = HeadFactor(
            multiplier,
            shift,
            self.causal,
            OutputForm(self.options.output_bits == 8, self.options.output_shift),
            self.window or 0,
            sink,
            *(head.first_segment, head.last_segment, head.restart),
            progressive=again is not None,
            flat_sum=self.options.flat_sum or 0,
            biased=self.biased and self.key_bias is not None,
            share=self.options.value_share if self.chosen_values else 0,
        )
        mine = np.arange(span.start, span.stop)
        if self.chosen_values:
            mine = mine[fetched_keys(config, self, rows)]
        wide = [self.k_bits[span] == 8]
        if again is not None:
            wide = [np.full(len(self.k_ids), bool(late)) for late in (False, again[rows[0]])]
        return {
            "heads": [factor],
            "q": len(wide)
            * load_beats(
                config,
                np.stack([self.q.codes[at] for at in rows]),
                np.array([self.q_bits[query] == 8 for _, query in rows]),
                limited=False,
            ),
            "k": [
                beat for each in wide for beat in load_beats(config, self.k.codes[own, span], each)
            ],
            "v": load_beats(
                config,
                self.v.codes[own, mine],
                self.v_bits[mine] == 8,
                config.value_nibbles,
                follows=self.options.p_follows_token,
                share=self.options.value_share % SHARE_ALL,
                chosen=self.chosen_values,
            ),
            "queries": [
                Query(
                    int(self.q_ids[query]),
                    abs(int(q_gains[of, query])),
                    bool(narrow_queries[query]),
                    *factors[of],
                    last=at == len(rows) - 1,
                    member=of % (len(self.q.codes) // len(self.k.codes)),
                    negative=bool(q_gains[of, query] < 0),
                )
                for at, (of, query) in enumerate(rows)
            ],
            "keys": [
                Key(
                    int(self.k_ids[at]),
                    abs(int(k_gains[own, at])),
                    int(v_gains[own, at]),
                    bool(narrow[at]),
                    at == span.stop - 1,
                    bool(k_gains[own, at] < 0),
                )
                for at in range(span.start, span.stop)
            ],
        }


def output_parts(config: Config, layer: CoreLayer) -> Iterator[tuple[int, int, int, int]]:
    """Yield head, query, first and past channel of every beat of a layer's outputs."""
    d = layer.q.codes.shape[-1]
    for computed in layer.heads(config):
        rows = computed.rows if computed.last_segment else []
        for top in range(0, len(rows), config.rows):
            for left in range(0, d, config.cols):
                for head, query in rows[top : top + config.rows]:
                    end = min(left + config.cols, d)
                    for at in range(left, end, config.output_lanes):
                        yield head, query, at, min(at + config.output_lanes, end)
