"""Error of every integer step, and of the block, against float64.

``python -m pytest tests/golden -k error -s`` prints what is measured beside its bound.
"""

import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dtqatten.golden import accuracy
from dtqatten.golden.agreement import agreement, rank_agreement, sink, weight_error
from dtqatten.golden.numerics import softmax
from dtqatten.golden.numerics.attention import Inputs, Options, attention
from dtqatten.golden.numerics.codes import apply_gain, dequantize, quantize
from dtqatten.golden.numerics.local_values import tiling
from dtqatten.golden.numerics.narrowing import narrow
from dtqatten.golden.numerics.reference import reference
from dtqatten.golden.step_errors import step_errors

DOCUMENT = Path(__file__).parents[2] / "docs" / "numerics.md"
DATA = ("trace", "random", "peaked")
GRANULARITIES = ("head", "token")

# step: bound of the largest error, and the rms of an even distribution over it (1/sqrt(12) of a
# unit of rounding). Where a bound comes from:
#   quantize, weight, requantize  one rounding to nearest: 1/2
#   gained score                  one rounding with gains, none without
#   exponent                      1/2 for the step, and what rounding M and the gained scores to
#                                 integers moves t = 511 by
#   exponential                   LUT32[0] stands for [0, 1)/32: 65536 * (1 - 2**(-1/32)) = 1404
#   probability                   1/2 and less than 1 for the reciprocal (2**-16 of 65536): both
#                                 at once are not reached here, and 65536 itself is cut to 65535
#   divisor                       none without gains, one rounding to 1/16 of a code with them
#   division                      1/2 and less than 15/32 for the reciprocal
BOUNDS = {
    "quantize": (0.5, 0.29),
    "gained score": (0.5, 0.291),
    "exponent": (0.55, 0.291),
    "exponential": (1405, 90),
    "probability": (1.25, 0.2925),
    "weight": (0.5, 0.2925),
    "divisor": (1 / 32, 0.0190),
    "division": (0.97, 0.291),
    "requantize": (0.5, 0.2915),
}


@pytest.fixture(scope="module")
def data(trace):
    rng = np.random.default_rng(0)
    flat, peaked = rng.normal(size=(2, 3, 4, 96, 64))
    sizes = np.exp(0.4 * rng.normal(size=(3, 4, 96, 1)))
    return {
        "trace": (trace.q, trace.k, trace.v),
        "random": tuple(flat),
        "peaked": tuple(peaked * sizes * np.array([2, 1.5, 1])[:, None, None, None]),
    }


@pytest.mark.parametrize("name", DATA)
@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("planes", [2, 3])
def test_error_of_every_step(data, name, granularity, planes):
    found = step_errors(*data[name], granularity, Options(p_planes=planes))
    assert found.keys() == BOUNDS.keys()
    for step, error in found.items():
        largest, rms = BOUNDS[step]
        print(
            f"{name:7} {granularity:5} {planes} planes {step:12} max {error.largest:9.4f} "
            f"of {largest:9.4f} rms {error.rms:8.4f} of {rms:8.4f} {error.unit}"
        )
        if granularity == "head" and step in ("gained score", "divisor"):
            assert error.largest == 0
            continue
        assert error.largest <= largest * (1 + 1e-12), step
        assert error.rms <= rms, step


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_error_bounds_of_the_steps_are_tight(data, granularity):
    """Over the three data sets each bound is reached within a factor of 1.5."""
    all_found = [step_errors(*data[name], granularity) for name in DATA]
    for step, (largest, rms) in BOUNDS.items():
        if granularity == "head" and step in ("gained score", "divisor"):
            continue
        assert max(e[step].largest for e in all_found) > largest / 1.5, step
        assert max(e[step].rms for e in all_found) > rms / 1.5, step


