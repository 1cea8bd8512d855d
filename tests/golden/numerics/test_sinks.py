"""Sinks: a share of the row, and nothing else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtqatten.golden.numerics.attention import Inputs, Options, attention
from dtqatten.golden.numerics.codes import dequantize, quantize
from dtqatten.golden.numerics.reference import reference
from dtqatten.golden.numerics.segments import RowScale
from dtqatten.golden.numerics.sinks import NO_SINK, quantize_sinks, sink_weight
from dtqatten.golden.numerics.weights import BALANCED, WeightCode

GRANULARITIES = ("head", "token")
#: A unit of score is 1/32 octave.
SCALE = RowScale(np.array([[2**15]]), np.array([15]))


def random_codes(seed, granularity="head", n_q=5, n_k=12, heads=2):
    rng = np.random.default_rng(seed)
    return [quantize(2 * rng.normal(size=(heads, n, 8)), granularity) for n in (n_q, n_k, n_k)]


def weight(sink, maximum=0, code=BALANCED, scale=SCALE):
    return [x.item() for x in sink_weight(np.array([sink]), np.array([[maximum]]), scale, code)]


def test_sinks_are_256ths_of_an_octave():
    octave = np.log(2)
    assert quantize_sinks([0, octave, -octave, octave / 3]).tolist() == [0, 256, -256, 85]
    assert quantize_sinks([-np.inf, 88.72, -88.72]).tolist() == [NO_SINK, 32767, -32767]
    for bad in (np.nan, np.inf, 88.73, -88.73):
        with pytest.raises(ValueError, match="does not fit 16 bits"):
            quantize_sinks([0.0, bad])


def test_weight_of_a_sink_by_hand():
    # At the maximum it weighs as much as the largest key: 65536, 119 codes.
    assert weight(0) == [65536, 119 * 16]
    assert weight(96 * 8, 96) == [65536, 119 * 16]
    assert weight(0, code=WeightCode(3)) == [65536, 1911 * 16]
    assert weight(0, code=WeightCode(2, unsigned=True)) == [65536, 255 * 16]
    assert weight(0, code=WeightCode(3, unsigned=True)) == [65536, 4095 * 16]
    # Octaves below are shifts to the right, above to the left.
    assert weight(-256) == [32768, 119 * 8]
    assert weight(-256 * 16) == [1, 0]
    assert weight(-256 * 17) == [0, 0]
    assert weight(256 * 3) == [65536 << 3, 119 * 16 << 3]
    # 1/256 octave below is entry 1; above it is entry 255, one octave up.
    assert weight(-1)[0] == 65270
    assert weight(1)[0] == 32812 << 1


def test_both_extremes():
    assert weight(NO_SINK, -(10**6)) == [0, 0]
    assert weight(NO_SINK + 1, 0) == [0, 0]
    # From 29 octaves above on it is always the same.
    for sink in (29 * 256, 29 * 256 + 1, 29 * 256 + 255, 30 * 256, 32767):
        assert weight(sink) == [65536 << 29, 119 * 16 << 29]
    assert weight(29 * 256 - 1)[0] == 65270 << 29
    # The widest octaves: 256 channels, the largest multiplier; the longest shift.
    wide = RowScale(np.array([[65535]]), np.array([0]))
    assert weight(32767, 3_686_400, scale=wide) == [0, 0]
    assert weight(-32767, -3_686_400, scale=wide)[0].bit_length() == 46
    assert weight(32767, code=WeightCode(3))[1].bit_length() == 44
    assert weight(32767, code=WeightCode(3, unsigned=True))[1].bit_length() == 45
    long = RowScale(np.array([[65535]]), np.array([40]))
    assert weight(256, 3_686_400, scale=long)[0] == pytest.approx(2 * 65536 * 2**-0.0069, rel=3e-3)


@given(st.integers(-6000, 7000), st.integers(-3000, 3000))
def test_weight_error(sink, maximum):
    """Within a step of 1/256 octave, and a unit where bits are shifted out."""
    e, divisor = weight(sink, maximum)
    octaves = min(sink / 256 - maximum / 32, 29)
    exact = 65536 * 2.0**octaves
    assert exact * 2 ** (-1 / 256) - 1 <= e <= exact * 2 ** (1 / 256)
    assert abs(divisor - 16 * 119 * e / 65536) <= 0.5


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_no_sink_is_as_if_there_were_none(granularity):
    codes = random_codes(0, granularity)
    plain = attention(Inputs(*codes))
    for logits in (np.full(2, -np.inf), np.full(2, -80.0)):
        out = attention(Inputs(*codes, sinks=quantize_sinks(logits)))
        assert (out.output == plain.output).all()
        assert (out.probability == plain.probability).all()
        assert (out.weights.divisor == plain.weights.divisor).all()


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_a_sink_far_above_takes_all(granularity):
    out = attention(Inputs(*random_codes(1, granularity), sinks=np.full(2, 32767, np.int16)))
    assert not out.output.any()
    assert not out.importance.any()


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_a_sink_adds_to_the_sum_and_to_nothing_else(granularity):
    codes = random_codes(2, granularity)
    plain = attention(Inputs(*codes))
    out = attention(Inputs(*codes, sinks=quantize_sinks([7.0, 9.0])))
    for name in ("scores", "e16", "sums"):
        assert (getattr(out, name) == getattr(plain, name)).all()
    assert (out.weights.p == plain.weights.p).all()
    assert (out.weights.lead == plain.weights.lead).all()
    assert (out.weights.divisor > plain.weights.divisor).all()
    assert (out.importance < plain.importance).all()


def test_rows_that_see_nothing_take_no_sink():
    codes = random_codes(3, "token")
    mask = np.ones((5, 12), bool)
    mask[2] = False
    out = attention(Inputs(*codes, mask=mask, sinks=quantize_sinks([5.0, 5.0])))
    assert not out.output[:, 2].any()
    assert not out.probability[:, 2].any()
    assert not out.weights.divisor[:, 2].any()


@given(st.integers(0, 999), st.floats(-12, 12), st.sampled_from(GRANULARITIES), st.booleans())
@settings(max_examples=40)
def test_error_against_float64(seed, logit, granularity, cut):
    """With a sink the row's own error is not larger than the sink's: a weighted mean shrinks."""
    codes = random_codes(seed, granularity)
    cuts = (3, 4) if cut else ()
    sinks = np.array([logit, -logit])
    out = attention(Inputs(*codes, cuts=cuts, sinks=quantize_sinks(sinks)), Options(p_planes=3))
    values = [dequantize(c) for c in codes]
    exact = reference(*values, sinks=sinks)
    # Keys: 1/64 octave, 1/32 near the maximum; the sink: 1/512 for its rounding, 1/256 for u.
    error = np.abs(out.values - exact.output).max()
    assert error <= 0.05 * np.abs(values[2]).max()
    assert np.abs(out.probability / 65536 - exact.probability).max() < 0.01
    sums = exact.probability.sum(-1)
    assert np.abs(out.probability.sum(-1) / 65536 - sums).max() < 0.012


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("planes", [2, 3])
def test_sinks_equal_plain_python(plain_block, granularity, planes):
    for seed in range(4):
        rng = np.random.default_rng(seed)
        codes = random_codes(seed, granularity, n_q=3)
        inputs = Inputs(
            *codes,
            mask=rng.random((3, 12)) < 0.6,
            cuts=((), (1,), (4, 5, 11), (6,))[seed],
            sinks=rng.integers(-1200, 1600, 2).astype(np.int16),
        )
        out = attention(inputs, Options(p_planes=planes))
        expected, total = plain_block(inputs, Options(p_planes=planes))
        assert (out.output == expected).all()
        assert (out.importance == total).all()


def test_sinks_of_other_shape_are_refused():
    with pytest.raises(ValueError, match=r"sinks has shape \(3,\), but must have \(2,\)"):
        Inputs(*random_codes(0), sinks=np.zeros(3, np.int16))


@pytest.mark.parametrize("sinks", [np.array([0.5]), np.array([2**15]), np.array([-(2**15) - 1])])
def test_sinks_of_other_width_are_refused(sinks):
    with pytest.raises(ValueError, match="integers of 16 bits"):
        weight(sinks[0])
