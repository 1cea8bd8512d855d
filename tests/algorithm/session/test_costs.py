"""Costs of a block whose bits are counted by hand."""

import dataclasses

import pytest
import torch

from dtqatten.algorithm.block.operands import Result
from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.session.blocks import Block
from dtqatten.algorithm.session.costs import Computed, account
from dtqatten.algorithm.session.tally import Tally
from dtqatten.golden.numerics.local_values import Arrays

#: Row blocks of both query heads, groups of single keys.
ARRAYS = Arrays(2, 4, 1, 16, grouped=True)
#: The same in decode steps.
STEPS = dataclasses.replace(ARRAYS, stepwise=True)
CAUSAL = torch.ones(3, 3, dtype=torch.bool).tril()[None, None]


def cost(bits, visible=None, heads=None, multiplied=None, again=None, arrays=ARRAYS, **options):
    """Two heads of four channels on one of K and V; tokens of 0 bits are left out."""
    bits = torch.tensor([bits])
    n = bits.shape[1]
    kept = bits > 0
    visible = kept[:, None, None] if visible is None else visible & kept[:, None, None]
    q, kv = torch.zeros(1, 2, n, 4), torch.zeros(1, 1, n, 4)
    valid = torch.ones(1, n, dtype=torch.bool)
    block = Block(0, q, kv, kv, bits, bits, valid, visible, kept, 0.5, valid)
    result = Result(q, None, again, multiplied)
    tally = Tally()
    account(tally, Policy.flat(1, **options), Computed(block, result, bits, None, heads), arrays)
    return tally


def test_all_in_eight_bits_costs_all():
    tally = cost([8.0, 8.0, 8.0])
    assert tally.bops_ratio == tally.bytes_ratio == 1
    assert tally.tokens == [0, 0, 3]
    assert cost([8.0, 8.0, 8.0], p_planes=3).bops_ratio == 1.25


def test_bits_of_every_pair_are_multiplied():
    tally = cost([8.0, 4.0, 0.0])
    # Both products of two heads: 8x8 + 8x4 + 4x8 + 4x4 of Q and K, 8 bits of P by 12 of V, twice.
    assert tally.bit_operations == 2 * (144 + 2 * 8 * 12)
    assert tally.bit_operations_all == 2 * 9 * 128
    assert tally.bytes == (2 + 2) * 12 / 8 * 4
    follows = cost([8.0, 4.0, 0.0], p_follows_token=True)
    assert follows.bit_operations == 2 * (144 + 2 * (8 * 8 + 4 * 4))


def test_what_a_query_does_not_see_costs_nothing():
    causal = torch.ones(2, 2, dtype=torch.bool).tril()[None, None]
    assert cost([8.0, 8.0], causal).bit_operations == 2 * 3 * 128


def test_pruned_heads_cost_nothing_and_share_what_is_fetched():
    one = cost([8.0, 8.0], heads=torch.tensor([[True, False]]))
    assert one.bit_operations == 4 * 128
    assert one.bytes == (1 + 2) * 2 * 4


@pytest.mark.parametrize("causal", [False, True])
def test_values_that_are_not_multiplied_cost_no_bit_operations(causal):
    """They are fetched, as each row block chooses for itself."""
    visible = torch.ones(2, 2, dtype=torch.bool).tril()[None, None] if causal else None
    multiplied = torch.tensor([[[[2.0, 0.0], [0.0, 0.0]]] * 2])
    tally = cost([8.0, 8.0], visible, multiplied=multiplied)
    pairs = 3 if causal else 4
    assert tally.bit_operations == 2 * (pairs * 64 + 2 * 64)
    assert tally.bytes == (2 * 2 + 2 + 2) * 4


def test_rows_that_are_computed_again_fetch_their_low_planes():
    again = torch.tensor([[[True, False], [True, False]]])
    tally = cost([4.0, 4.0], again=again)
    # Queries of 8 bits meet keys of 4 twice, and in one of two rows their low planes, too; V has 4
    # bits, P has 8.
    assert tally.bit_operations == 2 * (2 * 2 * 64 + 2 * 32 + 2 * 2 * 32)
    assert (tally.rows, tally.rows_again) == (4, 2)
    assert tally.tokens == [0, 1, 1]
    # Both planes of Q, those of K, since a row asks for the low one, and the high one of V.
    assert tally.bytes == (2 * 2 + 2 * 2 / 2 + 2 / 2) * 4


