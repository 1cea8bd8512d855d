"""What is known of tokens: protection, random numbers, importance."""

import pytest
import torch

from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.session.tokens import TokenSource

VALID = torch.tensor([[False, True, True, True], [True, True, True, False]])


def made(ids=None, n_q=4, **options):
    return TokenSource(Policy.flat(2, **options), (7,)).make(VALID, n_q, ids)


def test_first_and_special_tokens_are_protected():
    assert made(protect=("first",)).protected.int().tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]
    ids = torch.tensor([[3, 7], [7, 3]])
    special = made(ids, 2, protect=("special",)).protected
    assert special.int().tolist() == [[0, 0, 0, 1], [0, 0, 1, 0]]
    with pytest.raises(ValueError, match="input_ids"):
        made(protect=("special",))


def test_padding_draws_no_random_number():
    drawn = made(ranking="random").random
    assert (drawn[~VALID] == 0).all()
    generator = torch.Generator().manual_seed(0)
    assert torch.equal(drawn[VALID], torch.rand(6, generator=generator))


@pytest.mark.parametrize("options", [{}, {"importance": "block"}, {"count_normalize": True}])
def test_importance_adds_up_or_is_that_of_the_last_block(options):
    tokens = made(**options)
    policy = Policy.flat(2, **options)
    visible = torch.ones(4, 4, dtype=torch.bool).tril()[None, None]
    for value in (4.0, 8.0):
        tokens.draw(policy, torch.full((2, 4), value), visible, torch.ones_like(VALID))
    wanted = {"importance": [8.0] * 4, "count_normalize": [1.5, 2.0, 3.0, 6.0]}
    assert tokens.order(policy)[0].tolist() == wanted.get(next(iter(options), ""), [12.0] * 4)


def test_new_tokens_come_after_the_old_ones():
    old = made()
    old.importance = torch.ones(2, 4)
    grown = TokenSource(Policy.flat(2), ()).make(torch.ones(2, 6, dtype=torch.bool), 2, None)
    both = old.extended(grown)
    assert both.valid.all()
    assert both.importance.tolist() == [[1, 1, 1, 1, 0, 0]] * 2