# rms relative to the output's rms, least cosine of a head, largest error relative to the head's
# largest output, largest relative error of an importance; against the float64 attention of the
# dequantized codes, so that it is the block's error alone. About 1.2 times what is measured.
BLOCK = {
    ("trace", "head", 2): (0.030, 0.9970, 0.075, 0.0016),
    ("trace", "token", 2): (0.0136, 0.99984, 0.028, 0.0018),
    ("trace", "head", 3): (0.0036, 0.99998, 0.0080, 0.0016),
    ("trace", "token", 3): (0.0034, 0.99997, 0.0125, 0.0018),
    ("random", "head", 2): (0.0170, 0.99987, 0.032, 0.0018),
    ("random", "token", 2): (0.0240, 0.99972, 0.043, 0.0012),
    ("random", "head", 3): (0.0064, 0.99998, 0.0078, 0.0018),
    ("random", "token", 3): (0.0064, 0.99998, 0.0070, 0.0012),
    ("peaked", "head", 2): (0.0195, 0.99987, 0.047, 0.0064),
    ("peaked", "token", 2): (0.0125, 0.99992, 0.0165, 0.0056),
    ("peaked", "head", 3): (0.0028, 0.999996, 0.0046, 0.0064),
    ("peaked", "token", 3): (0.0023, 0.999996, 0.0033, 0.0056),
}


@pytest.mark.parametrize("case", BLOCK, ids=str)
def test_error_of_the_block(data, case):
    name, granularity, planes = case
    found = agreement(*data[name], granularity, Options(p_planes=planes), quantized_reference=True)
    rms, cosine, largest, importance = BLOCK[case]
    print(
        f"{name:7} {granularity:5} {planes} planes rms {found.rms:.5f} of {rms} cosine "
        f"{found.cosine.min():.6f} of {cosine} max {found.largest.max():.5f} of {largest} "
        f"importance {found.importance:.5f} of {importance}"
    )
    assert found.rms <= rms
    assert found.cosine.min() >= cosine
    assert found.largest.max() <= largest
    assert found.importance <= importance
    # Tight: neither bound is more than 1.5 times what is measured.
    assert found.rms > rms / 1.5
    assert found.largest.max() > largest / 1.5
    assert found.importance > importance / 1.5


@pytest.mark.parametrize(
    ("granularity", "rms", "cosine", "largest"),
    [("head", 0.037, 0.9960, 0.082), ("token", 0.0167, 0.99975, 0.027)],
)
def test_error_of_the_quantized_layer(trace, granularity, rms, cosine, largest):
    """Against the float64 attention of the recorded values: quantization included, 8 bits."""
    found = agreement(trace.q, trace.k, trace.v, granularity)
    assert rms / 1.5 < found.rms <= rms
    assert found.cosine.min() >= cosine
    assert largest / 1.5 < found.largest.max() <= largest


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("mixed", [False, True])
def test_error_of_the_ranking(trace, granularity, mixed):
    """8 bits rank as float does; 4 bits for two tokens of three move one token of 27."""
    bits = np.where(trace.precision == 8, 8, 4) if mixed else None
    exact = reference(trace.q, trace.k, trace.v).importance
    codes = [quantize(x, granularity) for x in (trace.q, trace.k, trace.v)]
    ranked = attention(Inputs(*codes, bits, bits, bits)).importance
    assert rank_agreement(ranked, exact, 0.31) == 1
    assert rank_agreement(ranked, exact, 0.72) >= (26 / 27 if mixed else 1)


