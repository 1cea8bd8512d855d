"""The attention block on integers: what the machine computes, bit for bit."""

from dataclasses import dataclass, replace

import numpy as np

from dtqatten.golden.numerics import softmax
from dtqatten.golden.numerics.codes import BoolArray, Codes, FloatArray, IntArray, apply_gain
from dtqatten.golden.numerics.gains import check_signs
from dtqatten.golden.numerics.importance import accumulate, check_room, importance
from dtqatten.golden.numerics.inputs import Inputs
from dtqatten.golden.numerics.local_values import SHARE_ALL, multiplied
from dtqatten.golden.numerics.narrowing import Narrowed, narrow
from dtqatten.golden.numerics.options import Options
from dtqatten.golden.numerics.output import OUTPUT_FRACTION, normalize, requantize
from dtqatten.golden.numerics.products import scores, weighted_sum
from dtqatten.golden.numerics.progressive import Trial, tried
from dtqatten.golden.numerics.score_terms import biased, in_octaves
from dtqatten.golden.numerics.segments import Partial, RowScale, aligned, merge
from dtqatten.golden.numerics.sinks import sink_weight

__all__ = [
    "Inputs",
    "Options",
    "Outputs",
    "attention",
    "row_scale",
]


@dataclass(frozen=True, eq=False)
class Outputs:
    """What one block computes, intermediate steps included.

    Parameters
    ----------
    output : int16 array (int8 with ``output_bits`` 8) ``[..., heads, n_q, d]``
        Attention output.
    output_unit : float64 array ``[..., heads]``
        Worth of one unit of ``output``.
    importance : uint32 array ``[..., n_k]``
        Importance, in units of ``2**-16`` of a probability.
    scores : int64 array ``[..., heads, n_q, n_k]``
        Integer dot products, at most 23 bits, before any gain.
    e16 : int64 array ``[..., heads, n_q, n_k]``
        Exponentials, relative to the maximum of the key's segment.
    probability : int64 array ``[..., heads, n_q, n_k]``
        Normalized 16-bit probabilities, the addends of the importance.
    weights : Narrowed
        Narrowed weights, relative to their segment's largest; lead and divisor of the whole row,
        its sink included.
    sums : int64 array ``[..., heads, n_q, d]``
        P x V of the whole row before the division, at most 33 bits, 36 if merged.
    partials : tuple of segments.Partial
        Results of the segments.
    trial : Trial, optional
        With ``flat_sum``: which rows are flat in 4 bits.
    """

    output: IntArray
    output_unit: FloatArray
    importance: IntArray
    scores: IntArray
    e16: IntArray
    probability: IntArray
    weights: Narrowed
    sums: IntArray
    partials: tuple[Partial, ...]
    trial: Trial | None = None

    @property
    def values(self) -> FloatArray:
        """The output as float64."""
        return self.output * self.output_unit[..., None, None]


