"""Heads of least output are left out, for good."""

from dataclasses import replace

import numpy as np
import torch

from dtqatten.algorithm.block.operands import Result
from dtqatten.algorithm.session.heads import HeadPruning
from dtqatten.golden.numerics.heads import drawn, head_weight


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
    # In 1/4096, the mean of a query's channels.
    assert heads.magnitude[0].tolist() == [4096 * size for size in (1, 4, 6)]


def test_importance_is_the_machines():
    """Of outputs in codes: the golden sums, on every query that counts; no more than 32 bits."""
    codes = np.random.default_rng(0).integers(-(1 << 15), 1 << 15, (2, 3, 4, 8))
    unit = np.array([[0.3, 0.01, 1e-9], [0.02, 0.0, 1e5]])
    counted = torch.tensor([[True, True, True, True], [True, False, True, False]])
    result = Result(torch.from_numpy(codes * unit[..., None, None]), None)
    result = replace(result, unit=torch.from_numpy(unit))
    heads = HeadPruning()
    heads.choose(3, 3, counted)
    for _ in range(2):
        heads.count(result, counted)
    codes[1, 1] = 0
    once = drawn(codes * counted.numpy()[:, None, :, None], head_weight(unit, 8))
    assert np.array_equal(heads.magnitude.numpy(), np.minimum(2 * once, 2**32 - 1))
    assert heads.magnitude[1, 2] == 2**32 - 1


def test_pruned_heads_draw_no_importance():
    heads, counted = HeadPruning(), torch.ones(1, 2, dtype=torch.bool)
    sizes = torch.tensor([1.0, 2.0])[None, :, None, None].expand(1, 2, 2, 4)
    result = Result(sizes, torch.ones(1, 2, 5))
    heads.choose(2, 2, counted)
    heads.count(result, counted)
    assert heads.choose(1, 2, counted).tolist() == [[False, True]]
    assert heads.count(result, counted).importance.tolist() == [[[0.0] * 5, [1.0] * 5]]