@pytest.mark.parametrize(
    ("options", "limit"),
    [
        (Options(), math.log(2 * 119)),
        (Options(p_planes=3), math.log(2 * 1911)),
        (Options(p_follows_token=True), math.log(119 / 7.5)),
    ],
)
def test_keys_far_below_a_sink_are_dropped(options, limit):
    """From ``limit`` nats on weights are 0, and the output is the sink's value, -1."""
    v_bits = 4 if options.p_follows_token else 8
    for nats, dropped in ((limit - 0.08, False), (limit + 0.08, True)):
        q, k, v = (quantize(x) for x in sink(nats))
        bits = np.full(v.codes.shape[-2], v_bits)
        weights = attention(Inputs(q, k, v, v_bits=bits), options).weights.p[0, 0]
        assert weights[0]
        assert (weights[1:] == 0).all() == dropped
    others = 1023 * math.exp(-nats)
    one = 1 if v_bits == 8 else 112 / 119
    largest, error = weight_error(sink(nats), options, v_bits)
    assert largest == pytest.approx(one * abs(others - 1) / (others + 1), rel=0.03)
    assert error == pytest.approx(one * 2 * others / (1 + others), rel=0.03)


def gained_variants(q, k, v):
    """Relative rms of ways to keep V's gains out of the divisor, in real arithmetic after e16."""
    cq, ck, cv = (quantize(x, "token") for x in (q, k, v))
    e = attention(Inputs(cq, ck, cv)).e16
    exact = reference(*(dequantize(c) for c in (cq, ck, cv))).output
    gains = cv.gains.astype(np.int64)[..., None, :]
    product = e * gains

    def code(weights, bits):
        return (weights * 119 + (1 << (bits - 1))) >> bits

    lead = narrow(e, cv.gains).lead[..., None]
    shifted = code(product << lead, 24) / 2.0**lead
    fixed = code(product, 24)
    narrowed = code(e, 16).sum(-1, keepdims=True)
    total = e.sum(-1, keepdims=True) * 119 / 65536
    found = {}
    for name, p, divisor in (
        ("lead, exponentials", shifted, total),
        ("lead, narrowed", shifted, narrowed),
        ("exponentials", fixed, total),
        ("narrowed", fixed, narrowed),
        ("narrowed twice", apply_gain(code(e, 16), gains), narrowed),
        ("gain divided out", fixed, (fixed * 256 / gains).sum(-1, keepdims=True)),
    ):
        output = (p @ cv.codes) / divisor * cv.unit[:, None, None]
        found[name] = float(np.sqrt(np.mean((output - exact) ** 2) / np.mean(exact**2)))
    return found


@pytest.mark.parametrize("name", DATA)
def test_error_of_the_ways_to_leave_the_gain_out(data, name):
    """The way that was chosen has the smallest error; on real data less than a third."""
    found = gained_variants(*data[name])
    print(name, {way: round(error, 4) for way, error in found.items()})
    chosen = found.pop("lead, exponentials")
    assert chosen <= min(found.values()) * 1.0001
    if name == "trace":
        assert chosen < found["exponentials"] / 3
        # And it is what the block does.
        block = agreement(*data[name], "token", quantized_reference=True)
        assert abs(block.rms / chosen - 1) < 0.01


#: Options of narrow weights, and the precision of the tokens.
NARROW = {
    "balanced, 4 bits": (Options(p_follows_token=True), 4),
    "unsigned, 4 bits": (Options(p_follows_token=True, unsigned_weights=True), 4),
    "balanced, 8 bits": (Options(), 8),
    "unsigned, 8 bits": (Options(unsigned_weights=True), 8),
}
#: Error of each of them without exponents, and with.
EXPONENTS = {
    ("trace", "head"): (
        (0.2966, 0.2325), (0.1564, 0.1311), (0.0251, 0.0217), (0.0113, 0.0103)
    ),
    ("trace", "token"): (
        (0.1407, 0.1107), (0.0738, 0.0554), (0.0113, 0.0088), (0.0057, 0.0047)
    ),
    ("random", "head"): (
        (0.2723, 0.1821), (0.1135, 0.0865), (0.0140, 0.0117), (0.0081, 0.0072)
    ),
    ("random", "token"): (
        (0.2753, 0.2050), (0.1440, 0.1050), (0.0198, 0.0149), (0.0104, 0.0084)
    ),
    ("peaked", "head"): (
        (0.0935, 0.0590), (0.0568, 0.0348), (0.0162, 0.0087), (0.0094, 0.0050)
    ),
    ("peaked", "token"): (
        (0.0834, 0.0663), (0.0510, 0.0407), (0.0101, 0.0068), (0.0057, 0.0039)
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "granularity"), EXPONENTS)
def test_error_of_block_exponents(data, name, granularity):
    """Exponents of tiles of 32 keys lower the error of weights, most where these are narrow."""
    heads, n, _ = data[name][0].shape
    tiles = tiling(heads, n, n, (8, 32, 8))
    pairs = EXPONENTS[name, granularity]
    for (weights, (options, bits)), pair in zip(NARROW.items(), pairs, strict=True):
        plain, raised = (
            agreement(
                *data[name],
                granularity,
                replace(options, block_exponents=exponents),
                np.full(n, bits),
                quantized_reference=True,
                tiling=tiles,
            ).rms
            for exponents in (False, True)
        )
        print(f"| {name} | {granularity} | {weights} | {plain:.4f} | **{raised:.4f}** |")
        assert (round(plain, 4), round(raised, 4)) == pair


