"""Two-level top-k."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtqatten.golden.numerics.select import PAPER_SHARES, counts, protected, select, top

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


@given(rankings, st.data())
def test_protected_tokens_rank_first_and_ties_go_to_the_lowest_id(importance, data):
    n = len(importance)
    safe = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    ids = data.draw(st.permutations(range(100, 100 + n)))
    k0 = data.draw(st.integers(max(1, sum(safe)), n))
    k1 = data.draw(st.integers(0, k0))
    found = select(importance, k0, k1, ids=ids, protected=safe)
    ranked = sorted(range(n), key=lambda i: (not safe[i], -importance[i], ids[i]))
    assert found.eight.tolist() == sorted(ids[i] for i in ranked[:k1])
    assert found.four.tolist() == sorted(ids[i] for i in ranked[k1:k0])
    assert {i for i, each in zip(ids, safe, strict=True) if each} <= set(found.ids.tolist())


def test_protection_by_hand():
    importance = [9, 0, 5, 7, 0, 8]
    safe = np.array([False, True, False, False, True, False])
    found = select(importance, 4, 1, protected=safe)
    # Of the two protected tokens, equal, the first has 8 bits; of the others the two largest stay.
    assert (found.four.tolist(), found.eight.tolist()) == ([0, 4, 5], [1])
    assert select(importance, 2, 0, protected=safe).four.tolist() == [1, 4]
    assert select(importance, 6, 6, protected=safe).eight.tolist() == [0, 1, 2, 3, 4, 5]


def test_fewer_kept_than_protected_is_refused():
    with pytest.raises(ValueError, match="k0 is 1, but 2 tokens are protected: keep those"):
        select([1, 2, 3], 1, 0, protected=[True, False, True])
    with pytest.raises(ValueError, match=r"protected has shape \(2,\), but there are 3"):
        select([1, 2, 3], 2, 0, protected=[True, False])
    with pytest.raises(ValueError, match=r"ids has shape \(1,\)"):
        select([1, 2, 3], 2, 0, ids=[4])
    with pytest.raises(ValueError, match="an id is repeated"):
        select([1, 2, 3], 2, 0, ids=[4, 5, 4])


def test_protected_positions():
    ids = [7, 40, 2, 3, 41, 9]
    assert protected(ids, first=3, last=2).tolist() == [False, True, True, False, True, False]
    assert protected(ids, listed=[9, 8]).tolist() == [False] * 5 + [True]
    assert not protected(ids).any()
    assert protected(ids, last=100).all()
    assert protected([], first=1, last=1).tolist() == []
    with pytest.raises(ValueError, match="last -1"):
        protected(ids, last=-1)


def test_both_ends_of_65536_ids():
    n = 65536
    found = select(np.zeros(n, np.uint32), 5, 2, protected=protected(np.arange(n), first=1, last=2))
    assert (found.four.tolist(), found.eight.tolist()) == ([1, 2, 65535], [0, 65534])


def test_queries_that_outlive_their_keys():
    found = select([5, 1, 9, 3], 2, 1, ids=[10, 11, 12, 13])
    queries = found.queries([13, 12, 11, 10])
    assert (queries.four.tolist(), queries.eight.tolist()) == ([10, 11, 13], [12])
    with pytest.raises(ValueError, match="kept token is not among"):
        found.queries([10, 11])
    with pytest.raises(ValueError, match="repeated"):
        found.queries([10, 10, 12])
