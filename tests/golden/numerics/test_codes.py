"""Balanced codes: planes, scales, gains and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from dtqatten.golden.numerics.codes import (
    GAIN_ONE,
    Codes,
    Granularity,
    apply_gain,
    at_precision,
    code_range,
    dequantize,
    four_bit,
    join,
    quantize,
    split,
)

ALL = np.arange(-128, 120)
finite = st.floats(-1e6, 1e6, width=32)
tensors = npst.arrays(
    np.float64, npst.array_shapes(min_dims=3, max_dims=4, max_side=5), elements=finite
)


def test_every_code_survives_its_planes():
    high, low = split(ALL)
    assert (high.min(), high.max(), low.min(), low.max()) == (-8, 7, -8, 7)
    assert (high == (ALL + 8) >> 4).all()
    assert (join(high, low) == ALL).all()


@pytest.mark.parametrize(("planes", "limits"), [(1, (-8, 7)), (2, (-128, 119)), (3, (-2048, 1911))])
def test_every_code_of_any_width_survives_its_planes(planes, limits):
    assert code_range(planes) == limits
    codes = np.arange(limits[0], limits[1] + 1)
    nibbles = split(codes, planes)
    assert len(nibbles) == planes
    assert all(n.min() >= -8 and n.max() <= 7 for n in nibbles)
    assert (nibbles[0].min(), nibbles[0].max()) == (-8, 7)
    assert (join(*nibbles) == codes).all()


def test_high_plane_is_the_nearest_4_bit_code():
    """Within 8 codes of the 8-bit code: half a step of the 4-bit one."""
    assert np.abs(four_bit(ALL) - ALL).max() == 8
    steps = 16 * np.arange(-8, 8)
    nearest = np.abs(steps[:, None] - ALL).min(0)
    assert (np.abs(four_bit(ALL) - ALL) == nearest).all()


@given(tensors, st.sampled_from(Granularity))
def test_quantization_error_is_half_a_step(x, granularity):
    codes = quantize(x, granularity)
    step = codes.token_scale[..., None]
    assert (np.abs(dequantize(codes) - x) <= step * (0.5 + 1e-9)).all()
    # Nothing clips, and the largest value of a head uses the range.
    assert np.abs(codes.codes).max() <= 119
    used = np.abs(codes.codes).max((-1, -2)) == 119
    assert (used | (np.abs(x).max((-1, -2)) == 0)).all()


@given(tensors)
def test_gains_are_the_smallest_that_do_not_clip(x):
    codes = quantize(x, "token")
    largest = np.abs(x).max(-1)
    head = largest.max(-1, keepdims=True)
    gains = codes.gains.astype(int)
    assert gains.min() >= 1
    assert (gains * head >= 255 * largest * (1 - 1e-12))[head[..., 0] > 0].all()
    smaller = gains > 1
    assert ((gains - 1) * head < 255 * largest * (1 + 1e-12))[smaller].all()


def test_largest_token_has_gain_255_and_a_silent_one_gain_1():
    x = np.zeros((1, 3, 2))
    x[0, 0] = 0.1
    x[0, 1] = 1 / 3
    assert quantize(x, "token").gains.tolist() == [[77, 255, 1]]


def test_zero_head_is_code_zero_at_scale_one():
    codes = quantize(np.zeros((2, 3, 4)))
    assert (codes.scale == 1).all()
    assert not codes.codes.any()


def test_subnormal_head_is_quantized_without_overflow():
    x = np.full((1, 1, 2), 5e-324)
    assert np.abs(dequantize(quantize(x)) - x).max() <= np.finfo(float).tiny / 2


def test_token_scales_are_finer_than_head_scales():
    x = np.random.default_rng(0).normal(size=(1, 8, 16)) * np.geomspace(1, 1 / 16, 8)[:, None]
    by_head, by_token = (np.abs(dequantize(quantize(x, g)) - x).mean() for g in Granularity)
    assert by_token < by_head / 2


def test_given_scale_is_kept_and_refused_where_it_clips():
    x = np.array([[[1.0, -2.0]]])
    fixed = quantize(x, scale=[2 / 100])
    assert fixed.scale.tolist() == [0.02]
    assert fixed.codes.tolist() == [[[50, -100]]]
    for granularity in Granularity:
        with pytest.raises(
            ValueError, match=r"x reaches 2, outside 119 \* scale = 1.19.*at least 0.0168"
        ):
            quantize(x, granularity, scale=[0.01])
    with pytest.raises(ValueError, match="scale must be positive"):
        quantize(x, scale=[0.0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused(bad):
    x = np.ones((1, 2, 2))
    x[0, 1, 1] = bad
    with pytest.raises(ValueError, match="1 NaN or infinite"):
        quantize(x)


@pytest.mark.parametrize("shape", [(2, 2), (1, 0, 4), (0, 1, 4)])
def test_empty_or_flat_tensors_are_refused(shape):
    with pytest.raises(ValueError, match="non-empty"):
        quantize(np.zeros(shape))


def test_unknown_granularity_is_refused():
    with pytest.raises(ValueError, match="'channel': choose one of head, token"):
        quantize(np.ones((1, 1, 1)), "channel")


@pytest.mark.parametrize("code", [-129, 120])
def test_codes_out_of_range_are_refused(code):
    for use in (split, four_bit, lambda c: at_precision(c, None), lambda c: at_precision(c, 8)):
        with pytest.raises(ValueError, match=f"code {code} is outside -128..119"):
            use(np.array([0, code]))
    with pytest.raises(ValueError, match=f"code {code}"):
        Codes(np.array([[[code]]]), np.ones(1))


def test_other_bad_codes_are_refused():
    with pytest.raises(ValueError, match="must be integers, not float64"):
        split(np.array([1.0]))
    with pytest.raises(ValueError, match=r"nibble -9 is outside -8..7"):
        join([-9], [0])
    with pytest.raises(ValueError, match=r"nibble 8 is outside -8..7"):
        join([0], [8])
    with pytest.raises(ValueError, match="at least one plane"):
        join()
    with pytest.raises(ValueError, match="planes is 0"):
        split(ALL, 0)
    good = np.ones((1, 2, 3), np.int8)
    for scale, gains, message in (
        (np.ones(2), None, "one scale per head"),
        (np.array([np.inf]), None, "positive and finite"),
        (np.ones(1), np.ones((1, 3), np.uint8), "one gain per token"),
        (np.ones(1), np.zeros((1, 2), np.uint8), "a gain is 0: give one of 1..255"),
    ):
        with pytest.raises(ValueError, match=message):
            Codes(good, scale, gains)
    with pytest.raises(ValueError, match=r"\[..., heads, n, d\]"):
        Codes(np.ones((2, 2), np.int8), np.ones(()))


def test_precision_decides_what_a_token_is_worth():
    codes = np.array([[119], [119], [119]])
    assert at_precision(codes, np.array([[0], [4], [8]])).ravel().tolist() == [0, 112, 119]
    with pytest.raises(ValueError, match=r"precision is .*5.*0, 4 or 8"):
        at_precision(codes, np.array([[5], [4], [8]]))


def test_dequantize_by_precision():
    codes = Codes(np.array([[[100], [100], [100]]], np.int8), np.array([0.5]))
    assert dequantize(codes, [0, 4, 8]).ravel().tolist() == [0, 48, 50]


def test_taken_tokens_keep_codes_and_gains():
    codes = quantize(np.random.default_rng(0).normal(size=(2, 5, 3)), "token")
    taken = codes.take([3, 0])
    assert (dequantize(taken) == dequantize(codes)[:, [3, 0]]).all()


@given(st.integers(-(2**21), 2**21), st.integers(1, 255))
def test_gain_rounds_half_up(value, gain):
    exact = value * gain / 256
    assert apply_gain(value, gain) == np.floor(exact + 0.5)
    assert apply_gain(value, GAIN_ONE) == value


def test_unit_is_the_scale_at_the_neutral_gain():
    x = np.random.default_rng(1).normal(size=(2, 3, 4))
    assert (quantize(x).unit == quantize(x).scale).all()
    tokens = quantize(x, "token")
    assert np.allclose(tokens.unit[:, None] * tokens.gains / 256, tokens.token_scale)
