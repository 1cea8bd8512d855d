"""Integer softmax: multiplier, exponent, exponential, reciprocal, probabilities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from dtqatten.golden.numerics.softmax import (
    LUT32,
    Multiplier,
    exponent,
    exponential,
    multiplier,
    normalized,
    reciprocal,
    row_multiplier,
)

e16_rows = npst.arrays(
    np.int64,
    st.tuples(st.just(1), st.integers(1, 4), st.integers(1, 40)),
    elements=st.integers(0, 65535),
)


def visible(scores):
    return np.ones(scores.shape, dtype=bool)


def softmax_e16(scores, m=2**15, shift=15):
    scores = np.asarray(scores)
    rows = np.full(scores.shape[:-1], m)
    t, _ = exponent(scores, rows, np.full(scores.shape[:-2], shift), visible(scores))
    return exponential(t, visible(scores))


def test_table_is_the_one_in_the_documentation():
    assert LUT32.tolist() == [
        65535, 63440, 62081, 60750, 59449, 58175, 56928, 55708,
        54515, 53346, 52203, 51085, 49990, 48919, 47871, 46845,
        45841, 44859, 43898, 42957, 42036, 41136, 40254, 39392,
        38548, 37722, 36913, 36122, 35348, 34591, 33850, 33124,
    ]  # fmt: skip


@given(st.floats(-24, 15.99))
def test_multiplier_is_exact_to_16_bits(power):
    factor = 2.0**power
    unit = factor / (32 * np.log2(np.e))
    found = multiplier([unit], 1, 1.0)
    assert 2**15 <= found.m[0] < 2**16
    assert 0 <= found.shift[0] <= 40
    assert abs(found.m[0] * 2.0 ** -found.shift[0] / factor - 1) <= 2.0**-16 * (1 + 1e-9)


def test_multiplier_rounded_up_to_the_next_power_of_two():
    found = multiplier([(1 - 2.0**-18) / (32 * np.log2(np.e))], 1, 1.0)
    assert (found.m[0], found.shift[0]) == (2**15, 15)


def test_multiplier_outside_its_range():
    tiny = multiplier([1e-30], 64)
    assert (tiny.m[0], tiny.shift[0]) == (0, 40)
    huge = multiplier([1e9], 64)
    assert (huge.m[0], huge.shift[0]) == (65535, 0)
    assert multiplier([0.0], 64).m[0] == 0
    for bad in (np.nan, np.inf, -1.0):
        with pytest.raises(ValueError, match="finite and not negative"):
            multiplier([bad], 64)
    with pytest.raises(ValueError, match="d is 0"):
        multiplier([1.0], 0)


def test_default_scale_is_the_inverse_root_of_d():
    a, b = multiplier([0.01], 64), multiplier([0.01], 64, 1 / 8)
    assert (a.m[0], a.shift[0]) == (b.m[0], b.shift[0])


def test_row_gain_joins_the_multiplier():
    factor = Multiplier(np.array([40001]), np.array([20]))
    assert row_multiplier(factor, None, 3).tolist() == [[40001] * 3]
    gains = np.array([[1, 128, 255]])
    assert row_multiplier(factor, gains, 3).tolist() == [[156, 20001, 39845]]


def test_exponent_is_rounded_down_and_the_maximum_exact():
    # One score is worth 3/4 of a step.
    t, maximum = exponent(
        np.array([[[0, -1, -2, -3, -4]]]), np.array([[3]]), np.array([2]), np.ones((1, 1, 5), bool)
    )
    assert maximum.tolist() == [[0]]
    assert t.tolist() == [[[0, 0, 1, 2, 3]]]


def test_maximum_is_over_visible_keys():
    seen = np.array([[True, False, True], [False, False, False]])
    scores = np.array([[-5, 100, -7], [1, 2, 3]])
    t, maximum = exponent(scores[None], np.full((1, 2), 32), np.array([0]), seen[None])
    assert maximum.tolist() == [[-5, 0]]
    assert t[0, 0, [0, 2]].tolist() == [0, 64]
    assert exponential(t, seen[None]).tolist() == [[[65535, 0, 65535 >> 2], [0, 0, 0]]]


def test_exponential_halves_each_octave_and_ends():
    t = np.array([0, 31, 32, 63, 64, 511, 512, 2**40])
    expected = [65535, 33124, 32767, 16562, 16383, 1, 0, 0]
    assert exponential(t, np.ones(8, bool)).tolist() == expected
    with pytest.raises(ValueError, match="exponent -1 is negative"):
        exponential(np.array([-1]), np.ones(1, bool))


def test_exponential_never_rises():
    assert (np.diff(exponential(np.arange(600), np.ones(600, bool))) <= 0).all()


def test_exponential_error():
    """Against ``2**-x`` at every real exponent of a step; the largest is 1404 of 65536, in step 0.

    Elsewhere an entry is at most half a step off, 710 of 65536, and the mean of its relative error
    over the octave is below 0.1 %: rounding ``t`` down does not bias the weights.
    """
    t = np.arange(512)
    got = exponential(t, np.ones(512, bool))
    ends = [65536 * np.exp2(-(t + at) / 32) for at in (0, 1)]
    worst = np.maximum(*(np.abs(got - end) for end in ends))
    assert 1400 < worst[0] < 1405
    assert 690 < worst[1:].max() < 710
    middle = 65536 * np.exp2(-(t + 0.5) / 32)
    assert abs((got / middle - 1)[1:128].mean()) < 1e-3


@given(st.integers(1, 2**33))
def test_reciprocal_is_17_bits_and_never_above(divisor):
    r, z = reciprocal(np.array([divisor]))
    assert 2**16 <= r[0] < 2**17
    assert int(z[0]) == divisor.bit_length()
    # Exact integers: 1 - 2**-16 < R * D / 2**(z + 16) < 1.
    product, one = int(r[0]) * divisor, 1 << (int(z[0]) + 16)
    assert product < one
    assert (one - product) << 16 < one


def test_reciprocal_corners():
    r, z = reciprocal(np.array([0, 1, 2, 3]))
    assert r.tolist() == [0, 131071, 131071, 87381]
    assert z.tolist() == [0, 1, 2, 2]
    with pytest.raises(ValueError, match="divisor -1 is negative"):
        reciprocal(np.array([-1]))


@given(e16_rows)
def test_probability_error(e16):
    """Half a unit of ``2**-16`` from rounding, ``2**-16`` of it from the reciprocal."""
    q = normalized(e16)
    total = e16.sum(-1, keepdims=True)
    assert (q >= 0).all()
    assert (q <= 65535).all()
    exact = 65536 * e16 / np.maximum(total, 1)
    unsaturated = q < 65535
    assert (np.abs(q - exact) <= 0.5 + exact / 65536)[unsaturated].all()
    assert (exact > 65533).sum() >= (~unsaturated).sum()


def test_probability_corners():
    assert normalized(np.array([[65535]])).tolist() == [[65535]]
    assert normalized(np.array([[0, 0]])).tolist() == [[0, 0]]
    assert normalized(np.array([[65535] * 4])).tolist() == [[16384] * 4]
    # 65536 / 3 = 21845.33, and the reciprocal is low by less than 2**-16.
    assert normalized(np.array([[65535] * 3])).tolist() == [[21845] * 3]


def test_rows_of_identical_scores_are_uniform():
    for value in (-1_843_200, 0, 1_843_200):
        e16 = softmax_e16(np.full((1, 2, 7), value))
        assert (e16 == 65535).all()
        assert len(np.unique(normalized(e16))) == 1


def test_scores_at_both_ends_of_the_range():
    e16 = softmax_e16(np.array([[[1_843_200, -1_843_200]]]), m=65535, shift=0)
    assert e16.tolist() == [[[65535, 0]]]