def test_each_decode_step_reads_the_keys_that_it_sees():
    """Bits of K: 8, 8 + 4 and 8 + 4 + 4; V as many; queries of two heads. Dense: six keys."""
    tally = cost([8.0, 4.0, 4.0], CAUSAL, arrays=STEPS)
    assert tally.bytes == (2 * 16 + 2 * (8 + 12 + 16)) * 4 / 8
    # Without a list of what is seen before anything is pruned, all see all.
    assert tally.bytes_all == (2 * 3 + 2 * 9) * 4
    gains = cost([8.0, 4.0, 4.0], CAUSAL, arrays=STEPS, granularity="token")
    assert gains.bytes == tally.bytes + 2 * 6 + 2 * 3


def test_a_decode_step_reads_v_of_the_groups_it_chose():
    """Both query heads choose alike: of three keys in 4 bits two queries, none and one."""
    rows = torch.tensor([[2.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    multiplied = torch.stack([rows, rows])[None]
    tally = cost([4.0, 4.0, 4.0], CAUSAL, multiplied=multiplied, arrays=STEPS)
    assert tally.bytes == (2 * 12 + 24 + 12) * 4 / 8
    assert (tally.keys_tried, tally.flat) == (0, 0)
    # Query heads that are row blocks of their own choose each for itself: V is read whole.
    for apart in ({"rows": 1}, {"grouped": False}):
        arrays = dataclasses.replace(STEPS, **apart)
        alone = cost([4.0, 4.0, 4.0], CAUSAL, multiplied=multiplied, arrays=arrays)
        assert alone.bytes == (2 * 12 + 24 + 24) * 4 / 8


def test_a_decode_step_reads_low_planes_where_a_head_is_flat():
    """The third query's second head is: its three keys have 8 bits, the other three have 4."""
    again = torch.tensor([[[False, False, False], [False, False, True]]])
    tally = cost([4.0, 4.0, 4.0], CAUSAL, again=again, arrays=STEPS)
    assert tally.bytes == (2 * 24 + (3 * 4 + 3 * 8) + 6 * 4) * 4 / 8
    assert (tally.keys_tried, tally.keys_flat, tally.flat) == (6, 3, 0.5)
    # V in 8 bits changes nothing of K.
    wide = cost([8.0, 8.0, 8.0], CAUSAL, again=again, arrays=STEPS)
    assert wide.bytes - tally.bytes == 6 * 4 * 4 / 8


def test_pruned_heads_and_tokens_are_read_in_no_decode_step():
    heads = torch.tensor([[True, False]])
    assert cost([8.0, 0.0, 8.0], CAUSAL, heads, arrays=STEPS).bytes == (2 + 2 * 3) * 4
    assert cost([8.0] * 3, CAUSAL, torch.tensor([[False, False]]), arrays=STEPS).bytes == 0


def test_formats_of_numbers_cost_bit_operations_beside_the_products():
    """Counted by hand, of four channels and groups of 11 products, whose sums have 12 bits."""
    causal = torch.ones(3, 3, dtype=torch.bool).tril()[None, None]
    bits = [8.0, 4.0, 4.0]
    assert cost(bits, causal).overhead == 0
    # Six pairs of two heads, 16 bits of a bias each; all is counted for one of four channels.
    assert cost(bits, causal, center_queries=True).overhead == 2 * 6 * 16 / 4
    # Key 0 has three queries and 2 x 2 nibbles, keys 1 and 2 three and 1 x 1.
    tiles = cost(bits, causal, block_exponents=True, p_follows_token=True)
    assert tiles.overhead == pytest.approx(2 * (6 * 72 / 4 + (3 * 4 + 3 * 1) * 2 * 12 / 11))
    both = cost(bits, causal, block_exponents=True, p_follows_token=True, center_queries=True)
    assert both.overhead == pytest.approx(tiles.overhead + 2 * 6 * 16 / 4)
    assert both.overhead_ratio == pytest.approx(both.overhead / (2 * 9 * 128))
    # Without a mask all nine pairs count; a pruned token has none.
    assert cost([8.0, 8.0, 8.0], center_queries=True).overhead == 2 * 9 * 16 / 4
    assert cost([8.0, 8.0, 0.0], center_queries=True).overhead == 2 * 4 * 16 / 4