def attention(inputs: Inputs, options: Options | None = None) -> Outputs:
    """Run one attention block on integers.

    Scores, base-2 softmax, narrowed P, P x V, one division a row and importance, as the functions
    of :mod:`~dtqatten.golden.numerics.products`, :mod:`~dtqatten.golden.numerics.softmax`,
    :mod:`~dtqatten.golden.numerics.output` and :mod:`~dtqatten.golden.numerics.importance` say.
    Segments are merged in the order of ``inputs``, then the sink joins
    (:mod:`~dtqatten.golden.numerics.segments`, :mod:`~dtqatten.golden.numerics.sinks`). A row that
    sees no key has output 0 and adds no importance, with a sink or without.

    Parameters
    ----------
    inputs : Inputs
        Operands.
    options : Options, optional
        Choices; the defaults if None.

    Raises
    ------
    ValueError
        If a precision is not 0, 4 or 8, a gain is none of the options', the importance could exceed
        32 bits, a tiling is missing, or rows of several segments, or with caps or biases of pairs,
        are to be tried in 4 bits.
    """
    chosen = Options() if options is None else options
    q, k, v = inputs.q, inputs.k, inputs.v
    n_q = q.codes.shape[-2]
    if chosen.value_share < SHARE_ALL and inputs.tiling is None:
        raise ValueError(
            f"value_share is {chosen.value_share}, but there is no tiling: say which queries "
            "share a row block and which keys a group"
        )
    if chosen.block_exponents and inputs.tiling is None:
        raise ValueError("block_exponents, but there is no tiling: say which keys share a tile")
    for name, codes in (("Q", q), ("K", k)):
        check_signs(name, codes.gains, chosen.signed_gains)
    visible = inputs.visible()
    # Refuse before computing: heads * queries decides, not the data.
    counted = n_q if inputs.observed is None else int(np.sum(inputs.observed, -1).max(initial=0))
    held = None if chosen.importance_saturates else inputs.importance
    check_room(q.codes.shape[-3] * counted, held)

    scale = row_scale(q, k, chosen.softmax_scale)
    trial = None if chosen.flat_sum is None else _trial(inputs, chosen.flat_sum, visible, scale)
    s = scores(q.codes, k.codes, inputs.q_bits, inputs.k_bits) if trial is None else trial.scores
    gained, scale = _scored(inputs, s, scale)
    found = [_segment(inputs, chosen, gained, visible, scale, span) for span in inputs.spans()]
    first, *later = range(len(found)) if inputs.order is None else inputs.order
    row = found[first].partial
    for number in later:
        row = merge(row, found[number].partial, scale, chosen.p_planes)
    total = row.total
    e16 = np.concatenate([x.e16 for x in found], axis=-1)
    near = [aligned(x.e16, x.partial.maximum, row.maximum, scale) for x in found]
    if inputs.sinks is not None:
        e, weight = sink_weight(inputs.sinks, row.maximum, scale, chosen.weight_code)
        sees = row.total > 0
        total = total + np.where(sees, e, 0)
        row = replace(row, divisor=row.divisor + np.where(sees, weight, 0))
    probability = softmax.normalized(np.concatenate(near, axis=-1), total)
    p = np.concatenate([x.narrowed.p for x in found], axis=-1)
    exponents = [x.narrowed.exponents for x in found if x.narrowed.exponents is not None]
    raised = np.concatenate(exponents, axis=-1) if exponents else None
    weights = Narrowed(p, row.lead, row.divisor, raised)
    output = normalize(row.sums, weights)
    unit = v.unit / (1 << OUTPUT_FRACTION)
    if chosen.output_bits == 8:
        output = requantize(output, chosen.output_shift)
        unit = v.unit / (1 << chosen.output_shift)
    added = _importance(inputs, chosen, probability, visible)
    partials = tuple(x.partial for x in found)
    return Outputs(output, unit, added, s, e16, probability, weights, row.sums, partials, trial)


def row_scale(q: Codes, k: Codes, softmax_scale: float | None = None) -> RowScale:
    """Return multiplier and shift of each row: steps 3 and 4 of the block.

    Parameters
    ----------
    q, k : Codes ``[..., heads, n_q, d]``, ``[..., heads, n_k, d]``
    softmax_scale : float, optional
        Factor of the scores; ``1/sqrt(d)`` if None.
    """
    rows, d = q.codes.shape[-2:]
    factor = softmax.multiplier(q.unit * k.unit, d, softmax_scale)
    return RowScale(softmax.row_multiplier(factor, q.gains, rows), factor.shift)


