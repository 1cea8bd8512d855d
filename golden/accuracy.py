"""The tables of docs/numerics.md: the integer block against float64, on the trace in the package.

``python -m dtqatten.golden.accuracy`` prints them.
"""

from collections.abc import Iterator

import numpy as np

from dtqatten.golden.agreement import agreement, rank_agreement, sink, weight_error
from dtqatten.golden.numerics.attention import Inputs, Options, attention
from dtqatten.golden.numerics.codes import Granularity, IntArray, quantize
from dtqatten.golden.numerics.reference import reference
from dtqatten.golden.step_errors import step_errors
from dtqatten.golden.tables import Row, print_table
from dtqatten.golden.traces.trace import Trace, example

__all__ = ["main"]

KINDS = tuple(Granularity)

#: Choices of the block, and the precision of each token.
Cases = dict[str, tuple[Options, IntArray | None]]


def main() -> None:
    """Print all tables."""
    trace = example()
    print(f"{trace.model}, layer {trace.layer}, {trace.heads} x {trace.n} x {trace.d}\n")
    cases = _cases(trace)
    print_table("step|unit|head: max|rms|token: max|rms", _step_rows(trace))
    print_table(
        "case|scales|rms, to dequantized|rms, to float|least cosine|largest error|importance",
        _case_rows(trace, cases),
    )
    print_table(
        "others below the sink, nats|largest output|"
        + "|".join(f"error, {name} weights" for name in WEIGHTS),
        _sink_rows(),
    )
    print_table(
        "head|cosine, head scales|max error|cosine, token scales|max error", _head_rows(trace)
    )
    print_table("case|scales|top 31 %|top 72 %", _rank_rows(trace, cases))


def _cases(trace: Trace) -> Cases:
    precision = np.where(trace.precision == 8, 8, 4)
    return {
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


def _step_rows(trace: Trace) -> Iterator[Row]:
    """Error of each step of the block on its own."""
    steps = {kind: step_errors(trace.q, trace.k, trace.v, kind) for kind in KINDS}
    for name, error in steps[Granularity.HEAD].items():
        found = [x for kind in KINDS for x in (steps[kind][name].largest, steps[kind][name].rms)]
        yield name, error.unit, *(f"{x:.4f}" for x in found)


def _case_rows(trace: Trace, cases: Cases) -> Iterator[Row]:
    """Error of the block, with and without that of quantization."""
    qkv = trace.q, trace.k, trace.v
    for name, (options, bits) in cases.items():
        for kind in KINDS:
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


#: Widths of the weights of P x V: choices of the block, and the precision of V.
WEIGHTS = {
    "4 bit": (Options(p_follows_token=True), 4),
    "8 bit": (Options(), 8),
    "12 bit": (Options(p_planes=3), 8),
}
#: How far logits are below the sink's, and their standard deviation.
SINKS = ((2.0, 0.0), (4.0, 0.0), (5.4, 0.0), (5.5, 0.0), (5.0, 1.0), (8.3, 0.0))


def _sink_rows() -> Iterator[Row]:
    """Error of weights far below that of a sink."""
    for nats, spread in SINKS:
        qkv = sink(nats, spread)
        yield (
            f"{nats:.1f}" + f" +- {spread:.1f}" * (spread > 0),
            f"{weight_error(qkv, *WEIGHTS['8 bit'])[0]:.3f}",
            *(f"{weight_error(qkv, *how)[1]:.3f}" for how in WEIGHTS.values()),
        )


def _head_rows(trace: Trace) -> Iterator[Row]:
    """Error of each head."""
    best = [agreement(trace.q, trace.k, trace.v, kind) for kind in KINDS]
    for head in range(trace.heads):
        found = [(f"{x.cosine[head]:.6f}", f"{x.largest[head]:.4f}") for x in best]
        yield str(head), *(text for texts in found for text in texts)


def _rank_rows(trace: Trace, cases: Cases) -> Iterator[Row]:
    """Tokens that the block ranks among the most important, as float64 does."""
    qkv = trace.q, trace.k, trace.v
    exact = reference(*qkv).importance
    for name, (options, bits) in cases.items():
        for kind in KINDS:
            q, k, v = (quantize(x, kind) for x in qkv)
            ranked = attention(Inputs(q, k, v, bits, bits, bits), options).importance
            shares = (f"{100 * rank_agreement(ranked, exact, s):.1f} %" for s in (0.31, 0.72))
            yield name, kind, *shares


if __name__ == "__main__":
    main()
