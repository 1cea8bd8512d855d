"""The attention block on integers: what the machine computes, bit for bit."""

from dataclasses import dataclass

import numpy as np

from dtqatten.golden.numerics import softmax
from dtqatten.golden.numerics.codes import BoolArray, Codes, FloatArray, IntArray, apply_gain
from dtqatten.golden.numerics.importance import accumulate, check_room, importance
from dtqatten.golden.numerics.output import OUTPUT_FRACTION, normalize, requantize
from dtqatten.golden.numerics.products import scores, weighted_sum

__all__ = [
    "Inputs",
    "Options",
    "Outputs",
    "attention",
]


@dataclass(frozen=True, kw_only=True)
class Options:
    """Choices of the block.

    Parameters
    ----------
    p_planes : int
        Nibbles of a weight of P x V: 2 (8 bits) or 3 (12 bits).
    p_follows_token : bool
        A weight keeps only its highest plane where its token's V has 4 bits.
    p_follows_query : bool
        A weight keeps only its highest plane where its query has 4 bits. With both, a pair of
        tokens has a weight of more than 4 bits only where both have 8.
    output_bits : int
        16: eight fraction bits. 8: a balanced code.
    output_shift : int
        Left shift, 0 to 7, of an 8-bit output before it is rounded: outputs, being averages, are
        smaller than V. The unit shrinks by ``2**output_shift``.
    count_normalize : bool
        Divide a token's importance by the number of queries that saw it.
    softmax_scale : float, optional
        Factor of the scores; ``1/sqrt(d)`` if None.

    Raises
    ------
    ValueError
        If a value is not one of those listed.
    """

    p_planes: int = 2
    p_follows_token: bool = False
    p_follows_query: bool = False
    output_bits: int = 16
    output_shift: int = 0
    count_normalize: bool = False
    softmax_scale: float | None = None

    def __post_init__(self) -> None:
        for name, values in (("p_planes", (2, 3)), ("output_bits", (8, 16))):
            if getattr(self, name) not in values:
                raise ValueError(f"{name} is {getattr(self, name)!r}: choose one of {values}")
        if not 0 <= self.output_shift <= OUTPUT_FRACTION - 1:
            raise ValueError(
                f"output_shift is {self.output_shift}, outside 0..{OUTPUT_FRACTION - 1}: "
                "choose a value in that range"
            )
        if self.output_shift and self.output_bits == 16:
            raise ValueError(
                f"output_shift is {self.output_shift} with a 16-bit output: use 0, or output_bits 8"
            )