def _scored(inputs: Inputs, s: IntArray, scale: RowScale) -> tuple[IntArray, RowScale]:
    """Multiply scores by the gains of their keys, cap them and add biases; return their scale.

    A score is negated after it is rounded, where the gain of either its query or its key is.
    """
    gained = s
    if inputs.k.gains is not None:
        gains = inputs.k.gains[..., None, :]
        gained = apply_gain(s, np.abs(gains)) * np.sign(gains)
    if inputs.q.gains is not None:
        gained = gained * np.sign(inputs.q.gains)[..., None]
    if inputs.key_bias is not None:
        # No caps or biases of pairs then: Inputs refuses both at once.
        return biased(gained, scale, inputs.key_bias)
    if inputs.softcap is None and inputs.bias is None:
        return gained, scale
    return in_octaves(gained, scale, inputs.softcap, inputs.bias)


def _trial(inputs: Inputs, limit: int, visible: BoolArray, scale: RowScale) -> Trial:
    """Compute the scores of all keys in 4 bits, and in 8 where a row block has a flat row."""
    if inputs.tiling is None:
        raise ValueError(f"flat_sum is {limit}, but there is no tiling: say who shares a row block")
    if inputs.cuts:
        raise ValueError(f"flat_sum is {limit} with keys in {len(inputs.cuts) + 1} segments: use 1")
    if inputs.softcap is not None or inputs.bias is not None:
        raise ValueError(f"flat_sum is {limit} with soft caps or biases of pairs: use one")
    q, k = inputs.q, inputs.k
    shape = (*k.codes.shape[:-3], k.codes.shape[-2])
    here = np.ones(shape, bool) if inputs.k_bits is None else np.asarray(inputs.k_bits) > 0
    narrow, wide = (
        scores(q.codes, k.codes, inputs.q_bits, np.where(here, bits, 0)) for bits in (4, 8)
    )
    seen = visible[..., None, :, :]

    def exponentials(s: IntArray) -> IntArray:
        scored, of = _scored(inputs, s, scale)
        t, _ = softmax.exponent(scored, of.factor, of.shift, seen)
        return softmax.exponential(t, seen)

    return tried(narrow, wide, limit, inputs.tiling.blocks, exponentials)


@dataclass(frozen=True, eq=False)
class _Segment:
    """Exponentials and weights of a segment's keys, and its partial result."""

    e16: IntArray
    narrowed: Narrowed
    partial: Partial


def _segment(
    inputs: Inputs,
    options: Options,
    gained: IntArray,
    visible: BoolArray,
    scale: RowScale,
    span: slice,
) -> _Segment:
    """Compute one segment of each row."""
    seen = visible[..., None, :, span]
    t, maximum = softmax.exponent(gained[..., span], scale.factor, scale.shift, seen)
    e16 = softmax.exponential(t, seen)
    bits = None if inputs.v_bits is None else np.asarray(inputs.v_bits)[..., span]
    narrowed = narrow(
        e16,
        None if inputs.v.gains is None else inputs.v.gains[..., span],
        code=options.weight_code,
        bits=bits if options.p_follows_token else None,
        query_bits=inputs.q_bits if options.p_follows_query else None,
        tiles=None if inputs.tiling is None else inputs.tiling.tiles[..., span],
    )
    p = narrowed.p
    if inputs.tiling is not None and options.value_share < SHARE_ALL:
        p = p * multiplied(p, options.value_share, inputs.tiling, span)
    sums = weighted_sum(p, inputs.v.codes[..., span, :], bits)
    partial = Partial(maximum, e16.sum(-1), narrowed.divisor, narrowed.lead, sums)
    return _Segment(e16, narrowed, partial)


def _importance(
    inputs: Inputs, options: Options, probability: IntArray, visible: BoolArray
) -> IntArray:
    """Add what queries saw to the importance of the keys."""
    if inputs.observed is not None:
        counts = np.asarray(inputs.observed, bool)[..., :, None]
        probability, visible = np.where(counts[..., None, :, :], probability, 0), visible & counts
    seen = visible.sum(-2) if options.count_normalize else None
    added = importance(probability, seen)
    return accumulate(added, inputs.importance, saturate=options.importance_saturates)
