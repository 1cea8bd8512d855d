"""Heads of least output are left out, for good."""

import torch

from dtqatten.algorithm.block.operands import Result
from dtqatten.algorithm.session.heads import HeadPruning


def test_heads_of_least_output_are_left_out_for_good():
    heads = HeadPruning()
    counted = torch.tensor([[True, False]])

    def run(keep, *sizes):
        output = torch.tensor(sizes)[None, :, None, None] * torch.ones(1, 3, 2, 4)
        output[:, :, 1] = 9.0  # a query that does not count
        left = heads.choose(keep, 3, counted)
        heads.count(Result(output, torch.ones(1, 3, 5)), counted)
        return left[0].tolist()

    assert run(3, 1.0, 2.0, 3.0) == [True, True, True]
    assert run(2, 9.0, 1.0, 1.0) == [False, True, True]
    assert run(3, 9.0, 1.0, 1.0) == [False, True, True]
    # 2 + 1 + 1 of the second head, 3 + 1 + 1 of the third.
    assert run(1, 9.0, 9.0, 1.0) == [False, False, True]
    assert heads.magnitude[0].tolist() == [4.0, 16.0, 24.0]


def test_pruned_heads_draw_no_importance():
    heads, counted = HeadPruning(), torch.ones(1, 2, dtype=torch.bool)
    sizes = torch.tensor([1.0, 2.0])[None, :, None, None].expand(1, 2, 2, 4)
    result = Result(sizes, torch.ones(1, 2, 5))
    heads.choose(2, 2, counted)
    heads.count(result, counted)
    assert heads.choose(1, 2, counted).tolist() == [[False, True]]
    assert heads.count(result, counted).importance.tolist() == [[[0.0] * 5, [1.0] * 5]]