def test_documentation_quotes_errors_of_block_exponents():
    """Ten of their rows."""
    rows = [
        f"| {name} | {granularity} | {weights} | {plain:.4f} | **{raised:.4f}** |"
        for (name, granularity), pairs in EXPONENTS.items()
        for weights, (plain, raised) in zip(NARROW, pairs, strict=True)
    ]
    assert all(raised < plain for pairs in EXPONENTS.values() for plain, raised in pairs)
    table = DOCUMENT.read_text(encoding="utf-8").split("-k block_exponents -s`):\n")[1]
    documented = table.strip().split("\n\n")[0].splitlines()[2:]
    assert len(documented) == 10
    assert set(documented) <= set(rows)


@pytest.mark.parametrize("name", DATA)
def test_error_of_tables(data, name, monkeypatch):
    """Entries in the middle of a step at least halve the error of a probability on real data."""

    def error():
        codes = [quantize(x) for x in data[name]]
        exact = reference(*(dequantize(c) for c in codes)).probability
        got = attention(Inputs(*codes)).probability / 65536
        return np.sqrt(np.mean((got - exact) ** 2) / np.mean(exact**2))

    middle = error()
    monkeypatch.setattr(softmax, "LUT32", np.rint(65535 * 2 ** (-np.arange(32) / 32)).astype(int))
    start = error()
    print(f"{name}: middle {middle:.5f}, start {start:.5f}")
    assert middle < start * (0.5 if name == "trace" else 0.85)


def test_rank_agreement_counts_common_tokens():
    assert rank_agreement([4, 3, 2, 1], [1, 2, 3, 4], 0.5) == 0
    assert rank_agreement([4, 3, 2, 1], [4, 1, 3, 2], 0.5) == 0.5
    assert rank_agreement([4, 3, 2, 1], [3, 4, 1, 2], 0.5) == 1


def test_a_large_block_is_fast():
    """Length 384, 12 heads, d = 64: a quarter of a second; far more is a Python loop."""
    x = np.random.default_rng(0).normal(size=(3, 12, 384, 64))
    codes = [quantize(a, "token") for a in x]
    start = time.process_time()
    attention(Inputs(*codes))
    assert time.process_time() - start < 8


def test_documentation_quotes_what_is_measured(capsys):
    """Every row that the module prints is in docs/numerics.md, which may append a column."""
    accuracy.main()
    title, *lines = capsys.readouterr().out.splitlines()
    assert title == "all-MiniLM-L6-v2, layer 3, 12 x 37 x 32"
    rows = [line for line in lines if line.startswith("|") and not line.startswith("|---")]
    assert len(rows) > 40
    documented = DOCUMENT.read_text(encoding="utf-8")
    missing = [row for row in rows if f"\n{row}" not in documented]
    assert not missing, "run `python -m dtqatten.golden.accuracy` and update docs/numerics.md"
