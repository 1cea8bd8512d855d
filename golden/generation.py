"""Tables of docs/numerics.md on generation: segments, sinks, importance over segments.

``python -m dtqatten.golden.generation`` prints them. Given files of decoders' recordings, it prints
the first and the last one for those.
"""

import sys
from collections.abc import Iterator, Sequence

import numpy as np

from dtqatten.golden.agreement import rank_agreement
from dtqatten.golden.numerics import softmax
from dtqatten.golden.numerics.attention import Inputs, Options, Outputs, attention, row_scale
from dtqatten.golden.numerics.codes import (
    BoolArray,
    FloatArray,
    Granularity,
    IntArray,
    dequantize,
    quantize,
)
from dtqatten.golden.numerics.masks import latest, position_mask
from dtqatten.golden.numerics.reference import reference
from dtqatten.golden.numerics.segments import aligned, equal_cuts, merge
from dtqatten.golden.numerics.select import top
from dtqatten.golden.numerics.sinks import quantize_sinks
from dtqatten.golden.tables import Row, print_table
from dtqatten.golden.traces.recording import Recording
from dtqatten.golden.traces.trace import example

__all__ = ["drifting", "main", "normal", "segment_errors"]

#: How many segments a row is cut into.
SEGMENTS = (1, 2, 4, 16, 64)
#: A sink's distance from the mean of the rows' largest logits, in nats.
ABOVE = (-4.0, 0.0, 2.0, 4.0, 6.0)
#: Shares of the prefix that stay.
SHARES = (0.125, 0.25, 0.5)

Tensors = tuple[FloatArray, FloatArray, FloatArray]


def main(paths: Sequence[str] = ()) -> None:
    """Print the tables, or those of recordings.

    Parameters
    ----------
    paths : sequence of str
        Files of :class:`~dtqatten.golden.traces.recording.Recording`.
    """
    title = "queries that count|sum|as float64 ranks|" + "|".join(
        f"later attention, {100 * s:g} % kept" for s in SHARES
    )
    counts = "|".join(f"{n} segments" if n > 1 else "1 segment" for n in SEGMENTS)
    for path in paths:
        found = Recording.load(path)
        layers = [*zip(found.q, found.k, found.v, strict=True)]
        print_table(f"case|scales|{counts}", _recorded_rows(layers))
        print_table(title, _rank_rows(layers, softmax.KEYS_MAX))
    if paths:
        return
    print_table(f"data|case|scales|{counts}", _segment_rows())
    print_table("sink above largest, nats|its share|in the sum alone|as a key", _sink_rows())
    print_table(title, _rank_rows([drifting()], 96))


def normal(peaked: bool, m: int = 48, n: int = 1024, heads: int = 4, d: int = 64) -> Tensors:
    """Return normal data; *peaked* with logits three times as large and tokens of unlike size."""
    rng = np.random.default_rng(1)
    q, k, v = (rng.normal(size=(heads, count, d)) for count in (m, n, n))
    if not peaked:
        return q, k, v
    sizes = [np.exp(0.4 * rng.normal(size=(heads, count, 1))) for count in (m, n, n)]
    return 2 * q * sizes[0], 1.5 * k * sizes[1], v * sizes[2]


def drifting(n: int = 512, heads: int = 4, d: int = 32) -> Tensors:
    """Return queries and keys whose subject drifts, with a few keys that draw all queries."""
    rng = np.random.default_rng(2)
    subject = rng.normal(size=(heads, n, d))
    for p in range(1, n):
        subject[:, p] = 0.99 * subject[:, p - 1] + 0.14 * subject[:, p]
    q, k = (1.2 * subject + 0.6 * rng.normal(size=subject.shape) for _ in range(2))
    heavy = rng.random((heads, n)) < 0.03
    heavy[:, 0] = True
    # A channel that all queries have and heavy keys alone answer.
    q[..., 0] = 2.0
    k[..., 0] = np.where(heavy, 10.0, 0.0)
    return q, k, rng.normal(size=subject.shape)


