"""Integer softmax: multiplier, exponent, exponential, reciprocal, narrowing, probabilities."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from dtqatten.golden.numerics import softmax
from dtqatten.golden.numerics.codes import four_bit
from dtqatten.golden.numerics.softmax import (
    LUT32,
    Multiplier,
    exponent,
    exponential,
    multiplier,
    narrow,
    normalized,
    reciprocal,
    row_multiplier,
)
from dtqatten.golden.numerics.weights import WeightCode

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
        assert (narrow(e16).p == 119).all()


def test_scores_at_both_ends_of_the_range():
    e16 = softmax_e16(np.array([[[1_843_200, -1_843_200]]]), m=65535, shift=0)
    assert e16.tolist() == [[[65535, 0]]]


@pytest.mark.parametrize(
    ("planes", "unsigned", "top"),
    [(2, False, 119), (3, False, 1911), (2, True, 255), (3, True, 4095)],
)
def test_narrowing_rounds_half_up_to_the_row_maximum(planes, unsigned, top):
    e16 = np.arange(65536)[None, None, :]
    p = narrow(e16, code=WeightCode(planes, unsigned)).p
    assert (p == np.floor(e16 * top / 65536 + 0.5)).all()
    assert (p.min(), p.max()) == (0, top)


def test_divisor_without_gains_is_the_sum_of_the_codes():
    e16 = np.array([[[65535, 300, 200]]])
    narrowed = narrow(e16)
    assert narrowed.p.tolist() == [[[119, 1, 0]]]
    assert narrowed.divisor.tolist() == [[16 * 120]]
    assert narrowed.lead.tolist() == [[0]]


def test_gains_join_before_narrowing_and_stay_out_of_the_divisor():
    e16 = np.array([[[65535, 32768]]])
    narrowed = narrow(e16, np.array([[64, 256]]))
    # The largest product is 2**23: no leading zero. 59.5 rounds up.
    assert narrowed.p.tolist() == [[[30, 60]]]
    assert narrowed.lead.tolist() == [[0]]
    assert narrowed.divisor.tolist() == [[(98303 * 119 + 2048) >> 12]]


def test_lead_brings_the_largest_gained_weight_to_24_bits():
    e16 = np.array([[[65535, 1000]]])
    for gain, lead in ((256, 0), (255, 0), (129, 0), (128, 1), (60, 2), (2, 7), (1, 8)):
        narrowed = narrow(e16, np.array([[gain, 1]]))
        assert narrowed.lead.item() == lead, gain
        assert 59 <= narrowed.p[0, 0, 0] <= 119


@given(e16_rows)
def test_neutral_gain_changes_no_weight(e16):
    # Every visible row has its maximum at 65535.
    e16[..., 0] = 65535
    plain, gained = narrow(e16), narrow(e16, np.full((1, e16.shape[-1]), 256))
    assert (plain.p == gained.p).all()
    assert (plain.lead == gained.lead).all()


def test_weights_follow_the_precision_of_their_token():
    e16 = np.array([[[65535, 40000, 40000, 3000, 3000, 40000]]])
    bits = np.array([4, 4, 8, 4, 8, 0])
    narrowed = narrow(e16, bits=bits)
    whole = narrow(e16).p[0, 0]
    assert narrowed.p[0, 0].tolist() == np.where(bits == 4, four_bit(whole), whole).tolist()
    assert narrowed.divisor.item() == 16 * narrowed.p.sum()
    wide = narrow(e16, bits=bits, code=WeightCode(3)).p[0, 0]
    assert (wide[bits == 4] % 256 == 0).all()


@pytest.mark.parametrize("gains", [None, np.array([[256, 64, 7, 256, 1]])])
def test_weights_follow_the_precision_of_their_query(gains):
    e16 = np.array([[[65535, 40000, 3000, 3000, 100]] * 3])
    bits, query_bits = np.array([4, 8, 8, 4, 8]), np.array([4, 8, 0])
    whole = narrow(e16, gains)
    alone = narrow(e16, gains, query_bits=query_bits)
    assert (alone.p[0, 0] == four_bit(whole.p[0, 0])).all()
    assert (alone.p[0, 1:] == whole.p[0, 1:]).all()
    # With both, a pair has the lower precision of its query and its token.
    pair = narrow(e16, gains, bits=bits, query_bits=query_bits)
    assert (pair.p[0, 0] == alone.p[0, 0]).all()
    assert (pair.p == narrow(e16, gains, bits=bits).p)[0, 1:].all()
    if gains is None:
        assert (pair.divisor == 16 * pair.p.sum(-1)).all()
    else:
        assert (pair.divisor == whole.divisor).all()


def test_unsigned_weights_of_four_bits_have_sixteen_levels():
    e16 = np.linspace(0, 65535, 1000).round().astype(np.int64)[None, None]
    bits = np.full(1000, 4)
    code = WeightCode(2, unsigned=True)
    assert np.unique(narrow(e16, bits=bits, code=code).p).tolist() == list(range(0, 241, 16))
    assert np.unique(narrow(e16, bits=bits).p).tolist() == list(range(0, 113, 16))
    # Rounded once to a code, and once more to its nibble, of which 15 is the largest.
    exact = np.floor((np.floor(e16 * 255 / 65536 + 0.5) + 8) / 16) * 16
    assert (narrow(e16, bits=bits, code=code).p == np.minimum(exact, 240)).all()


def test_widths_hold_for_the_largest_rows():
    e16 = np.full((1, 1, softmax.KEYS_MAX), 65535)
    assert int(e16.sum()).bit_length() <= 26
    for planes, unsigned, bits in ((2, False, 21), (3, False, 25), (2, True, 22), (3, True, 26)):
        for gains in (None, np.full((1, softmax.KEYS_MAX), 255)):
            narrowed = narrow(e16, gains, code=WeightCode(planes, unsigned))
            assert int(narrowed.divisor.item()).bit_length() == bits
