"""Biases of keys: by definition, against real arithmetic, and beside all that rows go through."""

import numpy as np
import pytest

from dtqatten.golden.generation import normal
from dtqatten.golden.numerics.attention import Inputs, Options, attention, row_scale
from dtqatten.golden.numerics.calls import layer_call
from dtqatten.golden.numerics.codes import apply_gain, dequantize, quantize
from dtqatten.golden.numerics.local_values import tiling
from dtqatten.golden.numerics.masks import position_mask
from dtqatten.golden.numerics.products import scores
from dtqatten.golden.numerics.reference import reference
from dtqatten.golden.numerics.score_terms import (
    biased,
    in_octaves,
    quantize_bias,
    quantize_key_bias,
)
from dtqatten.golden.numerics.segments import RowScale
from dtqatten.golden.numerics.sinks import quantize_sinks
from dtqatten.golden.numerics.softmax import exponential
from dtqatten.golden.numerics.tokens import TokenList
from dtqatten.golden.traces.trace import example

OCTAVE = np.log(2)


def rms(a, b):
    return np.sqrt(np.square(a - b).mean() / np.square(b).mean())


def operands(rng, *, heads=3, m=20, n=48, d=16, gains="token"):
    shapes = ((heads, m, d), (heads, n, d), (heads, n, d))
    return [quantize(rng.normal(size=shape), gains) for shape in shapes]


def test_a_bias_has_16_bits_of_256ths_of_an_octave():
    assert quantize_key_bias([[0, OCTAVE, -OCTAVE, OCTAVE / 3]]).tolist() == [[0, 256, -256, 85]]
    assert quantize_key_bias([88.7, -88.7]).tolist() == [32760, -32760]
    assert quantize_key_bias([0.0]).dtype == np.int16
    for bad in (np.nan, np.inf, -np.inf, 88.8, -88.8):
        with pytest.raises(ValueError, match=r"bias .* of a key does not fit 16 bits .* -88.7"):
            quantize_key_bias([0.0, bad])


def test_octaves_by_hand():
    """Multiplied, shifted down, kept within 18 bits, then the bias, within 18 bits again."""
    scale = RowScale(np.array([[3, 1 << 15]]), np.array([1]))
    scores = np.array([[[5, -5, 0, 1 << 20], [1, -1, 7, -(1 << 22)]]])
    octaves, to_exponents = biased(scores, scale, np.array([[100, -100, 32767, -32768]]))
    most = (1 << 17) - 1
    # 5 * 3 * 8 / 2 = 60; -60; 0; far above: cut before the bias is added.
    assert octaves[0, 0].tolist() == [160, -160, 32767, most - 32768]
    # 2**15 * 4 is one too large already; so is a bias that lifts what is largest.
    assert octaves[0, 1].tolist() == [most, -most, most, -most]
    assert to_exponents.factor.tolist() == [[1, 1]]
    assert to_exponents.shift.tolist() == [3]
    for bad in (np.array([[1 << 15] * 4]), np.array([[0.5] * 4])):
        with pytest.raises(ValueError, match="quantize_key_bias"):
            biased(scores, scale, bad)


def test_rounding_is_that_of_biases_of_pairs():
    """Where nothing is cut, both give the same bits."""
    rng = np.random.default_rng(0)
    q, k, v = operands(rng)
    nats = rng.normal(size=(3, 48)) * 5
    pairs = np.broadcast_to(quantize_bias(nats)[:, None], (3, 20, 48))
    one = attention(Inputs(q, k, v, key_bias=quantize_key_bias(nats)))
    other = attention(Inputs(q, k, v, bias=pairs))
    assert np.array_equal(one.output, other.output)
    assert np.array_equal(one.importance, other.importance)
    scores = rng.integers(-(1 << 20), 1 << 20, (3, 20, 48))
    scale = RowScale(rng.integers(0, 1 << 16, (3, 20)), np.array([18, 20, 40]))
    octaves, _ = in_octaves(scores, scale, None, pairs)
    inside = np.abs(octaves) < (1 << 17) - (1 << 15)
    found, _ = biased(scores, scale, quantize_key_bias(nats))
    assert np.array_equal(found[inside], octaves[inside])


