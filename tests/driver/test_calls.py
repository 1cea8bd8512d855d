"""Calls whose queries are not their keys: descriptors, refusals, every bit of their results."""

from typing import Any

import numpy as np
import pytest

from dtqatten import PRESETS
from dtqatten.driver.calls import Call
from dtqatten.driver.errors import LayoutError
from dtqatten.driver.expected import compare_results, expected, expected_layer
from dtqatten.driver.layers import Layer
from dtqatten.golden.numerics.attention import attention
from dtqatten.golden.numerics.calls import layer_call
from dtqatten.golden.numerics.codes import quantize
from dtqatten.golden.numerics.tokens import TokenList
from dtqatten.interface.descriptor import Flag
from dtqatten.sim.machine.samples import DRIVEN

D = 32


def a_call(
    queries: TokenList,
    keys: TokenList | None,
    *,
    capacity: int = 100,
    seed: int = 0,
    **options: Any,
) -> Call:
    """Return a call of 4 query heads that share 2 of K and V."""
    rng = np.random.default_rng(seed)
    return Call(
        q=quantize(rng.normal(size=(4, len(queries), D))),
        k=quantize(rng.normal(size=(2, capacity, D)), "token"),
        v=quantize(rng.normal(size=(2, capacity, D))),
        queries=queries,
        keys=keys,
        **options,
    )


def tokens(*ids: int, four_bit: int = 0) -> TokenList:
    return TokenList(np.array(ids), four_bit)


#: A step of a decode; one of a cache from which tokens are evicted; a chunk of a prefill;
#: cross-attention; more queries than keys, at any positions.
CALLS = {
    "decode": (TokenList.all(1, start=39), TokenList.all(40), {"causal": True, "capacity": 40}),
    "evicted": (tokens(99), tokens(3, 50, 98, 2, 4, 7, 99, four_bit=3), {"causal": True}),
    "chunk": (TokenList.all(9, start=31), TokenList.all(40), {"causal": True, "capacity": 40}),
    "cross": (TokenList.all(7), TokenList(np.arange(17), 8), {"capacity": 17}),
    "scattered": (tokens(5, 90, 1, 2, 3, 60, four_bit=2), tokens(0, 1), {"causal": True}),
    "full": (TokenList.all(40, start=60), TokenList(np.arange(60, 100), 40), {"causal": True}),
}


@pytest.mark.parametrize("name", CALLS)
def test_calls_are_bit_exact(machine, plain, name: str) -> None:
    queries, keys, options = CALLS[name]
    call = a_call(queries, keys, report=True, **options)
    compare_results([call], machine.run([call]), expected(DRIVEN.core, [call]))


@pytest.mark.parametrize("name", CALLS)
def test_what_is_expected_is_the_golden_call(name: str) -> None:
    queries, keys, options = CALLS[name]
    core = PRESETS["tiny"]
    call = a_call(queries, keys, **options)
    inputs = layer_call(
        call.q, call.k, call.v, queries, keys, causal=call.causal,
        tile=(core.rows, core.cols, core.group),
    )  # fmt: skip
    wanted = attention(inputs)
    found = expected_layer(core, call).outputs
    assert np.array_equal(found.output, wanted.output)
    assert np.array_equal(found.importance, wanted.importance)


def test_keys_chained_and_queries_of_another_sequence(machine, plain) -> None:
    """A cascade prunes an encoder's tokens, to which a decoder attends layer by layer."""
    first = a_call(TokenList.all(5), TokenList.all(30), capacity=30, k0=12, k1=5, report=True)
    rng = np.random.default_rng(1)
    second = Call(
        q=quantize(rng.normal(size=(2, 3, D))),
        k=quantize(rng.normal(size=(2, 30, D))),
        v=quantize(rng.normal(size=(2, 30, D))),
        queries=tokens(1, 5, 0, four_bit=2), k0=4, k1=1, ids=True, report=True,
    )  # fmt: skip
    q, k, v = (quantize(rng.normal(size=(2, 12, D))) for _ in range(3))
    third = Layer(q=q, k=k, v=v, k0=2, k1=1, chained=True, causal=True)
    chain = [first, second, third]
    results = machine.run(chain)
    compare_results(chain, results, expected(DRIVEN.core, chain))
    assert [r.output.shape for r in results] == [(4, 5, D), (2, 3, D), (2, 4, D)]


def test_lists_are_used_where_order_needs_them() -> None:
    plain = Flag.QUERY_LIST | Flag.KEY_LIST
    for queries, keys, flags, start in (
        (TokenList.all(3, start=7), TokenList.all(100), Flag(0), 7),
        (TokenList.all(3), TokenList.all(99), Flag.KEY_LIST, 0),
        (tokens(1, 0, four_bit=1), TokenList(np.arange(100), 50), Flag.QUERY_LIST, 0),
        (tokens(5, 7), tokens(99), plain, 0),
    ):
        call = a_call(queries, keys)
        assert call.flags & plain == flags
        fields = call.fields(0)
        assert fields["query_start"] == start
        assert ("query_list" in call.contents()) == bool(flags & Flag.QUERY_LIST)
        assert ("key_list" in call.contents()) == bool(flags & Flag.KEY_LIST)
        assert (fields["queries"], fields["tokens"]) == (len(queries), len(keys))
        assert (fields["stored"], fields["capacity"]) == (100, 100)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keys": tokens(100)}, "key 100 is beyond the 100 tokens of the cache"),
        ({"keys": TokenList(np.arange(0))}, "there are no keys"),
        ({"keys": None}, "a chained call keeps k0 keys"),
        ({"queries": TokenList.all(2)}, "Q has 1 tokens, but its list 2"),
        ({"q": quantize(np.ones((3, 1, D)))}, "shapes disagree"),
        ({"q": quantize(np.ones((4, 1, 16)))}, "shapes disagree"),
        ({"v": quantize(np.ones((2, 99, D)))}, "shapes disagree"),
    ],
)
def test_what_disagrees_is_refused(changes, message) -> None:
    good = a_call(TokenList.all(1), TokenList.all(5))
    given = {"q": good.q, "k": good.k, "v": good.v, "queries": good.queries, "keys": good.keys}
    with pytest.raises(LayoutError, match=message):
        Call(**given | changes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            a_call(TokenList.all(41), TokenList.all(5)),
            "41 queries of a head of K and V, more than the machine's 40",
        ),
        (a_call(TokenList.all(1), TokenList.all(41)), "41 keys, more than the machine's 40"),
        (
            a_call(TokenList.all(1), TokenList.all(5), capacity=101),
            "101 places of a cache, more than the machine's 100",
        ),
        (
            a_call(TokenList.all(2, start=99), TokenList.all(5)),
            "101 positions of queries, more than the machine's 100",
        ),
        (
            a_call(tokens(100, 3, four_bit=1), TokenList.all(5)),
            "101 positions of queries, more than the machine's 100",
        ),
    ],
)
def test_what_the_machine_has_no_room_for_is_refused(machine, plain, call, message) -> None:
    with pytest.raises(LayoutError, match=message):
        machine.run([call])
