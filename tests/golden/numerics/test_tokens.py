"""Lists of tokens, and importance by id."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtqatten.golden.numerics.select import select
from dtqatten.golden.numerics.tokens import CacheImportance, TokenList

MOST = 2**32 - 1


def test_a_list_has_two_classes():
    tokens = TokenList.of(select([5, 1, 9, 3], 3, 1, ids=[10, 40, 20, 30]))
    assert tokens.ids.tolist() == [10, 30, 20]
    assert tokens.bits.tolist() == [4, 4, 8]
    assert len(tokens) == 3
    assert TokenList.all(3, start=65533).ids.tolist() == [65533, 65534, 65535]
    assert TokenList.all(3).bits.tolist() == [8, 8, 8]
    assert len(TokenList(np.arange(0))) == 0


@pytest.mark.parametrize(
    ("ids", "four", "message"),
    [
        ([3, 2], 0, "ascend in each class"),
        ([2, 3, 1, 0], 2, "ascend in each class"),
        ([2, 3, 3], 2, "repeated"),
        ([0, 65536], 0, r"id 65536 is outside 0\.\.65535"),
        ([-1, 3], 0, "id -1 is outside"),
        ([1, 2], 3, r"four_bit is 3, outside 0\.\.2"),
        ([1.5], 0, "vector of integers"),
    ],
)
def test_other_lists_are_refused(ids, four, message):
    with pytest.raises(ValueError, match=message):
        TokenList(np.array(ids), four)


@given(st.data())
def test_importance_by_id_is_a_dictionary(data):
    """Against a dictionary of Python's integers, cut at 32 bits."""
    capacity = data.draw(st.integers(1, 20))
    held = CacheImportance.empty(capacity)
    expected = dict.fromkeys(range(capacity), 0)
    for _ in range(data.draw(st.integers(0, 5))):
        ids = data.draw(st.lists(st.integers(0, capacity - 1), unique=True))
        amounts = [data.draw(st.integers(0, MOST)) for _ in ids]
        held = held.added(ids, np.array(amounts, np.int64))
        for i, amount in zip(ids, amounts, strict=True):
            expected[i] = min(expected[i] + amount, MOST)
        assert held.read(ids).tolist() == [expected[i] for i in ids]
    assert held.values.tolist() == list(expected.values())
    assert held.halved().values.tolist() == [x // 2 for x in expected.values()]


def test_importance_stays_at_its_largest_value():
    held = CacheImportance.empty(3).added([2, 0], np.array([MOST, MOST - 1]))
    assert held.values.tolist() == [MOST - 1, 0, MOST]
    held = held.added([0, 2], np.array([65535, 1]))
    assert held.values.tolist() == [MOST, 0, MOST]
    assert held.values.dtype == np.uint32


def test_reading_and_writing_back_leaves_what_is_not_named():
    held = CacheImportance(np.arange(65536, dtype=np.uint32))
    assert held.read([65535, 0]).tolist() == [65535, 0]
    changed = held.written([65535, 7], np.array([1, 2]))
    assert changed.read([65535, 7]).tolist() == [1, 2]
    same = np.delete(np.arange(65536), [65535, 7])
    assert (changed.values[same] == same).all()
    assert held.values[7] == 7


def test_other_importance_is_refused():
    held = CacheImportance.empty(4)
    with pytest.raises(ValueError, match="id 4 is outside the cache of 4 tokens"):
        held.read([4])
    with pytest.raises(ValueError, match="repeated"):
        held.added([1, 1], np.array([1, 1]))
    with pytest.raises(ValueError, match="importance 4294967296 is outside"):
        held.written([0], np.array([2**32]))
    for capacity in (0, 65537):
        with pytest.raises(ValueError, match=rf"capacity is {capacity}, outside 1\.\.65536"):
            CacheImportance.empty(capacity)
    with pytest.raises(ValueError, match="vector of uint32, not int64"):
        CacheImportance(np.zeros(3, np.int64))
