"""Bit operations and bytes that a model takes under a policy."""

import pytest
import torch

from dtqatten.algorithm.policy import Policy
from dtqatten.golden.numerics.local_values import Arrays
from tiny_models import hidden, layer, ramp

#: Arrays whose groups are single keys, and whose row blocks are all queries.
SINGLE = Arrays(64, 64, 1, 64)


@pytest.mark.parametrize(
    ("heads", "values"), [(1.0, 1.0), (0.5, 1.0), (0.25, 1.0), (1.0, 0.25), (0.5, 0.25)]
)
def test_shared_keys_and_values_are_fetched_once_for_their_query_heads(llama, heads, values):
    """Four query heads on two of K and V: bytes follow what any living head of a pair needs.

    Which V a row block multiplies is known when they are there.
    """
    torch.manual_seed(12)
    n, d = 16, 8
    rest = layer(0, 1, 0, heads=heads, values=values)
    policy = Policy(layers=(layer(0, 1, 0), rest, rest), prune_queries=False)
    _, session = hidden(llama, policy, "fake-quant", {"input_ids": torch.randint(3, 50, (1, n))})
    kept = session._latest.heads.kept
    kept = torch.ones(1, 4, dtype=torch.bool) if kept is None else kept
    pairs = int(kept.view(2, 2).any(-1).sum())
    living = int(kept.sum())
    assert living == 4 * heads
    fixed = (4 * n + 2 * 2 * n) * d / 2 + 2 * (living * n + pairs * n) * d / 2
    fetched = (session.tally.bytes - fixed) / (2 * d / 2)  # V tokens, mean of the two layers
    assert fetched == pairs * n