@pytest.mark.parametrize("gains", ["head", "token"])
def test_against_float64(gains):
    """As near as without biases, which differ by row where they are left out."""
    rng = np.random.default_rng(1)
    q, k, v = operands(rng, heads=4, m=48, n=96, d=64, gains=gains)
    nats = rng.normal(size=(4, 96)) * 2
    real = [dequantize(x) for x in (q, k, v)]
    exact = reference(*real, bias=np.broadcast_to(nats[:, None], (4, 48, 96)))
    found = attention(Inputs(q, k, v, key_bias=quantize_key_bias(nats)), Options(p_planes=3))
    plain = attention(Inputs(q, k, v), Options(p_planes=3))
    without = reference(*real)
    assert rms(found.values, exact.output) < 1.15 * rms(plain.values, without.output) < 0.01
    assert rms(found.values, without.output) > 0.5
    np.testing.assert_allclose(found.importance / 2**16, exact.importance, rtol=0.02)


def test_biases_of_0_change_a_row_by_their_unit_alone():
    """Scores are rounded to 1/256 octaves then: 0.27 % of a weight."""
    rng = np.random.default_rng(2)
    q, k, v = operands(rng)
    zero = attention(Inputs(q, k, v, key_bias=np.zeros((3, 48), np.int16)))
    plain = attention(Inputs(q, k, v))
    assert not np.array_equal(zero.e16, plain.e16)
    assert np.abs(zero.e16 - plain.e16).max() <= 1 + 65535 * (1 - 2 ** (-1 / 32))


#: Of docs/numerics.md: error of the probabilities on each data, by bits of fraction.
ERRORS = {
    "trace": (0.0056, 0.0034, 0.0021, 0.0020, 0.0020),
    "random": (0.0097, 0.0061, 0.0042, 0.0040, 0.0040),
    "peaked": (0.0039, 0.0026, 0.0016, 0.0015, 0.0015),
}


@pytest.mark.parametrize("name", ERRORS)
def test_eight_bits_of_fraction_are_enough(name):
    """Places of so many bits, those of the block, and a bias that joins the product unshifted."""
    if name == "trace":
        trace = example()
        q, k = trace.q, trace.k
        mean = q.mean(1, keepdims=True)
        q = q - mean
    else:
        q, k, _ = normal(name == "peaked", 96, 96)
        mean = q.mean(1, keepdims=True) + np.random.default_rng(0).normal(size=(4, 1, 64))
    scale = q.shape[-1] ** -0.5
    nats = mean @ k.swapaxes(-1, -2) * scale
    codes = quantize(q, "token"), quantize(k, "token")
    left, right = (dequantize(x) for x in codes)
    logits = left @ right.swapaxes(-1, -2) * scale + nats
    exact = np.exp(logits - logits.max(-1, keepdims=True))
    exact /= exact.sum(-1, keepdims=True)
    gained = apply_gain(scores(codes[0].codes, codes[1].codes), codes[1].gains[..., None, :])
    row = row_scale(*codes)
    factor, shift = row.factor[..., None], row.shift[..., None, None]

    def error(scores, drop):
        t = (scores.max(-1, keepdims=True) - scores) >> drop
        e = exponential(t, np.ones(t.shape, bool))
        return rms(e / e.sum(-1, keepdims=True), exact)

    octaves = nats * np.log2(np.e)

    def rounded(bits):
        added = np.rint(octaves * 2**bits).astype(int)
        return error(((gained * factor << bits - 5) >> shift) + added, bits - 5)

    built, to_exponents = biased(gained, row, quantize_key_bias(nats[:, 0]))
    found = [
        rounded(5),
        rounded(6),
        error(built, to_exponents.shift[..., None, None]),
        rounded(10),
        error(gained * factor + np.rint(octaves * 32 * 2.0**shift).astype(int), shift),
    ]
    print(f"|{name}|" + "|".join(f"{each:.4f}" for each in found) + "|")
    assert [round(each, 4) for each in found] == list(ERRORS[name])


