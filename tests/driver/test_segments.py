"""Calls of more keys than fit at once: what they are cut into, and what is refused."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from dtqatten.driver.calls import Call
from dtqatten.driver.errors import LayoutError
from dtqatten.driver.segments import Segment, chunk_length, pieces, sharing
from dtqatten.golden.numerics.attention import Options
from dtqatten.golden.numerics.codes import Codes, quantize
from dtqatten.golden.numerics.tokens import TokenList
from dtqatten.interface.descriptor import Flag

#: Of a machine that takes 10 keys and holds 8 rows.
SIZES = {"n_max": 10, "merge_rows": 8, "rows": 2}


def call(
    queries: TokenList, keys: TokenList, *, heads: int = 2, each: int | None = None, **options
) -> Call:
    rng = np.random.default_rng(0)
    options = {"causal": False} | options
    shared = each or (heads if options.get("grouped") else 1)
    q = quantize(rng.normal(size=(heads, len(queries), 8)))
    k, v = (quantize(rng.normal(size=(heads // shared, 100, 8))) for _ in range(2))
    return Call(q=q, k=k, v=v, queries=queries, keys=keys, **options)


def cut(one: Call, sizes: dict[str, int] = SIZES) -> list[Segment]:
    found = pieces(one, sizes)
    assert all(isinstance(piece, Segment) for piece in found)
    return found  # type: ignore[return-value]


def shown(one: Call) -> list[tuple]:
    """First query, how many, first place of the keys, how many, and both flags."""
    return [
        (
            *(int(piece.queries.ids[0]), len(piece.queries)),
            *(int(piece.own.ids[0]), len(piece.own)),
            *(Flag.CONTINUES in piece.flags, Flag.HOLDS in piece.flags),
        )
        for piece in cut(one)
    ]


def test_a_decode_step_takes_a_descriptor_a_segment() -> None:
    """The one with most nibbles comes first."""
    one = call(TokenList(np.array([24])), TokenList(np.arange(25), 12))
    assert shown(one) == [
        (24, 1, 10, 10, False, True),
        (24, 1, 0, 10, True, True),
        (24, 1, 20, 5, True, False),
    ]
    assert [piece.own.four_bit for piece in cut(one)] == [2, 10, 0]
    fields = [piece.fields(0) for piece in cut(one)]
    assert [f["key_start"] for f in fields] == [10, 0, 20]
    assert [f["tokens"] for f in fields] == [10, 10, 5]
    assert {f["k0"] for f in fields} == {0}
    assert "key_list" not in cut(one)[0].contents()


def test_places_that_do_not_follow_each_other_take_a_list() -> None:
    one = call(TokenList(np.array([99])), TokenList(np.concatenate([np.arange(15), [90, 95]]), 3))
    first, second = cut(one)
    assert (first.listed, second.listed) == (False, True)
    assert np.frombuffer(second.contents()["key_list"], "<u2").tolist() == [
        10,
        11,
        12,
        13,
        14,
        90,
        95,
    ]
    assert second.fields(0)["key_start"] == 0
    # The 8-bit class may begin at lower places.
    both = TokenList(np.concatenate([np.arange(50, 55), np.arange(10)]), 5)
    assert [piece.listed for piece in cut(call(TokenList(np.array([99])), both))] == [True, False]


def test_queries_come_in_chunks_and_leave_out_what_none_of_them_sees() -> None:
    """4 of 2 heads fill the rows that are held; causal ones at 0 to 8 see two segments at most."""
    one = call(TokenList(np.arange(9)), TokenList(np.arange(30)), causal=True)
    assert shown(one) == [(0, 4, 0, 10, False, False), (4, 4, 0, 10, False, False),
                          (8, 1, 0, 10, False, False)]  # fmt: skip
    # One segment alone is a layer like others: its keys are ranked.
    assert [piece.fields(0)["k0"] for piece in cut(one)] == [10, 10, 10]
    one = call(TokenList(np.arange(8, 14)), TokenList(np.arange(30)), causal=True, window=2)
    assert shown(one) == [(8, 4, 0, 10, False, True), (8, 4, 10, 10, True, False),
                          (12, 2, 10, 10, False, False)]  # fmt: skip
    # Queries that see nothing have an output, too.
    one = call(TokenList(np.array([0])), TokenList(np.arange(50, 70)), causal=True)
    assert shown(one) == [(0, 1, 60, 10, False, False)]


def test_a_chunk_is_whole_row_blocks() -> None:
    def length(heads: int, *sizes: int, grouped: bool = False) -> int:
        one = call(TokenList(np.arange(2)), TokenList(np.arange(9)), heads=heads, grouped=grouped)
        return chunk_length(one, *sizes)

    assert [length(heads, 8, 3, 100) for heads in (1, 2, 3, 8, 9)] == [6, 3, 2, 1, 1]
    assert length(1, 4096, 8, 100) == 96
    # Six heads that share K and V have rows of four queries in two row blocks of twelve.
    assert length(6, 60, 12, 100, grouped=True) == 10
    assert length(6, 60, 24, 100, grouped=True) == 8
    # Rows of a head of K and V are n_max at most.
    assert length(6, 4096, 4, 20, grouped=True) == 2


def test_what_fits_is_left_alone() -> None:
    one = call(TokenList(np.array([9])), TokenList(np.arange(10)), k0=4, report=True)
    assert pieces(one, SIZES) == [one]
    many = call(TokenList(np.array([24])), TokenList(np.arange(25)))
    assert pieces(many, SIZES | {"merge_rows": 0}) == [many]


@pytest.mark.parametrize(
    "options",
    [
        {"k0": 5},
        {"k1": 1},
        {"ids": True},
        {"report": True},
        {"cumulative": True, "fresh": True},
        {"options": Options(count_normalize=True)},
    ],
    ids=str,
)
def test_importance_of_segments_is_refused(options) -> None:
    one = call(TokenList(np.array([24])), TokenList(np.arange(25)), **options)
    with pytest.raises(LayoutError, match=r"25 keys are computed in segments of 10, .* n_max 25"):
        pieces(one, SIZES)


def parts(one: Call) -> list[tuple]:
    """First query head and how many, how many heads of K and V, of each piece; which begins."""
    return [
        (piece.first_head, piece.heads, piece.kv_heads, piece.begins, piece.continues)
        for piece in cut(one)
    ]


def test_more_heads_than_rows_are_computed_some_at_a_time() -> None:
    queries, keys = TokenList(np.array([24])), TokenList(np.arange(15))
    # Whole heads of K and V: two of three query heads each.
    assert parts(call(queries, keys, heads=9, each=3, grouped=True)) == [
        (0, 6, 2, True, False), (0, 6, 2, False, True),
        (6, 3, 1, True, False), (6, 3, 1, False, True)]  # fmt: skip
    # Query heads of one head of K and V, where that has more of them than rows are held.
    assert [part[:3] for part in parts(call(queries, keys, heads=20, each=10))[::2]] == [
        (0, 8, 1), (8, 2, 1), (10, 8, 1), (18, 2, 1)]  # fmt: skip
    one = call(queries, keys, heads=20, each=10)
    for piece in cut(one):
        at = slice(piece.first_head, piece.first_head + piece.heads)
        assert np.array_equal(piece.q.codes, one.q.codes[at])
        assert np.array_equal(piece.k.codes, one.k.codes[at.start // 10 :][:1])
    with pytest.raises(LayoutError, match=r"10 query heads share .* the 8 rows .* merge_rows 10"):
        pieces(call(queries, keys, heads=20, each=10, grouped=True), SIZES)


def test_pieces_of_other_heads_share_nothing() -> None:
    one = call(TokenList(np.array([24])), TokenList(np.arange(15)), heads=9, each=3)
    _, second, third, _ = cut(one)
    before = dict.fromkeys(("q", "k", "v", "head_table"), 64)
    assert sharing(second, before).placed == before
    assert sharing(third, before).placed == {}


@pytest.mark.parametrize(("capacity", "good"), [(64, True), (60, False)])
def test_heads_of_a_cache_are_found_where_they_are(capacity: int, good: bool) -> None:
    one = call(TokenList(np.array([24])), TokenList(np.arange(15)), heads=9, each=1)
    k, v = (Codes(x.codes[:, :capacity], x.scale) for x in (one.k, one.v))
    cache = SimpleNamespace(placed={"k": 640, "v": 1280, "k_gains": 64}, stored=40)
    cached = replace(one, k=k, v=v, cache=cache)  # type: ignore[arg-type]
    if not good:
        with pytest.raises(LayoutError, match=r"cache of 60 places .* k_gains, no .* 64 places"):
            pieces(cached, SIZES)
        return
    size = capacity * 8
    assert [piece.at for piece in cut(cached)[::2]] == [
        {"k": 640, "v": 1280, "k_gains": 64},
        {"k": 640 + 8 * size, "v": 1280 + 8 * size, "k_gains": 64 + 8 * capacity},
    ]
