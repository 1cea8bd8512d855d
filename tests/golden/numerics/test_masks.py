"""Masks by position, against distances of positions in real numbers and by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtqatten.golden.numerics.masks import (
    IDS_MAX,
    causal_mask,
    latest,
    padding_mask,
    position_mask,
)
from dtqatten.golden.numerics.reference import distances

positions = st.lists(st.integers(0, IDS_MAX - 1), min_size=1, max_size=12, unique=True)


def test_masks_by_hand():
    assert causal_mask([5, 0], [0, 5, 3]).tolist() == [[True, True, True], [True, False, False]]
    assert padding_mask([True, False], [True, True, False]).tolist() == [
        [True, True, False],
        [False, False, False],
    ]
    # A query at 5 with a window of 3 sees 3, 4 and 5; one at 9, which is no key, sees 8 alone.
    assert position_mask([5, 9], [8, 2, 3, 4, 5, 6], window=3).tolist() == [
        [False, False, True, True, True, False],
        [True, False, False, False, False, False],
    ]


def test_window_of_one_is_the_query_itself_and_a_window_of_all_is_no_window():
    ids = np.arange(9)
    assert (position_mask(ids, ids, window=1) == np.eye(9, dtype=bool)).all()
    assert (position_mask(ids, ids, window=9) == causal_mask(ids, ids)).all()
    assert (position_mask(ids, ids, window=8) != causal_mask(ids, ids)).sum() == 1


def test_both_ends_of_65536_positions():
    ends = [0, IDS_MAX - 1]
    assert position_mask(ends, ends).tolist() == [[True, False], [True, True]]
    assert position_mask(ends, ends, window=IDS_MAX).tolist() == [[True, False], [True, True]]
    assert position_mask(ends, ends, window=IDS_MAX - 1).tolist() == [[True, False], [False, True]]


def test_no_mask_and_a_window_that_bounds_the_past_alone():
    assert position_mask([3], [0, 3, 7], causal=False).all()
    assert position_mask([3], [0, 2, 7], causal=False, window=2).tolist() == [[False, True, True]]


@given(positions, positions, st.booleans(), st.none() | st.integers(1, IDS_MAX))
def test_masks_are_those_of_distances(queries, keys, causal, window):
    behind = distances(queries, keys)
    seen = np.ones(behind.shape, bool)
    if causal:
        seen &= behind >= 0
    if window is not None:
        seen &= behind < window
    assert (position_mask(queries, keys, causal=causal, window=window) == seen).all()


def test_unsigned_positions_do_not_wrap():
    ids = np.array([0, 1, 65535], np.uint16)
    assert (
        position_mask(ids, ids, window=2) == position_mask(ids.astype(int), ids, window=2)
    ).all()
    assert position_mask(ids, ids, window=2)[0].tolist() == [True, False, False]


def test_latest_queries_by_position():
    assert latest([7, 2, 9, 4], 2).tolist() == [True, False, True, False]
    assert latest([7, 2], 5).all()
    with pytest.raises(ValueError, match="count is 0"):
        latest([1], 0)


@pytest.mark.parametrize("window", [0, -1, IDS_MAX + 1])
def test_impossible_windows_are_refused(window):
    with pytest.raises(ValueError, match=rf"window is {window}, outside 1\.\.65536"):
        position_mask([0], [0], window=window)
