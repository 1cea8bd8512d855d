"""Soft-capping and biases: scores in 1/256 octaves, by definition and against real arithmetic."""

import numpy as np
import pytest

from dtqatten.golden.numerics.attention import Inputs, Options, attention
from dtqatten.golden.numerics.codes import dequantize
from dtqatten.golden.numerics.reference import reference
from dtqatten.golden.numerics.score_terms import (
    TANH,
    capped,
    in_octaves,
    quantize_bias,
    quantize_softcap,
)
from dtqatten.golden.numerics.segments import RowScale
from dtqatten.golden.numerics.sinks import quantize_sinks

OCTAVE = np.log(2)
#: A unit in nats.
UNIT = OCTAVE / 256


def rms(a, b):
    return np.sqrt(np.square(a - b).mean() / np.square(b).mean())


def test_terms_are_256ths_of_an_octave():
    assert quantize_bias([[0, OCTAVE, -OCTAVE, OCTAVE / 3]]).tolist() == [[0, 256, -256, 85]]
    assert quantize_bias([22713.0, -22713.0]).tolist() == [8388591, -8388591]
    assert quantize_softcap(50.0) == 18466
    assert quantize_softcap(UNIT) == 1
    for bad in (np.nan, np.inf, -np.inf, 22714.0, -22714.0):
        with pytest.raises(ValueError, match=r"bias .* does not fit 24 bits"):
            quantize_bias([0.0, bad])
    for bad in (0.0, -50.0, 0.0013):
        with pytest.raises(ValueError, match=r"softcap .* give 0.0014"):
            quantize_softcap(bad)
    with pytest.raises(ValueError, match="softcap inf does not fit"):
        quantize_softcap(np.inf)
    for bad in (0, -1, 1 << 23):
        with pytest.raises(ValueError, match="quantize_softcap"):
            capped(np.array([1]), bad)


def test_a_cap_by_hand():
    assert (TANH[0], TANH[128], TANH[-1]) == (0, 49912, 65536)
    # A third of an octave under a cap of one: tanh(85/256) = 0.3203, 82 units.
    assert capped(np.array([85, -85, 0]), 256).tolist() == [82, -82, 0]
    # Far above it is the cap, of either sign, in the widest place too.
    wide = np.array([8 * 256, 1 << 41, -(1 << 41)])
    assert capped(wide, 256).tolist() == [256, 256, -256]
    assert capped(np.array([-3, -1, 0, 1, 3]), 1).tolist() == [-1, -1, 0, 1, 1]


@pytest.mark.parametrize("cap", [1, 2, 7, 256, 18466, 1 << 16, (1 << 23) - 1])
def test_a_cap_is_within_its_bound_and_never_falls(cap):
    rng = np.random.default_rng(cap)
    place = np.sort(
        np.concatenate([rng.integers(-9 * cap, 9 * cap, 20000), np.arange(-600, 600)])
    ).astype(np.int64)
    got = capped(place, cap)
    assert np.abs(got - cap * np.tanh(place / cap)).max() <= 0.5 + cap * 2**-14
    assert (np.diff(got) >= 0).all()
    assert np.array_equal(capped(-place, cap), -got)


def test_scores_come_to_octaves_by_their_rows_scale():
    """32 units of score are an octave in the first row, 16 in the second: rounded down."""
    scale = RowScale(np.array([[2**15, 2**16 - 1]]), np.array([15]))
    scores, bias = np.array([[[32, -1], [16, -1]]]), np.array([[[0, 5], [0, 5]]])
    place, after = in_octaves(scores, scale, None, bias)
    assert place.tolist() == [[[256, -3], [255, -11]]]
    assert after.factor.tolist() == [[1, 1]]
    assert after.shift.tolist() == [3]


@pytest.mark.parametrize("granularity", ["head", "token"])
@pytest.mark.parametrize("planes", [2, 3])
def test_the_block_equals_plain_python(random_codes, plain_block, granularity, planes):
    """With terms alone and together, segments, sinks, hidden keys and mixed precisions."""
    for seed in range(6):
        rng = np.random.default_rng(seed)
        codes = random_codes(seed, granularity, n=16, size=1.5)
        options = Options(p_planes=planes, p_follows_token=seed % 2 == 0)
        inputs = Inputs(
            *codes,
            rng.choice([4, 8], 5),
            rng.choice([0, 4, 8], 16),
            rng.choice([4, 8], 16),
            rng.random((5, 16)) < 0.8,
            cuts=((), (8,), (3, 4, 9))[seed % 3],
            sinks=quantize_sinks([0.5, -2.0]) if seed > 2 else None,
            softcap=None if seed == 1 else quantize_softcap(2.0),
            bias=None if seed == 2 else quantize_bias(3 * rng.normal(size=(2, 5, 16))),
        )
        out = attention(inputs, options)
        expected, total = plain_block(inputs, options)
        assert (out.output == expected).all()
        assert (out.importance == total).all()


@pytest.mark.parametrize("granularity", ["head", "token"])
@pytest.mark.parametrize("case", ["bias", "cap", "both", "sinks"])
def test_terms_add_no_error_to_that_of_the_block(random_codes, granularity, case):
    """Against real arithmetic of the same codes, with weights of 12 bits."""
    rng = np.random.default_rng(3)
    codes = random_codes(3, granularity, m=16, n=48, size=1.5)
    q, k, v = (dequantize(x) for x in codes)
    bias = 3 * rng.normal(size=(2, 16, 48)) if case in ("bias", "both", "sinks") else None
    cap = 2.0 if case in ("cap", "both", "sinks") else None
    logits = [1.0, -1.0] if case == "sinks" else None
    exact = reference(q, k, v, softcap=cap, bias=bias, sinks=logits)
    out = attention(
        Inputs(
            *codes,
            sinks=None if logits is None else quantize_sinks(logits),
            softcap=None if cap is None else quantize_softcap(cap),
            bias=None if bias is None else quantize_bias(bias),
        ),
        Options(p_planes=3),
    )
    assert rms(out.values, exact.output) < 0.008
    assert rms(out.importance / 2**16, exact.importance) < 0.003
    # Left out, they would show.
    assert rms(out.values, reference(q, k, v).output) > 0.1


def test_a_bias_of_zero_is_the_block_in_other_units(random_codes):
    codes = random_codes(5, m=16, n=32)
    plain = attention(Inputs(*codes))
    got = attention(Inputs(*codes, bias=np.zeros((2, 16, 32), np.int64)))
    assert rms(got.values, plain.values) < 0.01
    with pytest.raises(ValueError, match="bias has shape"):
        Inputs(*codes, bias=np.zeros((1, 16, 32), np.int64))
