"""All that the softmax makes of a row block: rows of weights and probabilities, and records."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.softmax_beats import HeadFactor, Key, Query, RowRecord, Verdict
from dtqatten.golden.cycles.tiles import Row, padded
from dtqatten.golden.numerics import softmax
from dtqatten.golden.numerics.codes import BoolArray, IntArray, apply_gain
from dtqatten.golden.numerics.masks import position_mask
from dtqatten.golden.numerics.narrowing import narrow
from dtqatten.golden.numerics.score_terms import OCTAVE_BITS, biased
from dtqatten.golden.numerics.segments import RowScale
from dtqatten.golden.numerics.sinks import sink_weight
from dtqatten.golden.numerics.weights import WeightCode

__all__ = ["PassingRow", "ScoredRow", "passing_rows", "verdict"]


@dataclass(frozen=True, eq=False)
class ScoredRow:
    """A row of scores with what belongs to it: its tile's keys, its query and its head's factor.

    ``biases`` are those of the keys, for its query head.
    """

    row: Row
    keys: Sequence[Key]
    query: Query
    head: HeadFactor
    biases: Sequence[int] = ()


@dataclass(frozen=True, eq=False)
class PassingRow:
    """A row of a tile between passes; ``size`` rows have its block if it is the last of them."""

    weights: Row
    probabilities: Row
    record: RowRecord | None
    size: int


@dataclass(frozen=True, eq=False)
class _Exponentials:
    """Exponentials of a row block, and what else follows from its scores."""

    tiles: list[Sequence[ScoredRow]]
    keys: list[Key]
    queries: list[Query]
    factors: Sequence[Query | HeadFactor]
    scale: RowScale
    seen: BoolArray
    maximum: IntArray
    e16: IntArray


def verdict(config: Config, block: Sequence[ScoredRow], rows: int) -> Verdict:
    """Return which of a trial's rows are flat, ``rows`` a tile."""
    sums = _exponentials(config, block, rows).e16.sum(-1)
    flat = int((sums > block[0].head.flat_sum).sum())
    return Verdict(flat > 0, flat)


def _exponentials(config: Config, block: Sequence[ScoredRow], rows: int) -> _Exponentials:
    tiles = [block[at : at + rows] for at in range(0, len(block), rows)]
    keys = [key for tile in tiles for key in tile[0].keys[: tile[0].row.keys]]
    scores = np.concatenate(
        [[scored.row.values[: scored.row.keys] for scored in tile] for tile in tiles], axis=1
    )
    queries, head = [scored.query for scored in tiles[0]], block[0].head
    ids = np.array([key.id for key in keys]), np.array([query.id for query in queries])
    seen = position_mask(ids[1], ids[0], causal=head.causal, window=head.window or None)
    factors = queries if config.grouped else [head] * len(queries)
    # A row has a shift of its own, as a head has in the golden block.
    scale = RowScale(
        apply_gain(
            np.array([factor.multiplier for factor in factors]),
            np.array([query.gain for query in queries]),
        )[:, None],
        np.array([factor.shift for factor in factors]),
    )
    of_query, of_key = (
        np.array([-1 if token.negative else 1 for token in x]) for x in (queries, keys)
    )
    gained = apply_gain(scores, np.array([key.gain for key in keys])) * of_query[:, None] * of_key
    gained = gained[:, None]
    if config.bias_heads:
        # Rows are heads here, each with biases of its own.
        rows_biases = np.concatenate([[scored.biases for scored in tile] for tile in tiles], axis=1)
        gained, scale = biased(gained, scale, rows_biases.astype(np.int64))
    t, maximum = softmax.exponent(
        gained,
        scale.factor,
        scale.shift,
        seen[:, None],
    )
    e16 = softmax.exponential(t[:, 0], seen)
    return _Exponentials(tiles, keys, queries, factors, scale, seen, maximum, e16)


def passing_rows(config: Config, block: Sequence[ScoredRow], rows: int) -> list[PassingRow]:
    """Return what becomes of a row block's rows, tile by tile, ``rows`` a tile."""
    made = _exponentials(config, block, rows)
    tiles, keys, queries, factors = made.tiles, made.keys, made.queries, made.factors
    scale, seen, maximum, e16 = made.scale, made.seen, made.maximum, made.e16
    head = block[0].head
    edges = np.cumsum([0, *(tile[0].row.keys for tile in tiles)])
    code = WeightCode.of(config)
    gains = np.array([key.value_gain for key in keys]) if config.v_gains else None
    bits = np.array([4 if key.narrow else 8 for key in keys])
    query_bits = np.array([4 if query.narrow else 8 for query in queries])
    narrowed = narrow(
        e16[None],
        gains,
        code=code,
        bits=bits,
        query_bits=query_bits,
        tiles=np.repeat(np.arange(len(tiles)), np.diff(edges)),
    )
    lead, divisor = narrowed.lead[0], narrowed.divisor[0]
    exponents = np.zeros_like(e16) if narrowed.exponents is None else narrowed.exponents[0]
    weights = narrowed.p[0] >> code.fraction - exponents
    total = e16.sum(-1)
    if config.sinks:
        sinks = np.array([factor.sink for factor in factors])
        e, weight = sink_weight(sinks, maximum, scale, code)
        sees = total > 0
        total = total + np.where(sees, e[:, 0], 0)
        if not config.merge_rows:
            divisor = divisor + np.where(sees, weight[:, 0], 0)
    probability = softmax.normalized(e16, total)
    mantissa, exponent = softmax.reciprocal(divisor)
    lowest = -(1 << (OCTAVE_BITS if config.bias_heads else config.score_width) - 1)
    passing = []
    for number, tile in enumerate(tiles):
        span = slice(edges[number], edges[number + 1])
        of_tile = [padded(each[:, span], config.cols) for each in (weights, probability, seen)]
        for at, scored in enumerate(tile):
            row = scored.row
            place = (row.keys, row.last_row, row.last_tile, row.last_block)
            row_weights, row_probability, sees = (each[at] for each in of_tile)
            record = RowRecord(
                int(divisor[at]),
                int(mantissa[at]),
                int(exponent[at]),
                int(lead[at]),
                head.output,
                row.last_row,
                row.last_block,
                # Of a row that sees no key: the lowest score, which stands for those hidden.
                int(maximum[at, 0]) if total[at] else lowest,
                int(scale.factor[at, 0]),
                int(scale.shift[at]),
                factors[at].sink,
                head.first_segment,
                head.last_segment,
                head.restart,
            )
            passing.append(
                PassingRow(
                    Row(
                        row_weights,
                        *place,
                        narrow=queries[at].narrow,
                        exponent=int(exponents[at, span.start]),
                        tile=row.tile,
                        share=head.share,
                    ),
                    Row(
                        row_probability,
                        *place,
                        sees if config.count_normalize else None,
                        tile=row.tile,
                        partial=not (head.first_segment and head.last_segment),
                    ),
                    record if row.last_tile else None,
                    len(block) if row.last_tile and row.last_row else 0,
                )
            )
    return passing
