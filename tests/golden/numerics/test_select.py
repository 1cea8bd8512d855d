"""Two-level top-k."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtqatten.golden.numerics.select import PAPER_SHARES, counts, select, top

# Few values, so that ties are the rule.
rankings = st.lists(st.integers(0, 3), min_size=1, max_size=20)


@given(rankings, st.data())
def test_top_takes_the_largest_and_of_equals_the_first(importance, data):
    n = len(importance)
    k = data.draw(st.integers(0, n))
    expected = sorted(sorted(range(n), key=lambda i: (-importance[i], i))[:k])
    assert top(np.array(importance, np.uint32), k).tolist() == expected


@given(rankings, st.data())
def test_two_levels(importance, data):
    n = len(importance)
    k0 = data.draw(st.integers(1, n))
    k1 = data.draw(st.integers(0, k0))
    found = select(importance, k0, k1)
    ranked = sorted(range(n), key=lambda i: (-importance[i], i))
    assert found.eight.tolist() == sorted(ranked[:k1])
    assert found.four.tolist() == sorted(ranked[k1:k0])
    assert found.ids.tolist() == [*found.four, *found.eight]
    assert found.bits.tolist() == [4] * (k0 - k1) + [8] * k1
    precision = found.precision(n)
    assert (precision[found.ids] == found.bits).all()
    assert (precision == 0).sum() == n - k0


def test_all_equal_keeps_the_first_tokens():
    found = select(np.full(6, 7), 4, 2)
    assert found.eight.tolist() == [0, 1]
    assert found.four.tolist() == [2, 3]


def test_the_whole_32_bit_range_is_ordered():
    assert top(np.array([0, 2**32 - 1, 2**31], np.uint32), 2).tolist() == [1, 2]


@pytest.mark.parametrize(
    ("k0", "k1", "message"),
    [
        (0, 0, "k0 is 0, less than 1: keep at least one"),
        (6, 0, "k0 is 6, more than the 5 tokens there are: use at most 5"),
        (3, 4, r"k1 is 4, outside 0\.\.k0 = 3"),
        (3, -1, r"k1 is -1, outside 0\.\.k0 = 3"),
    ],
)
def test_impossible_counts_are_refused(k0, k1, message):
    with pytest.raises(ValueError, match=message):
        select(np.arange(5), k0, k1)


def test_what_has_no_order_is_refused():
    with pytest.raises(ValueError, match="without NaN"):
        top(np.array([1.0, np.nan]), 1)
    with pytest.raises(ValueError, match="vector"):
        top(np.ones((2, 2)), 1)
    with pytest.raises(ValueError, match=r"k is 3, outside 0\.\.2"):
        top(np.ones(2), 3)


def test_counts_from_shares():
    assert counts(100, PAPER_SHARES) == (72, 31)
    assert counts(384, PAPER_SHARES) == (276, 118)
    assert counts(1, PAPER_SHARES) == (1, 0)
    assert counts(3, (1.0, 0.0, 0.0)) == (1, 0)
    assert counts(5, (0.0, 0.0, 1.0)) == (5, 5)


@given(st.integers(1, 1000), st.integers(0, 20), st.integers(0, 20))
def test_counts_can_always_be_selected(n, a, b):
    zero, eight = min(a, b) / 20, 1 - max(a, b) / 20
    k0, k1 = counts(n, (zero, 1 - zero - eight, eight))
    assert 0 <= k1 <= k0 <= n
    assert k0 >= 1


def test_bad_shares_are_refused():
    for shares in ((0.5, 0.5, 0.5), (-0.1, 0.6, 0.5), (0.5, 0.5)):
        with pytest.raises(ValueError, match="shares are"):
            counts(4, shares)
    with pytest.raises(ValueError, match="n is 0"):
        counts(0, PAPER_SHARES)
