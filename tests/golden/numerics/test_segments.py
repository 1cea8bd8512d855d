"""Merging partial results: factors, widths, rows without keys; sinks are in test_sinks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtqatten.golden.numerics.segments import (
    POWERS,
    Partial,
    RowScale,
    aligned,
    distance,
    equal_cuts,
    longest_first,
    merge,
    scaled,
)


def one(maximum, total, divisor, lead, sums):
    """Return a partial result of one row of one head."""
    fields = (np.array([[x]], np.int64) for x in (maximum, total, divisor, lead))
    return Partial(*fields, np.array([[sums]], np.int64))


def numbers(partial):
    fields = (partial.maximum, partial.total, partial.divisor, partial.lead)
    return [*(x.item() for x in fields), partial.sums[0, 0].tolist()]


#: A unit of score is 1/32 octave.
SCALE = RowScale(np.array([[2**15]]), np.array([15]))
NOTHING = one(0, 0, 0, 0, [0, 0])


def test_powers_by_hand():
    assert POWERS[[0, 1, 127, 128, 255]].tolist() == [65536, 65270, 46404, 46278, 32812]
    assert POWERS.shape == (256,)


def test_the_segment_with_fewest_nibbles_is_the_last():
    """Of one precision that is the rest; 4-bit keys come last, and equals as in the list."""
    assert [longest_first(n, 0, 10) for n in (1, 10, 11, 25)] == [(0,), (0,), (0, 1), (0, 1, 2)]
    assert longest_first(25, 25, 10) == (0, 1, 2)
    # Nibbles 10, 18, 10 and 10, 10, 18, 20, 2.
    assert longest_first(25, 12, 10) == (1, 0, 2)
    assert longest_first(41, 22, 10) == (3, 2, 0, 1, 4)
    assert longest_first(2048, 1515, 512) == (3, 2, 0, 1)


@given(st.integers(-(2**34), 2**34), st.integers(0, 9000), st.integers(-8, 4))
def test_scaling_error(value, u, left):
    """Within 1/512 octave at the middle of a step, one step in the first, and half a unit."""
    got = scaled(np.array([value]), np.array([u]), np.array([left])).item()
    low, high = (value * 2.0 ** (left - (u + step) / 256) for step in (1, 0))
    if u >= 32 * 256:
        assert got == 0
    else:
        assert min(low, high) - 0.5 <= got <= max(low, high) + 0.5
    middle = value * 2.0 ** (left - (u + 0.5) / 256)
    if u < 32 * 256 and u % 256:
        # The table's entries have 16 bits.
        assert abs(got - middle) <= 0.5 + abs(middle) / 65535


def test_scaling_rounds_half_up_and_leaves_what_is_at_distance_0():
    values = np.array([3, -3, 5, -5])
    zero = np.zeros(4, int)
    assert scaled(values, zero).tolist() == [3, -3, 5, -5]
    assert scaled(values, zero, 4).tolist() == [48, -48, 80, -80]
    assert scaled(values, zero, -1).tolist() == [2, -1, 3, -2]
    assert scaled(values, zero + 256).tolist() == [2, -1, 3, -2]
    assert scaled(np.array([2**34]), np.array([32 * 256 - 1])).item() == 4
    assert scaled(np.array([2**34]), np.array([32 * 256])).item() == 0


def test_distance_has_three_bits_more_than_the_exponent():
    scale = RowScale(np.array([[40001, 3]]), np.array([16]))
    assert distance(np.array([[7, 7]]), scale).tolist() == [[7 * 40001 * 8 >> 16, 0]]
    # Scores of 256 channels at both ends, the largest multiplier and no shift: 42 bits.
    widest = distance(np.array([[2 * 3_686_400]]), RowScale(np.array([[65535]]), np.array([0])))
    assert int(widest.item()).bit_length() == 42


@pytest.mark.parametrize(("planes", "lead"), [(2, 4), (3, 0)])
def test_equal_maxima_are_added(planes, lead):
    a, b = one(-70, 65535, 1904, 0, [5, -9]), one(-70, 98303, 2000, 0, [7, 1])
    expected = [-70, 65535 + 98303, 3904, lead, [12 << lead, -8 << lead]]
    assert numbers(merge(a, b, SCALE, planes)) == expected


def test_the_smaller_maximum_is_scaled_on_either_side():
    a, b = one(100, 65535, 1904, 0, [1000, -999]), one(36, 65537, 1905, 0, [31, 33])
    # 64/32 octaves: a quarter, half up. 65537/4 is rounded down, 1905/4 up.
    expected = [100, 65535 + 16384, 1904 + 476, 4, [16000 + 124, -15984 + 132]]
    assert numbers(merge(a, b, SCALE)) == expected
    assert numbers(merge(b, a, SCALE)) == expected


def test_leads_are_aligned_with_one_rounding():
    a, b = one(0, 65535, 1904, 8, [24, -24]), one(0, 65535, 1904, 3, [5, 7])
    assert numbers(merge(a, b, SCALE))[3:] == [4, [2 + 10, -1 + 14]]
    # The scaled side, too: 24 * 2**(4 - 8 - 1) = 0.75.
    c = one(32, 65535, 1904, 4, [100, 100])
    assert numbers(merge(a, c, SCALE))[3:] == [4, [101, 99]]


def test_what_sees_no_key_changes_nothing():
    a = one(-5, 65535, 1904, 3, [17, -4])
    for pair in ((a, NOTHING), (NOTHING, a)):
        assert numbers(merge(*pair, SCALE)) == numbers(a)
    assert numbers(merge(NOTHING, NOTHING, SCALE)) == [0, 0, 0, 0, [0, 0]]


def test_beyond_32_octaves_nothing_is_left():
    a, b = one(0, 65535, 1904, 0, [1, 2]), one(-1024, 2**32 - 1, 2**27 - 1, 0, [2**34, 2**34])
    assert numbers(merge(a, b, SCALE)) == [0, 65535, 1904, 4, [16, 32]]
    near = one(-1023, 2**32 - 1, 2**27 - 1, 0, [2**30, 0])
    assert numbers(merge(a, near, SCALE))[4] == [16 + 4, 32]


@given(st.data())
def test_a_merge_is_that_of_real_numbers(data):
    """Each field within the factor's error of its exact sum, and half a unit a side."""
    sides = [
        one(
            data.draw(st.integers(-2000, 2000)),
            data.draw(st.integers(65535, 2**31)),
            data.draw(st.integers(112 * 16, 2**26)),
            data.draw(st.integers(0, 8)),
            [data.draw(st.integers(-(2**28), 2**28))],
        )
        for _ in range(2)
    ]
    factor = data.draw(st.integers(2**15, 2**16 - 1))
    scale = RowScale(np.array([[factor]]), np.array([data.draw(st.integers(12, 20))]))
    got = merge(*sides, scale)
    octaves = [
        (got.maximum.item() - x.maximum.item()) * factor * 2.0 ** -int(scale.shift[0]) / 32
        for x in sides
    ]
    for name in ("total", "divisor", "sums"):
        values = [getattr(x, name).item() for x in sides]
        if name == "sums":
            values = [v * 2.0 ** (4 - x.lead.item()) for v, x in zip(values, sides, strict=True)]
        terms = [v * 2.0**-o for v, o in zip(values, octaves, strict=True)]
        slack = sum(abs(v) * 2.0**-o for v, o in zip(values, octaves, strict=True) if o) * 2.8e-3
        error = abs(getattr(got, name).item() - sum(terms))
        assert error <= 1 + slack + 65536 * 2.0**-16