@pytest.mark.parametrize("follows", [False, True])
@pytest.mark.parametrize("query", [False, True])
def test_all_queries_of_a_decoder_can_stay(llama, follows, query):
    torch.manual_seed(5)
    ids = torch.randint(3, 50, (1, 16))
    policy = ramp(
        prune_queries=False,
        recent=3,
        count_normalize=True,
        protect=("first",),
        p_follows_token=follows,
        p_follows_query=query,
    )
    _, session = hidden(llama, policy, "fake-quant", {"input_ids": ids}, record=True)
    assert (session.kept[0, -3:]).all()
    assert session.kept.sum() == 8
    # Layer 2: bits of queries 8 or 4, keys seen if kept or among the last 3.
    bits = session.records[2].bits[0]
    qb, kb = bits.clamp_min(4), bits.clamp_min(4)
    places = torch.arange(16)
    near = (places[:, None] - places < 3) | (bits > 0)
    seen = near & (places[:, None] >= places)
    scores = float((qb[:, None] * kb * seen).sum())

    def weights(b):
        narrow = (follows & (b == 4)) | (query & (b[:, None] == 4))
        return torch.where(narrow, 4, 8)

    weighted = float((weights(kb) * kb * seen).sum())
    pairs = 16 * 17 / 2
    single = Policy(layers=(layer(0, 0, 1),) * 3)
    _, full = hidden(llama, single, "fake-quant", {"input_ids": ids})
    assert full.tally.bit_operations == full.tally.bit_operations_all == 3 * 4 * pairs * 128
    parts = 0.0
    for record in session.records[:2]:
        b = record.bits[0].clamp_min(4)
        s = ((places[:, None] - places < 3) | (record.bits[0] > 0)) & (places[:, None] >= places)
        parts += float((b[:, None] * b * s).sum() + (weights(b) * b * s).sum())
    assert session.tally.bit_operations == pytest.approx(4 * (parts + scores + weighted))


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy.flat(3), 1.0),
        (Policy.flat(3, (0, 1, 0)), (16 + 32) / 128),
        (Policy.flat(3, (0, 1, 0), p_follows_token=True), 32 / 128),
        (Policy.flat(3, (0, 0, 1), p_planes=3), (64 + 96) / 128),
        (Policy.flat(3, (0, 0.5, 0.5)), (36 + 48) / 128),
        (Policy.flat(3, (0, 0.5, 0.5), p_follows_token=True), (36 + 40) / 128),
        (Policy.flat(3, (0, 0.5, 0.5), p_follows_query=True), (36 + 36) / 128),
        (
            Policy.flat(3, (0, 0.5, 0.5), p_follows_token=True, p_follows_query=True),
            (36 + 32) / 128,
        ),
        (
            Policy(layers=(layer(0, 0, 1), layer(0.5, 0, 0.5), layer(0.5, 0.5, 0))),
            (128 + 32 + 4 + 8) / 384,
        ),
        (
            Policy(layers=(layer(0, 0, 1), layer(0, 0, 1, heads=0.5), layer(0, 0, 1))),
            2 / 3,
        ),
        # Keys in 4 bits twice, or then in 8; queries in 8 all along, and so are their weights.
        (Policy(layers=(layer(0, 1, 0, threshold=1.0),) * 3), (32 + 64 + 32) / 128),
        (Policy(layers=(layer(0, 0, 1, threshold=1.0),) * 3), (32 + 64 + 64) / 128),
        # V of half of the tokens in 8 bits.
        (Policy(layers=(layer(0, 0.5, 0.5, threshold=1.0),) * 3), (32 + 64 + 48) / 128),
        (Policy(layers=(layer(0, 0.5, 0.5, threshold=0.0),) * 3), (64 + 48) / 128),
        (Policy(layers=(layer(0, 1, 0, threshold=1.0),) * 3, p_follows_query=True), 1),
        (Policy(layers=(layer(0, 1, 0, threshold=0.0),) * 3, p_follows_query=True), 0.75),
        (Policy(layers=(layer(0, 1, 0, values=0.5, threshold=0.0),) * 3), (64 + 16) / 128),
        (Policy(layers=(layer(0, 1, 0, values=0.5),) * 3, p_follows_query=True), (16 + 8) / 128),
        (
            Policy(layers=(layer(0, 0, 1), layer(0, 0, 1, values=0.5), layer(0, 0, 1))),
            (128 + 64 + 32 + 128) / 384,
        ),
    ],
)
def test_bit_operations(bert, policy, expected):
    torch.manual_seed(6)
    given = {"input_ids": torch.randint(3, 50, (2, 12))}
    _, session = hidden(bert, policy, "fake-quant", given, arrays=SINGLE)
    assert session.tally.bops_ratio == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("values", [1.0, 0.5])
def test_rows_are_computed_again_with_keys_in_eight_bits(bert, values):
    """Each head has rows of its own that are."""
    torch.manual_seed(6)
    policy = Policy(
        layers=(layer(0, 1, 0, threshold=0.2, values=values),) * 3, p_follows_query=True
    )
    given = {"input_ids": torch.randint(3, 50, (2, 12))}
    _, session = hidden(bert, policy, "fake-quant", given, arrays=SINGLE)
    again = session.tally.rows_again / session.tally.rows
    assert 0.1 < again < 0.9
    expected = 64 + 32 * again + values * 32
    # A key whose weights are all 0 takes no share.
    assert session.tally.bops_ratio == pytest.approx(expected / 128, rel=0.01)


@pytest.mark.parametrize(
    ("shares", "expected"), [((0.28, 0.414, 0.306), 0.316), ((0.218, 0.52, 0.262), 0.340)]
)
def test_what_the_papers_average_shares_cost(make_bert, shares, expected):
    bert = make_bert(layers=2, positions=500)
    ids = torch.randint(3, 50, (1, 500))
    policy = Policy(layers=(layer(0, 0, 1), layer(*shares)))
    _, session = hidden(bert, policy, "fake-quant", {"input_ids": ids})
    assert 2 * session.tally.bops_ratio - 1 == pytest.approx(expected, abs=0.0006)
