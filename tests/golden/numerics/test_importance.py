"""Importance: sums over heads and queries; blocks add up in test_attention."""

import numpy as np

from dtqatten.golden.numerics.importance import importance


def test_importance_sums_heads_and_queries():
    probability = np.arange(24).reshape(2, 3, 4)
    assert importance(probability).tolist() == [60, 66, 72, 78]
    assert importance(probability, np.array([1, 2, 0, 7])).tolist() == [60, 33, 72, 11]
