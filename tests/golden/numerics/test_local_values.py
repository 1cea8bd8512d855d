"""Local V pruning: which groups each row block multiplies, and what that leaves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtqatten.golden.numerics.attention import Inputs, Options, attention
from dtqatten.golden.numerics.codes import quantize
from dtqatten.golden.numerics.local_values import (
    SHARE_ALL,
    Tiling,
    chosen_groups,
    level,
    multiplied,
    tiling,
)


def test_levels_by_hand() -> None:
    weights = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 15, 16, 7616])
    assert level(weights).tolist() == [0, 2, 4, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 27]


def test_a_share_of_the_groups_with_a_weight_is_kept() -> None:
    sums = np.array([[0, 40, 0, 41, 100, 1]])
    # Of four groups, rounded up: 40 and 41 are of one level, where the first one wins.
    for share, kept in ((1, [4]), (64, [4]), (65, [1, 4]), (129, [1, 3, 4]), (256, [1, 3, 4, 5])):
        assert np.flatnonzero(chosen_groups(sums, share)).tolist() == kept
    assert not chosen_groups(np.zeros((2, 3), int), 256).any()


def test_row_blocks_and_groups_by_hand() -> None:
    # Two rows a block, tiles of five keys in groups of three, counted anew in each segment.
    found = tiling(2, 3, 12, (2, 5, 3), cuts=(7,))
    assert found.blocks.tolist() == [[0, 0, 1], [2, 2, 3]]
    of_keys = [0, 0, 0, 1, 1, 2, 2], [0, 0, 0, 1, 1]
    _, groups = np.unique(found.groups, return_inverse=True)
    assert groups.tolist() == [*of_keys[0], *(3 + np.array(of_keys[1]))]
    # Four heads, two a group: a query's rows follow each other; chunks begin blocks anew.
    blocks = tiling(4, 3, 1, (3, 1, 1), group=2, chunk=2).blocks
    assert blocks.tolist() == [[0, 0, 2], [0, 1, 2], [3, 3, 5], [3, 4, 5]]


def naive(p: np.ndarray, share: int, rows: int, cols: int, depth: int) -> np.ndarray:
    """One head's weights that are kept, row block by row block, by sorting."""
    result = np.zeros_like(p)
    places = [
        range(first, min(first + depth, tile + cols, p.shape[1]))
        for tile in range(0, p.shape[1], cols)
        for first in range(tile, min(tile + cols, p.shape[1]), depth)
    ]
    for top in range(0, len(p), rows):
        block = slice(top, top + rows)
        sums = [int(p[block, group].sum()) for group in places]
        heavy = [i for i, total in enumerate(sums) if total]

        def rank(i: int, sums: list[int] = sums) -> tuple[int, int]:
            bits = f"{sums[i]:b}" + "0"
            return -2 * len(bits) - int(bits[1]), i

        for i in sorted(heavy, key=rank)[: -(-len(heavy) * share // 256)]:
            result[block, places[i]] = p[block, places[i]]
    return result


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32 - 1))
def test_equals_a_plain_sort(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, cols, depth = (int(x) for x in rng.integers(1, 9, 3))
    heads, m, n = (int(x) for x in rng.integers(1, [4, 20, 40]))
    p = rng.integers(0, 120, (heads, m, n)) * (rng.random((heads, m, n)) < rng.random())
    share = int(rng.integers(1, 257))
    found = p * multiplied(p, share, tiling(heads, m, n, (rows, cols, depth)))
    for head in range(heads):
        assert np.array_equal(found[head], naive(p[head], share, rows, cols, depth))


def inputs(seed: int, n_q: int = 6, n_k: int = 17, **more: object) -> Inputs:
    rng = np.random.default_rng(seed)
    q, k, v = (quantize(2 * rng.normal(size=(2, n, 8)), "token") for n in (n_q, n_k, n_k))
    return Inputs(q, k, v, tiling=tiling(2, n_q, n_k, (4, 5, 2)), **more)


def test_only_the_outputs_change() -> None:
    given = inputs(1)
    all_of_them, some = (attention(given, Options(value_share=share)) for share in (256, 100))
    assert (all_of_them.output != some.output).any()
    for name in ("importance", "probability", "e16", "scores"):
        assert np.array_equal(getattr(all_of_them, name), getattr(some, name))
    assert np.array_equal(all_of_them.weights.divisor, some.weights.divisor)


def test_all_groups_are_what_no_tiling_gives() -> None:
    given = inputs(2)
    plain = Inputs(given.q, given.k, given.v)
    whole = attention(given, Options(value_share=SHARE_ALL))
    assert np.array_equal(whole.output, attention(plain).output)
    with pytest.raises(ValueError, match="value_share is 255, but there is no tiling"):
        attention(plain, Options(value_share=255))


def test_error_falls_with_the_share() -> None:
    """Against all groups; the largest weights are kept first."""
    given = inputs(3, 16, 64)
    whole = attention(given).sums
    errors = [
        np.abs(attention(given, Options(value_share=share)).sums - whole).mean()
        for share in (16, 64, 128, 192, 256)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] == 0


def test_keys_and_queries_of_no_tile_are_left_alone() -> None:
    p = np.full((1, 3, 4), 7)
    tiles = Tiling(np.array([[0, -1, 0]]), np.array([0, 1, -1, 1]), np.zeros(4, int))
    kept = p * multiplied(p, 1, tiles)
    assert kept.tolist() == [[[0, 7, 7, 7], [7] * 4, [0, 7, 7, 7]]]


@pytest.mark.parametrize("share", [0, 257, -1])
def test_a_share_is_refused_by_name(share: int) -> None:
    with pytest.raises(ValueError, match=rf"value_share is {share}, outside 1\.\.256"):
        Options(value_share=share)
