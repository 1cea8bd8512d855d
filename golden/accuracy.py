"""Measure the integer block against float64: every step alone, and the whole.

``python -m dtqatten.golden.accuracy`` prints the tables of docs/numerics.md for the trace that
ships with the package.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from dtqatten.golden.numerics import softmax
from dtqatten.golden.numerics.attention import Inputs, Options, Outputs, attention
from dtqatten.golden.numerics.codes import (
    GAIN_ONE,
    Codes,
    FloatArray,
    Granularity,
    IntArray,
    apply_gain,
    code_range,
    dequantize,
    quantize,
)
from dtqatten.golden.numerics.output import OUTPUT_FRACTION, requantize
from dtqatten.golden.numerics.reference import Reference, reference
from dtqatten.golden.numerics.select import top
from dtqatten.golden.traces.trace import example

__all__ = [
    "Agreement",
    "StepError",
    "agreement",
    "compare",
    "rank_agreement",
    "sink",
    "step_errors",
    "weight_error",
]


@dataclass(frozen=True)
class StepError:
    """Error of one integer step, given the step's integer inputs, against real arithmetic.

    Parameters
    ----------
    step, unit : str
        What is measured, in what unit.
    largest, rms : float
        Largest magnitude and root mean square.
    """

    step: str
    unit: str
    largest: float
    rms: float


@dataclass(frozen=True, eq=False)
class Agreement:
    """How near an output is to a reference.

    Parameters
    ----------
    cosine : float64 array ``[heads]``
        Cosine similarity of each head's output.
    largest : float64 array ``[heads]``
        Largest error of each head's output, relative to the head's largest output.
    rms : float
        Root mean square error of all outputs relative to that of the outputs.
    importance : float
        Largest relative error of a token's importance.
    """

    cosine: FloatArray
    largest: FloatArray
    rms: float
    importance: float


def _error(step: str, unit: str, got: ArrayLike, exact: ArrayLike) -> StepError:
    difference = np.asarray(got, dtype=np.float64) - np.asarray(exact, dtype=np.float64)
    if not difference.size:
        return StepError(step, unit, 0.0, 0.0)
    return StepError(
        step, unit, float(np.abs(difference).max()), float(np.sqrt(np.mean(difference**2)))
    )


def step_errors(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    granularity: Granularity | str = Granularity.HEAD,
    options: Options | None = None,
) -> dict[str, StepError]:
    """Measure each integer step of the block on its own.

    Each step is computed again in float64 from the integers that entered it, so that an error shows
    in the step that makes it: ``quantize``, ``gained score``, ``exponent`` (the middle of the step
    that ``t`` stands for, where ``e16`` is not 0), ``exponential`` (against the real exponent, so
    with the rounding of ``t``), ``probability``, ``weight``, ``divisor``, ``division`` and
    ``requantize``.

    Parameters
    ----------
    q, k, v : float array ``[heads, n_q, d]``, ``[heads, n_k, d]``
        Operands; every query sees every key.
    granularity : Granularity
        Scales per head or token.
    options : Options, optional
        Choices of the block.
    """
    chosen = Options() if options is None else options
    tensors = [np.asarray(x, dtype=np.float64) for x in (q, k, v)]
    cq, ck, cv = _quantized(q, k, v, granularity)
    out = attention(Inputs(cq, ck, cv), chosen)
    found = [
        _error(
            "quantize",
            "codes",
            np.concatenate(
                [(dequantize(c) / c.token_scale[..., None]).ravel() for c in (cq, ck, cv)]
            ),
            np.concatenate(
                [
                    (x / c.token_scale[..., None]).ravel()
                    for x, c in zip(tensors, (cq, ck, cv), strict=True)
                ]
            ),
        )
    ]

    real_gained = out.scores * (1.0 if ck.gains is None else ck.gains[..., None, :] / GAIN_ONE)
    gained = out.scores if ck.gains is None else apply_gain(out.scores, ck.gains[..., None, :])
    found.append(_error("gained score", "score units", gained, real_gained))

    # From here on the logits are real ones: sum(q*k) with the scales of both tokens.
    d = cq.codes.shape[-1]
    scale = d**-0.5 if chosen.softmax_scale is None else chosen.softmax_scale
    logits = (
        out.scores
        * cq.token_scale[..., :, None]
        * ck.token_scale[..., None, :]
        * scale
        * np.log2(np.e)
    )
    distance = logits.max(-1, keepdims=True) - logits
    factor = softmax.multiplier(cq.unit * ck.unit, d, chosen.softmax_scale)
    rows = softmax.row_multiplier(factor, cq.gains, cq.codes.shape[-2])
    t, maximum = softmax.exponent(
        gained, rows, factor.shift, np.ones(gained.shape[-2:], dtype=bool)
    )
    # The row maximum is exact by definition; beyond t = 512 every exponent has the same effect.
    rounded = (gained < maximum[..., None]) & (t < 512)
    found.append(_error("exponent", "1/32 octave", (t + 0.5)[rounded], (distance * 32)[rounded]))
    found.append(
        _error("exponential", "2^-16", out.e16, (softmax.E16_MAX + 1) * np.exp2(-distance))
    )
    total = out.e16.sum(-1, keepdims=True)
    found.append(
        _error("probability", "2^-16", out.probability, out.e16 / total * (softmax.E16_MAX + 1))
    )

    limit = code_range(chosen.p_planes)[1]
    gain = 1.0 if cv.gains is None else cv.gains[..., None, :] / GAIN_ONE
    lead = np.exp2(out.weights.lead)[..., None]
    exact_weight = out.e16 * gain * lead * limit / (softmax.E16_MAX + 1)
    found.append(_error("weight", "codes", out.weights.p, exact_weight))
    exact_divisor = (
        out.weights.p.sum(-1) if cv.gains is None else total[..., 0] * limit / (softmax.E16_MAX + 1)
    )
    found.append(
        _error("divisor", "codes", out.weights.divisor / 2**softmax.DIVISOR_FRACTION, exact_divisor)
    )
    divisor = out.weights.divisor[..., None] / 2**softmax.DIVISOR_FRACTION * lead
    wide = attention(Inputs(cq, ck, cv), _wide(chosen)).output
    found.append(_error("division", "2^-8 codes", wide, out.sums / divisor * 2**OUTPUT_FRACTION))
    narrow = requantize(wide, chosen.output_shift)
    unclipped = np.abs(narrow.astype(np.int64)) < 119
    found.append(
        _error(
            "requantize",
            "codes",
            narrow[unclipped],
            (wide / 2.0 ** (OUTPUT_FRACTION - chosen.output_shift))[unclipped],
        )
    )
    return {e.step: e for e in found}


def _quantized(
    q: ArrayLike, k: ArrayLike, v: ArrayLike, granularity: Granularity | str
) -> tuple[Codes, Codes, Codes]:
    return quantize(q, granularity), quantize(k, granularity), quantize(v, granularity)


def _wide(options: Options) -> Options:
    """Return the same choices with the 16-bit output."""
    return Options(
        p_planes=options.p_planes,
        p_follows_token=options.p_follows_token,
        p_follows_query=options.p_follows_query,
        softmax_scale=options.softmax_scale,
    )


def compare(out: Outputs, exact: Reference) -> Agreement:
    """Compare a block's output and importance with a reference, head by head."""
    got, want = out.values, exact.output
    flat, other = got.reshape(got.shape[0], -1), want.reshape(want.shape[0], -1)
    lengths = np.linalg.norm(flat, axis=1) * np.linalg.norm(other, axis=1)
    return Agreement(
        cosine=(flat * other).sum(1) / lengths,
        largest=np.abs(flat - other).max(1) / np.abs(other).max(1),
        rms=float(np.sqrt(np.mean((got - want) ** 2) / np.mean(want**2))),
        importance=float(np.abs(out.importance / 2**16 / exact.importance - 1).max()),
    )