def test_what_is_common_to_all_keys_cancels():
    rng = np.random.default_rng(3)
    q, k, v = operands(rng)
    bias = rng.integers(-1000, 1000, (3, 48)).astype(np.int16)
    one = attention(Inputs(q, k, v, key_bias=bias))
    other = attention(Inputs(q, k, v, key_bias=(bias + 777).astype(np.int16)))
    assert np.array_equal(one.output, other.output)


def test_a_masked_key_stays_masked():
    """Whatever its bias; and a low bias masks a key as well."""
    rng = np.random.default_rng(4)
    q, k, v = operands(rng)
    mask = position_mask(np.arange(20), np.arange(48), causal=True)
    bias = rng.integers(-500, 500, (3, 48)).astype(np.int16)
    hidden = np.where(np.arange(48) >= 20, 32767, bias).astype(np.int16)
    one = attention(Inputs(q, k, v, mask=mask, key_bias=hidden))
    other = attention(Inputs(q, k, v, mask=mask, key_bias=bias))
    assert np.array_equal(one.output, other.output)
    assert not one.importance[20:].any()
    some = np.arange(48) % 3 > 0
    soft = attention(Inputs(q, k, v, key_bias=np.where(some, bias, -32768).astype(np.int16)))
    hard = attention(Inputs(q, k, v, mask=np.broadcast_to(some, (20, 48)), key_bias=bias))
    assert np.array_equal(soft.output, hard.output)
    nothing = attention(Inputs(q, k, v, mask=np.zeros((20, 48), bool), key_bias=bias))
    assert not nothing.output.any()


def test_segments_and_sinks_join_rows_with_biases():
    rng = np.random.default_rng(5)
    q, k, v = operands(rng, d=32)
    nats, sinks = rng.normal(size=(3, 48)) * 3, np.array([0.5, 3.0, -np.inf])
    real = [dequantize(x) for x in (q, k, v)]
    pairs = np.broadcast_to(nats[:, None], (3, 20, 48))
    exact = reference(*real, bias=pairs, sinks=sinks).output
    for cuts in ((), (7, 30)):
        made = Inputs(q, k, v, cuts=cuts, sinks=quantize_sinks(sinks),
                      key_bias=quantize_key_bias(nats))  # fmt: skip
        assert rms(attention(made, Options(p_planes=3)).values, exact) < 0.01


def test_a_trial_has_biases_too():
    """A row that is flat without them, and is none with one that stands out."""
    rng = np.random.default_rng(6)
    q, k, v = operands(rng, heads=1, m=2, n=32)
    tiles = tiling(1, 2, 32, (2, 4, 2))
    bias = np.zeros((1, 32), np.int16)
    options = Options(flat_sum=200_000)
    flat = attention(Inputs(q, k, v, tiling=tiles, key_bias=bias), options)
    bias[0, 5] = 256 * 20
    peaked = attention(Inputs(q, k, v, tiling=tiles, key_bias=bias), options)
    assert flat.trial is not None
    assert flat.trial.flat.all()
    assert peaked.trial is not None
    assert not peaked.trial.flat.any()


def test_a_call_takes_those_of_its_keys():
    rng = np.random.default_rng(7)
    q, k, v = operands(rng, m=2, n=12)
    bias = rng.integers(-900, 900, (3, 12)).astype(np.int16)
    keys = TokenList(np.array([3, 9, 1, 4]), 2)
    made = layer_call(q, k, v, TokenList(np.array([10, 11]), 0), keys, key_bias=bias)
    assert np.array_equal(made.key_bias, bias[:, [3, 9, 1, 4]])


def test_what_cannot_be_is_refused():
    rng = np.random.default_rng(8)
    q, k, v = operands(rng)
    bias = np.zeros((3, 48), np.int16)
    with pytest.raises(ValueError, match=r"key_bias has shape \(3, 47\), but must have \(3, 48\)"):
        Inputs(q, k, v, key_bias=bias[:, 1:])
    for other in ({"softcap": 100}, {"bias": np.zeros((3, 20, 48), int)}):
        with pytest.raises(ValueError, match="biases of keys with soft caps or biases of pairs"):
            Inputs(q, k, v, key_bias=bias, **other)