@dataclass(frozen=True, eq=False)
class Inputs:
    """One block's operands; leading dimensions before ``heads`` are a batch.

    Parameters
    ----------
    q : Codes ``[..., heads, n_q, d]``
    k, v : Codes ``[..., heads, n_k, d]``
    q_bits : int array ``[..., n_q]``, optional
    k_bits, v_bits : int array ``[..., n_k]``, optional
        Precision of each token: 8, 4 or 0; None is 8 everywhere. A query or key of 0 bits is
        pruned, which gives exactly what leaving it out gives. V at 0 bits alone leaves the weights
        as they are and adds nothing (local V pruning).
    mask : bool array ``[..., n_q, n_k]``, optional
        True where a query sees a key; all heads alike. None: everything is visible.
    importance : uint32 array ``[..., n_k]``, optional
        Importance of the tokens in earlier blocks, to be added to.

    Raises
    ------
    ValueError
        If shapes disagree or a row has more keys than the divisor has bits for.
    """

    q: Codes
    k: Codes
    v: Codes
    q_bits: IntArray | None = None
    k_bits: IntArray | None = None
    v_bits: IntArray | None = None
    mask: BoolArray | None = None
    importance: IntArray | None = None

    def __post_init__(self) -> None:
        q, k, v = self.q.codes.shape, self.k.codes.shape, self.v.codes.shape
        if k[:-1] != v[:-1] or q[:-2] != k[:-2] or q[-1] != k[-1]:
            raise ValueError(
                f"shapes disagree: Q {q}, K {k}, V {v}; batch and heads must be equal in all, "
                "tokens in K and V, channels in Q and K"
            )
        if k[-2] > softmax.KEYS_MAX:
            raise ValueError(f"a row has {k[-2]} keys, more than {softmax.KEYS_MAX}: shorten it")
        batch, n_q, n_k = q[:-3], q[-2], k[-2]
        for name, shape in (
            ("q_bits", (*batch, n_q)),
            ("k_bits", (*batch, n_k)),
            ("v_bits", (*batch, n_k)),
            ("mask", (*batch, n_q, n_k)),
            ("importance", (*batch, n_k)),
        ):
            value = getattr(self, name)
            if value is not None and np.shape(value) != shape:
                raise ValueError(f"{name} has shape {np.shape(value)}, but must have {shape}")

    def visible(self) -> BoolArray:
        """Which keys each query sees, pruned tokens left out: ``[..., n_q, n_k]``."""
        shape = (*self.q.codes.shape[:-3], self.q.codes.shape[-2], self.k.codes.shape[-2])
        seen: BoolArray = np.ones(shape, bool) if self.mask is None else np.asarray(self.mask, bool)
        if self.q_bits is not None:
            seen = seen & (np.asarray(self.q_bits) > 0)[..., :, None]
        if self.k_bits is not None:
            seen = seen & (np.asarray(self.k_bits) > 0)[..., None, :]
        return seen


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
        Integer dot products, at most 22 bits, before any gain.
    e16 : int64 array ``[..., heads, n_q, n_k]``
        Exponentials.
    probability : int64 array ``[..., heads, n_q, n_k]``
        Normalized 16-bit probabilities, the addends of the importance.
    weights : softmax.Narrowed
        Narrowed weights and divisors of P x V.
    sums : int64 array ``[..., heads, n_q, d]``
        P x V before the division, at most 29 bits.
    """

    output: IntArray
    output_unit: FloatArray
    importance: IntArray
    scores: IntArray
    e16: IntArray
    probability: IntArray
    weights: softmax.Narrowed
    sums: IntArray

    @property
    def values(self) -> FloatArray:
        """The output as float64."""
        return self.output * self.output_unit[..., None, None]


def attention(inputs: Inputs, options: Options | None = None) -> Outputs:
    """Run one attention block on integers.

    Scores, base-2 softmax, narrowed P, P x V, one division a row and importance, as the functions
    of :mod:`~dtqatten.golden.numerics.products`, :mod:`~dtqatten.golden.numerics.softmax`,
    :mod:`~dtqatten.golden.numerics.output` and :mod:`~dtqatten.golden.numerics.importance` say. A
    row that sees no key has output 0 and adds no importance.

    Parameters
    ----------
    inputs : Inputs
        Operands.
    options : Options, optional
        Choices; the defaults if None.

    Raises
    ------
    ValueError
        If a precision is not 0, 4 or 8, or the importance could exceed 32 bits.
    """
    chosen = Options() if options is None else options
    q, k, v = inputs.q, inputs.k, inputs.v
    n_q, d = q.codes.shape[-2:]
    visible = inputs.visible()
    # Refuse before computing: heads * n_q decides, not the data.
    check_room(q.codes.shape[-3] * n_q, inputs.importance)

    s = scores(q.codes, k.codes, inputs.q_bits, inputs.k_bits)
    gained = s if k.gains is None else apply_gain(s, k.gains[..., None, :])
    factor = softmax.multiplier(q.unit * k.unit, d, chosen.softmax_scale)
    t, _ = softmax.exponent(
        gained,
        softmax.row_multiplier(factor, q.gains, n_q),
        factor.shift,
        visible[..., None, :, :],
    )
    e16 = softmax.exponential(t, visible[..., None, :, :])
    probability = softmax.normalized(e16)
    weights = softmax.narrow(
        e16,
        v.gains,
        planes=chosen.p_planes,
        bits=inputs.v_bits if chosen.p_follows_token else None,
        query_bits=inputs.q_bits if chosen.p_follows_query else None,
    )
    sums = weighted_sum(weights.p, v.codes, inputs.v_bits)
    output = normalize(sums, weights)
    unit = v.unit / (1 << OUTPUT_FRACTION)
    if chosen.output_bits == 8:
        output = requantize(output, chosen.output_shift)
        unit = v.unit / (1 << chosen.output_shift)
    seen = visible.sum(-2) if chosen.count_normalize else None
    total = accumulate(importance(probability, seen), inputs.importance)
    return Outputs(output, unit, total, s, e16, probability, weights, sums)
