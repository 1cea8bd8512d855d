"""The attention block on integers: what the machine computes, bit for bit."""

from dataclasses import dataclass

import numpy as np

from dtqatten.configuration.core import CODE_MAX, CODE_MIN
from dtqatten.golden.numerics import softmax
from dtqatten.golden.numerics.codes import (
    BoolArray,
    Codes,
    FloatArray,
    IntArray,
    apply_gain,
    at_precision,
    code_range,
)

__all__ = [
    "IMPORTANCE_MAX",
    "OUTPUT_FRACTION",
    "Inputs",
    "Options",
    "Outputs",
    "accumulate",
    "attention",
    "importance",
    "normalize",
    "requantize",
    "scores",
    "weighted_sum",
]

#: Fraction bits of the 16-bit output, in units of one code of V.
OUTPUT_FRACTION = 8
#: Largest value of the 32-bit importance accumulator.
IMPORTANCE_MAX = 2**32 - 1


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
    of this module and of :mod:`dtqatten.golden.numerics.softmax` say. A row that sees no key has
    output 0 and adds no importance.

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
    _check_room(q.codes.shape[-3] * n_q, inputs.importance)

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


def scores(
    q: IntArray,
    k: IntArray,
    q_bits: IntArray | None = None,
    k_bits: IntArray | None = None,
) -> IntArray:
    """Exact dot products ``sum(q * k)`` over the channels, each token at its precision.

    Parameters
    ----------
    q, k : int array ``[..., heads, n_q, d]``, ``[..., heads, n_k, d]``
        Balanced codes.
    q_bits, k_bits : int array ``[..., n_q]``, ``[..., n_k]``, optional
        Precisions.

    Returns
    -------
    int64 array ``[..., heads, n_q, n_k]``
        At most 22 bits for 128 channels.

    Raises
    ------
    ValueError
        If a code or precision is out of range.
    """
    left, right = at_precision(q, _per_token(q_bits)), at_precision(k, _per_token(k_bits))
    return _matmul(left, right.swapaxes(-1, -2), q.shape[-1] * CODE_MIN**2)


def weighted_sum(p: IntArray, v: IntArray, v_bits: IntArray | None = None) -> IntArray:
    """Exact P x V: ``sum(p * v)`` over the keys, V at each token's precision.

    Returns
    -------
    int64 array ``[..., heads, n_q, d]``
        At most 25 bits for 1024 keys, 29 with weights of three planes.

    Raises
    ------
    ValueError
        If a code or precision is out of range.
    """
    bound = p.shape[-1] * code_range(3)[1] * -CODE_MIN
    return _matmul(p, at_precision(v, _per_token(v_bits)), bound)


def normalize(sums: IntArray, weights: softmax.Narrowed) -> IntArray:
    """Divide each row once: 16-bit outputs with 8 fraction bits, in codes of V.

    With ``R, z`` the reciprocal of the row's divisor,
    ``o = (N * R + (1 << (z + lead + 3))) >> (z + lead + 4)``, round half up, saturated to int16.
    Below 1 unit of error: 1/2 from rounding, less than 15/32 from the reciprocal. Saturation needs
    V gains and weights that were nearly all rounded up; without gains ``|o| <= 120 * 256``.

    Parameters
    ----------
    sums : int array ``[..., heads, n_q, d]``
        P x V.
    weights : softmax.Narrowed
        The weights that went into it.
    """
    r, z = softmax.reciprocal(weights.divisor)
    # sum(p*c) / (D/16) in units of 1/256: 256 * 16 / 2**(z + 16) = 2**-(z + 4).
    shift = (
        z
        + weights.lead
        + (softmax.RECIPROCAL_BITS - 1)
        - softmax.DIVISOR_FRACTION
        - OUTPUT_FRACTION
    )[..., None]
    quotient = (sums * r[..., None] + (np.int64(1) << (shift - 1))) >> shift
    return np.clip(quotient, -(2**15), 2**15 - 1).astype(np.int16)


def requantize(output: IntArray, shift: int = 0) -> IntArray:
    """Round 16-bit outputs to balanced 8-bit codes, half up, saturated to [-120, 119].

    ``c = (o + (1 << (7 - shift))) >> (8 - shift)``, in units ``2**shift`` smaller than V's.
    """
    drop = OUTPUT_FRACTION - shift
    rounded = (output.astype(np.int64) + (1 << (drop - 1))) >> drop
    return np.clip(rounded, CODE_MIN, CODE_MAX).astype(np.int8)


def importance(probability: IntArray, seen: IntArray | None = None) -> IntArray:
    """Sum 16-bit probabilities over queries and heads.

    Parameters
    ----------
    probability : int array ``[..., heads, n_q, n_k]``
        Normalized 16-bit probabilities.
    seen : int array ``[..., n_k]``, optional
        How many queries saw each key; the sum is divided by it, rounded down. A key that nobody saw
        has importance 0.

    Returns
    -------
    int64 array ``[..., n_k]``
    """
    total: IntArray = probability.sum(axis=(-3, -2))
    return total if seen is None else total // np.maximum(seen, 1)


def accumulate(current: IntArray, earlier: IntArray | None = None) -> IntArray:
    """Add a block's importance to that of earlier blocks, in 32 bits.

    Raises
    ------
    ValueError
        If a sum exceeds 32 bits.
    """
    total = current if earlier is None else current + np.asarray(earlier, dtype=np.int64)
    if total.size and total.max() > IMPORTANCE_MAX:
        raise ValueError(f"importance {total.max()} exceeds {IMPORTANCE_MAX}: start a new sum")
    return total.astype(np.uint32)


def _check_room(rows: int, earlier: IntArray | None) -> None:
    held = int(np.max(earlier, initial=0)) if earlier is not None else 0
    room = (IMPORTANCE_MAX - held) // softmax.E16_MAX
    if rows > room:
        raise ValueError(
            f"heads * queries is {rows}, but the 32-bit importance has room for {room} rows: "
            + ("start a new sum" if held else "use fewer heads or queries a block")
        )


def _per_token(bits: IntArray | None) -> IntArray | None:
    return None if bits is None else np.asarray(bits)[..., None, :, None]


def _matmul(a: IntArray, b: IntArray, bound: int) -> IntArray:
    """Exact integer matrix product through floating point, whose BLAS is far faster.

    Every partial sum is an integer of magnitude ``bound`` at most, which float32 holds exactly up
    to ``2**24`` and float64 up to ``2**53``, in any order of summation.
    """
    kind = np.float32 if bound < 2**24 else np.float64
    return np.rint(a.astype(kind) @ b.astype(kind)).astype(np.int64)