def agreement(
    q: ArrayLike,
    k: ArrayLike,
    v: ArrayLike,
    granularity: Granularity | str = Granularity.HEAD,
    options: Options | None = None,
    bits: IntArray | None = None,
    *,
    quantized_reference: bool = False,
) -> Agreement:
    """Run integer block and reference on the same operands and compare.

    Parameters
    ----------
    q, k, v : float array ``[heads, n, d]``
        Operands.
    granularity : Granularity
        Scales per head or token.
    options : Options, optional
        Choices of the block.
    bits : int array ``[n]``, optional
        Precision of each token in Q, K and V, 4 or 8.
    quantized_reference : bool
        Give the reference the dequantized codes, which leaves out the error of quantization.
    """
    chosen = Options() if options is None else options
    cq, ck, cv = _quantized(q, k, v, granularity)
    if quantized_reference:
        q, k, v = (dequantize(c, bits) for c in (cq, ck, cv))
    exact = reference(q, k, v, softmax_scale=chosen.softmax_scale)
    return compare(attention(Inputs(cq, ck, cv, bits, bits, bits), chosen), exact)


def rank_agreement(a: ArrayLike, b: ArrayLike, share: float) -> float:
    """Share of the ``round(share * n)`` most important tokens that two rankings have in common."""
    k = round(share * np.size(a))
    return len(np.intersect1d(top(a, k), top(b, k))) / max(k, 1)