@pytest.mark.parametrize(("planes", "top", "bits"), [(2, 119, 27), (3, 1911, 31)])
def test_widths_hold_for_65536_equal_keys(planes, top, bits):
    row = one(9, 1024 * 65535, 1024 * top * 16, 0, [1024 * top * 120, -1024 * top * 120])
    whole = row
    for _ in range(63):
        whole = merge(whole, row, SCALE, planes)
    shift = 4 if planes == 2 else 0
    sums = 65536 * top * 120 << shift
    assert numbers(whole) == [9, 65536 * 65535, 65536 * top * 16, shift, [sums, -sums]]
    assert whole.total.item() < 2**32
    assert whole.divisor.item() < 2**bits
    assert sums < 2**34


def test_exponentials_are_aligned_to_the_final_maximum():
    e16 = np.array([[[65535, 32768, 3, 0]]])
    top = np.array([[64]])
    assert (aligned(e16, top, top, SCALE) == e16).all()
    assert aligned(e16, np.array([[0]]), top, SCALE).tolist() == [[[16384, 8192, 1, 0]]]
    assert not aligned(e16 * 0, np.array([[70]]), top, SCALE).any()


def test_equal_cuts():
    assert equal_cuts(1) == ()
    assert equal_cuts(1024) == ()
    assert equal_cuts(1025) == (1024,)
    assert equal_cuts(7, 3) == (3, 6)
    assert len(equal_cuts(65536)) == 63
    for n, length, message in (
        (0, 1, r"n is 0, outside 1\.\.65536"),
        (65537, 1, "n is 65537"),
        (5, 1025, r"length is 1025, outside 1\.\.1024"),
        (5, 0, "length is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            equal_cuts(n, length)
