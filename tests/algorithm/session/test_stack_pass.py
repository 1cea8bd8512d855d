"""The lists of tokens that a machine's layers follow from."""

import torch

from dtqatten.algorithm.policy import Policy
from dtqatten.algorithm.session.stack_pass import StackPass
from dtqatten.algorithm.session.support import Stack


def test_a_list_keeps_the_order_of_the_one_before() -> None:
    """Tokens of 4 bits come first; a token that was of 8 bits stays behind those that were not."""
    own = StackPass(Stack((), 0, ()), Policy.flat(3), ())
    bits = torch.tensor([[4, 8, 4, 4], [4, 4, 4, 4]])
    assert own.listed(True, bits).tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]
    # The first text's list was 0 2 3 1.
    later = torch.tensor([[4, 4, 8, 4], [8, 4, 4, 4]])
    assert own.listed(False, later).tolist() == [[0, 3, 1, 2], [0, 1, 2, 3]]
    # And then 0 3 1 2, of the second text 1 2 3 0.
    assert own.listed(False, later).tolist() == [[0, 2, 3, 1], [3, 0, 1, 2]]
    assert own.listed(True, bits).tolist() == [[0, 1, 2, 3], [0, 1, 2, 3]]