def segment_errors(
    qkv: Tensors,
    scales: Granularity,
    options: Options,
    bits: IntArray | None = None,
    mask: BoolArray | None = None,
) -> list[float | None]:
    """Return the relative rms error of outputs in each of ``SEGMENTS``.

    Against float64 attention of the dequantized codes; None where there are fewer keys, or segments
    would be too long.

    Parameters
    ----------
    qkv : tuple of float array
        Operands.
    scales : Granularity
    options : Options
    bits : int array ``[n]``, optional
        Precision of each key and its value.
    mask : bool array ``[m, n]``, optional
        True where a query sees a key.
    """
    q, k, v = (quantize(x, scales) for x in qkv)
    exact = reference(dequantize(q), dequantize(k, bits), dequantize(v, bits), mask).output
    n = k.codes.shape[-2]
    found: list[float | None] = []
    for count in SEGMENTS:
        if count > n or n > count * softmax.KEYS_MAX:
            found.append(None)
            continue
        cuts = tuple((np.arange(1, count) * n // count).tolist())
        inputs = Inputs(q, k, v, k_bits=bits, v_bits=bits, mask=mask, cuts=cuts)
        found.append(_relative(attention(inputs, options), exact))
    return found


def _relative(out: Outputs, exact: FloatArray) -> float:
    """Return the rms error relative to the output's rms."""
    return float(np.sqrt(np.mean((out.values - exact) ** 2) / np.mean(exact**2)))


def _segment_rows() -> Iterator[Row]:
    """Error of a row in segments, beside that of one."""
    trace = example()
    data: dict[str, tuple[Tensors, IntArray]] = {
        "trace": ((trace.q, trace.k, trace.v), np.where(trace.precision == 8, 8, 4))
    }
    for name in ("random", "peaked"):
        mixed = np.where(np.random.default_rng(3).random(1024) < 0.31, 8, 4)
        data[name] = normal(name == "peaked"), mixed
    cases = (
        ("8 bit", Options(), False),
        ("mixed", Options(), True),
        ("8 bit, P 12 bit", Options(p_planes=3), False),
    )
    for name, (qkv, bits) in data.items():
        for case, options, mixes in cases:
            for scales in Granularity:
                errors = segment_errors(qkv, scales, options, bits if mixes else None)
                texts = ("" if x is None else f"{x:.4f}" for x in errors)
                yield name, case, scales, *texts


def _recorded_rows(layers: Sequence[Tensors]) -> Iterator[Row]:
    """Error of rows of a decoder in segments, mean over its layers: 48 queries of the last half."""
    n = layers[0][0].shape[-2]
    ids = np.arange(n)
    asked = np.unique(np.linspace(n // 2, n - 1, 48).astype(np.int64))
    mask = position_mask(asked, ids)
    for case, options in (("8 bit", Options()), ("8 bit, P 12 bit", Options(p_planes=3))):
        for scales in Granularity:
            errors = []
            for qkv in layers:
                q, k, v = (np.concatenate(x) for x in zip(*_heads(qkv), strict=True))
                errors.append(segment_errors((q[:, asked], k, v), scales, options, mask=mask))
            columns = zip(*errors, strict=True)
            texts = ("" if x[0] is None else f"{np.mean(x):.4f}" for x in columns)
            yield case, scales, *texts


def _sink_rows() -> Iterator[Row]:
    """Error of a sink that joins the sum alone, and of one that is a key without a value."""
    q, k, v = normal(peaked=False, n=256)
    # The sink as a key has a channel of its own, which all queries have.
    q[..., 0], k[..., 0] = 4.0, 0.0
    largest = (q @ k.swapaxes(-1, -2)).max(-1).mean(-1) / 8
    for above in ABOVE:
        keys, values = np.zeros((4, 257, 64)), np.zeros((4, 257, 64))
        keys[:, :256], values[:, :256] = k, v
        keys[:, 256, 0] = (largest + above) * 2
        cq, ck, cv = (quantize(x) for x in (q, keys, values))
        rows, columns = dequantize(cq), dequantize(ck)
        exact = reference(rows, columns, dequantize(cv))
        logits = (rows[:, 0] * columns[:, 256]).sum(-1) / 8
        share = exact.probability[..., 256].mean()
        few = np.arange(256)
        alone = attention(Inputs(cq, ck.take(few), cv.take(few), sinks=quantize_sinks(logits)))
        key = attention(Inputs(cq, ck, cv))
        errors = (_relative(x, exact.output) for x in (alone, key))
        yield f"{above:g}", f"{100 * share:.0f} %", *(f"{x:.4f}" for x in errors)


def _rank_rows(layers: Sequence[Tensors], length: int) -> Iterator[Row]:
    """How well tokens of a prefix are ranked, by which queries and by which sums.

    The first three quarters of the tokens are the prefix, of which the last quarter's queries are
    the future: what part of their attention to the prefix goes to the tokens that stay.
    """
    n = layers[0][0].shape[-2]
    prefix = n * 3 // 4
    kinds = (
        ("all", "final", {"count": prefix}),
        ("all", "running", {"count": prefix, "running": True}),
        ("all, by count", "final", {"count": prefix, "by_count": True}),
        ("last 128", "final", {"count": 128}),
        ("last 32", "final", {"count": 32}),
        ("last 32", "running", {"count": 32, "running": True}),
        ("last 8", "final", {"count": 8}),
    )
    future = [_real(qkv, np.arange(n) >= prefix)[:prefix] for qkv in layers]
    for name, how, choice in kinds:
        common, kept = [], []
        for qkv, later in zip(layers, future, strict=True):
            ranked, exact = _ranked(qkv, prefix, length, **choice)
            common.append(rank_agreement(ranked, exact, 0.25))
            best = [top(ranked, round(s * prefix)) for s in SHARES]
            kept.append([later[ids].sum() / later.sum() for ids in best])
        shares = (f"{100 * x:.1f} %" for x in np.mean(kept, axis=0))
        yield name, how, f"{100 * np.mean(common):.1f} %", *shares
    latest_kept = [
        [x[prefix - round(s * prefix) :].sum() / x.sum() for s in SHARES] for x in future
    ]
    shares = (f"{100 * x:.1f} %" for x in np.mean(latest_kept, axis=0))
    yield "none: the latest stay", "", "", *shares


def _heads(qkv: Tensors) -> Iterator[Tensors]:
    """Yield each query head with its keys and values, which several may share."""
    q, k, v = (np.asarray(x, dtype=np.float64) for x in qkv)
    repeats = q.shape[0] // k.shape[0]
    for head in range(q.shape[0]):
        yield q[[head]], k[[head // repeats]], v[[head // repeats]]


def _real(qkv: Tensors, counts: BoolArray) -> FloatArray:
    """Return the float64 importance of all tokens by the queries that count."""
    ids = np.arange(len(counts))
    mask = position_mask(ids[counts], ids)
    return np.sum([reference(q[:, counts], k, v, mask).importance for q, k, v in _heads(qkv)], 0)


def _ranked(
    qkv: Tensors,
    prefix: int,
    length: int,
    *,
    count: int,
    running: bool = False,
    by_count: bool = False,
) -> tuple[FloatArray, FloatArray]:
    """Importance of a prefix in segments on integers, and in float64, by its last queries."""
    ids = np.arange(prefix)
    asked = ids[latest(ids, count)]
    mask = position_mask(asked, ids)
    total = np.zeros(prefix)
    for tensors in _heads(qkv):
        cq, ck, cv = (quantize(x[:, :prefix]) for x in tensors)
        inputs = Inputs(cq.take(asked), ck, cv, mask=mask, cuts=equal_cuts(prefix, length))
        out = attention(inputs)
        found = _running(inputs, out) if running else out.probability
        total += found.sum((0, 1))
    q, k, v = qkv
    exact = _real((q[:, :prefix], k[:, :prefix], v[:, :prefix]), latest(ids, count))
    seen = mask.sum(0) if by_count else np.ones(prefix)
    return total / seen, exact / seen


def _running(inputs: Inputs, out: Outputs) -> IntArray:
    """Probabilities by the maximum and sum of the segments so far, not of the whole row."""
    scale = row_scale(inputs.q, inputs.k)
    row, found = out.partials[0], []
    for part, span in zip(out.partials, inputs.spans(), strict=True):
        row = row if part is row else merge(row, part, scale)
        near = aligned(out.e16[..., span], part.maximum, row.maximum, scale)
        found.append(softmax.normalized(near, row.total))
    return np.concatenate(found, axis=-1)


if __name__ == "__main__":
    main(sys.argv[1:])
