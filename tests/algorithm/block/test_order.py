"""Places in descending order."""

import torch

from dtqatten.algorithm.block.order import places


def test_equals_go_by_their_index():
    values = torch.tensor([[1.0, 3.0, 1.0, 3.0], [-1.0, 0.0, torch.inf, 0.0]])
    assert places(values).tolist() == [[2, 0, 3, 1], [3, 1, 0, 2]]
