"""Order of tokens: clustering, promotion, full tiles."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dtqatten.golden.numerics.order import (
    Boundaries,
    Order,
    aligned,
    alternate,
    arrange,
    boundaries,
    cluster,
    promote,
    round_up_kept,
)


@given(st.lists(st.sampled_from([4, 8]), max_size=30))
def test_cluster_puts_4_bit_first_and_keeps_the_order_inside_a_class(bits):
    order = cluster(np.array(bits, int)).tolist()
    assert order == sorted(range(len(bits)), key=lambda i: (bits[i], i))


def test_cluster_of_the_reference_case():
    """Nine tokens, T1 and T6 in 8 bits."""
    assert cluster([4, 8, 4, 4, 4, 4, 8, 4, 4]).tolist() == [0, 2, 3, 4, 5, 7, 8, 1, 6]
    assert aligned(7, 9, 3) == 6


@given(st.integers(0, 60), st.integers(0, 60), st.integers(1, 16))
def test_no_tile_mixes_and_only_tokens_of_mixed_tiles_are_promoted(n4, n8, tile):
    n = n4 + n8
    left = aligned(n4, n, tile)
    after, before = promote(left, n), promote(n4, n)
    for start in range(0, n, tile):
        here = slice(start, start + tile)
        assert len(set(after[here])) <= 1
        if (after[here] != before[here]).any():
            assert len(set(before[here])) == 2


def test_boundary_of_each_role():
    assert boundaries(159, 276, rows=8, cols=32, depth=8) == Boundaries(q=152, k=128, v=152)
    assert boundaries(5, 5, rows=4, cols=4, depth=4) == Boundaries(5, 5, 5)


@pytest.mark.parametrize(("k0", "n", "cols", "kept"), [(1, 9, 4, 4), (4, 9, 4, 4), (9, 9, 4, 9)])
def test_kept_tokens_fill_the_tiles_that_are_paid_for(k0, n, cols, kept):
    assert round_up_kept(k0, n, cols) == kept


def test_impossible_values_are_refused():
    for call, message in (
        (lambda: cluster([4, 0]), "pruned tokens have no slot"),
        (lambda: aligned(4, 9, 0), "tile is 0"),
        (lambda: aligned(10, 9, 3), r"n4 is 10, outside 0\.\.9"),
        (lambda: promote(-1, 9), "n4 is -1"),
        (lambda: round_up_kept(0, 9, 4), r"k0 is 0, outside 1\.\.9"),
        (lambda: round_up_kept(3, 9, 0), "cols is 0"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


@pytest.mark.parametrize("order", list(Order))
def test_arrange_places_every_token_once(order: Order) -> None:
    bits = np.random.default_rng(0).choice([4, 8], 23)
    places, q_bits, k_bits = arrange(bits, order, rows=4, cols=5)
    assert sorted(places) == list(range(23))
    # Promotion only ever raises a precision, and never in the paper's own orders.
    for role in (q_bits, k_bits):
        assert (role >= bits[places]).all()
        assert order is Order.ALIGNED or (role == bits[places]).all()
    if order is Order.ORIGINAL:
        assert (places == np.arange(23)).all()
    else:
        assert (np.diff(q_bits.astype(int)) >= 0).all()
    if order is Order.ALIGNED:
        assert (q_bits == 4).sum() % 4 == 0
        assert (k_bits == 4).sum() % 5 == 0


def test_alternate_takes_blocks_of_both_classes_in_turns() -> None:
    order = alternate(8, 14, 2)
    assert order.tolist() == [0, 1, 8, 9, 2, 3, 10, 11, 4, 5, 12, 13, 6, 7]
    assert alternate(6, 6, 4).tolist() == [0, 1, 2, 3, 4, 5]
    assert alternate(0, 5, 4).tolist() == [0, 1, 2, 3, 4]


@given(st.integers(0, 9), st.integers(0, 40), st.integers(1, 8))
def test_alternate_keeps_blocks_whole(four: int, eight: int, rows: int) -> None:
    n4 = four * rows
    order = alternate(n4, n4 + eight, rows)
    assert sorted(order) == list(range(n4 + eight))
    wide = order >= n4
    for start in range(0, len(order), rows):
        assert len(set(wide[start : start + rows])) == 1


def test_alternate_refuses_mixed_blocks() -> None:
    with pytest.raises(ValueError, match="4-bit queries fill whole row blocks of 4"):
        alternate(6, 12, 4)
