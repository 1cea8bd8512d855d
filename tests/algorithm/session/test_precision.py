"""Precisions of a batch are those of the policy for each sequence."""

import numpy as np
import pytest
import torch

from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.policy_values import PolicyError
from dtqatten.algorithm.session.precision import precisions, roles
from dtqatten.algorithm.session.tokens import TokenSource


@pytest.mark.parametrize("shares", [(0.3, 0.4, 0.3), (0.5, 0.5, 0.0), (0.0, 0.0, 1.0)])
def test_they_are_those_of_the_policy(shares):
    policy = Policy.flat(2, shares, protect=("first",))
    rng = np.random.default_rng(3)
    tokens = TokenSource(policy, ()).make(torch.ones(4, 20, dtype=torch.bool), 20, None)
    tokens.importance = torch.from_numpy(rng.integers(0, 6, (4, 20))).float()
    alive = torch.from_numpy(rng.random((4, 20)) < 0.8)
    got = precisions(policy, 1, tokens, alive)
    for row, bits in enumerate(got):
        protected = np.arange(20) == 0
        importance = tokens.importance[row].numpy()
        wanted = policy.precision(1, importance, alive=alive[row].numpy(), protected=protected)
        assert (bits.numpy() == wanted).all()


def test_the_newest_tokens_stay():
    policy = Policy.flat(2, (0.5, 0.5, 0.0), recent=3)
    valid = torch.arange(12)[None] < 10  # padding on the right
    tokens = TokenSource(policy, ()).make(valid, 12, None)
    tokens.importance = torch.arange(12, 0, -1)[None].float()
    bits = precisions(policy, 1, tokens, valid)
    assert bits[0].tolist() == [4, 4, 0, 0, 0, 0, 0, 4, 4, 4, 0, 0]


def test_a_pruned_token_may_ask_and_be_seen_by_its_neighbours():
    bits = torch.tensor([[8.0, 0.0, 0.0, 4.0]])
    valid = torch.ones(1, 4, dtype=torch.bool)
    seen = torch.ones(4, 4, dtype=torch.bool).tril()[None, None]
    visible, q_bits, k_bits = roles(Policy.flat(1), bits, valid, seen, 4, True)
    assert torch.equal(q_bits, bits)
    assert torch.equal(k_bits, bits)
    assert not visible[..., 1:3].any()
    policy = Policy.flat(1, prune_queries=False, recent=2)
    visible, q_bits, k_bits = roles(policy, bits, valid, seen, 4, True)
    assert q_bits.tolist() == k_bits.tolist() == [[8, 4, 4, 4]]
    assert visible[0, 0].int().tolist() == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 0, 1, 1]]
    with pytest.raises(PolicyError, match="recent is 2"):
        roles(policy, bits, valid, seen, 4, False)