def sink(
    nats: float, spread: float = 0.0, n: int = 1024, d: int = 64
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return Q, K and V of a query that one key draws most, and the others together more.

    Parameters
    ----------
    nats : float
        How far the other keys' logits are below the sink's.
    spread : float
        Standard deviation of the others' logits, in nats.
    n, d : int
        Keys and channels.

    Returns
    -------
    q, k, v : float array ``[1, 1, d]``, ``[1, n, d]``
        V is -1 at the sink and 1 elsewhere, so that an output says whose weight was lost.
    """
    q, k, v = np.zeros((1, 1, d)), np.zeros((1, n, d)), np.ones((1, n, d))
    q[..., :2] = np.sqrt(d)
    k[:, 0, 0] = nats
    k[:, 1:, 1] = spread * np.random.default_rng(0).normal(size=n - 1)
    v[:, 0] = -1
    return q, k, v


def weight_error(
    qkv: tuple[FloatArray, FloatArray, FloatArray], options: Options, v_bits: int
) -> tuple[float, float]:
    """Return the largest output and its error that is the block's own, not quantization's.

    Parameters
    ----------
    qkv : tuple of float array
        Operands.
    options : Options
        Choices of the block.
    v_bits : int
        Precision of all tokens of V, 4 or 8.
    """
    q, k, v = (quantize(x) for x in qkv)
    bits = np.full(v.codes.shape[-2], v_bits)
    exact = reference(dequantize(q), dequantize(k), dequantize(v, bits)).output
    got = attention(Inputs(q, k, v, v_bits=bits), options).values
    return float(np.abs(exact).max()), float(np.abs(got - exact).max())


def _table(head: str, rows: Iterator[tuple[str, ...]]) -> None:
    columns = head.split("|")
    print("|" + "|".join(columns) + "|\n" + "|---" * len(columns) + "|")
    for row in rows:
        print("|" + "|".join(row) + "|")
    print()


def _main() -> None:
    trace = example()
    qkv = trace.q, trace.k, trace.v
    kinds = tuple(Granularity)
    print(f"{trace.model}, layer {trace.layer}, {trace.heads} x {trace.n} x {trace.d}\n")

    steps = {kind: step_errors(*qkv, kind) for kind in kinds}
    _table(
        "step|unit|head: max|rms|token: max|rms",
        (
            (
                name,
                error.unit,
                *(
                    f"{x:.4f}"
                    for kind in kinds
                    for x in (steps[kind][name].largest, steps[kind][name].rms)
                ),
            )
            for name, error in steps[Granularity.HEAD].items()
        ),
    )

    precision = np.where(trace.precision == 8, 8, 4)
    cases = {
        "8 bit": (Options(), None),
        "8 bit, P 12 bit": (Options(p_planes=3), None),
        "8 bit, output 8 bit": (Options(output_bits=8), None),
        "the trace's 8-bit tokens, others 4 bit": (Options(), precision),
        "the same, P follows token": (Options(p_follows_token=True), precision),
        "the same, P follows token and query": (
            Options(p_follows_token=True, p_follows_query=True),
            precision,
        ),
        "4 bit": (Options(), np.full(trace.n, 4)),
    }

    def case_rows() -> Iterator[tuple[str, ...]]:
        for name, (options, bits) in cases.items():
            for kind in kinds:
                whole = agreement(*qkv, kind, options, bits)
                block = agreement(*qkv, kind, options, bits, quantized_reference=True)
                yield (
                    name,
                    kind,
                    f"{block.rms:.4f}",
                    f"{whole.rms:.4f}",
                    f"{whole.cosine.min():.5f}",
                    f"{whole.largest.max():.4f}",
                    f"{whole.importance:.4f}",
                )

    _table(
        "case|scales|rms, to dequantized|rms, to float|least cosine|largest error|importance",
        case_rows(),
    )

    weights = {
        "4 bit": (Options(p_follows_token=True), 4),
        "8 bit": (Options(), 8),
        "12 bit": (Options(p_planes=3), 8),
    }
    _table(
        "others below the sink, nats|largest output|"
        + "|".join(f"error, {name} weights" for name in weights),
        (
            (
                f"{nats:.1f}" + f" +- {spread:.1f}" * (spread > 0),
                f"{weight_error(sink(nats, spread), *weights['8 bit'])[0]:.3f}",
                *(f"{weight_error(sink(nats, spread), *how)[1]:.3f}" for how in weights.values()),
            )
            for nats, spread in (
                (2.0, 0.0),
                (4.0, 0.0),
                (5.4, 0.0),
                (5.5, 0.0),
                (5.0, 1.0),
                (8.3, 0.0),
            )
        ),
    )

    best = {kind: agreement(*qkv, kind) for kind in kinds}
    _table(
        "head|cosine, head scales|max error|cosine, token scales|max error",
        (
            (
                str(h),
                *(
                    text
                    for kind in kinds
                    for text in (f"{best[kind].cosine[h]:.6f}", f"{best[kind].largest[h]:.4f}")
                ),
            )
            for h in range(trace.heads)
        ),
    )

    exact = reference(*qkv).importance

    def rank_rows() -> Iterator[tuple[str, ...]]:
        for name, (options, bits) in cases.items():
            for kind in kinds:
                inputs = Inputs(*_quantized(*qkv, kind), bits, bits, bits)
                ranked = attention(inputs, options).importance
                yield (
                    name,
                    kind,
                    *(f"{100 * rank_agreement(ranked, exact, s):.1f} %" for s in (0.31, 0.72)),
                )

    _table("case|scales|top 31 %|top 72 %", rank_rows())


if __name__ == "__main__":
    _main()
