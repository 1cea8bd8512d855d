"""Exact products: extremes, every mix of precisions."""

import itertools

import numpy as np
import pytest

from dtqatten.golden.numerics.codes import four_bit
from dtqatten.golden.numerics.products import scores, weighted_sum


def test_scores_are_exact_at_the_extremes():
    for d in (8, 128):
        low, high = np.full((1, 1, d), -120), np.full((1, 1, d), 119)
        assert scores(low, low).item() == d * 14400
        assert scores(low, high).item() == -d * 14280
        # 22 bits signed at the most.
        assert abs(d * 14400).bit_length() <= 21


@pytest.mark.parametrize(("bits_q", "bits_k"), list(itertools.product((0, 4, 8), repeat=2)))
def test_scores_of_every_precision_mix(bits_q, bits_k):
    rng = np.random.default_rng(bits_q * 10 + bits_k)
    q, k = rng.integers(-120, 120, (2, 1, 6, 16))
    precision = {0: lambda c: 0 * c, 4: four_bit, 8: lambda c: c}
    expected = precision[bits_q](q) @ precision[bits_k](k).swapaxes(-1, -2)
    assert (scores(q, k, np.full(6, bits_q), np.full(6, bits_k)) == expected).all()


def test_weighted_sum_is_exact_at_the_extremes():
    # An odd sum above 2**24, which float32 cannot hold.
    p, v = np.full((1, 1, 1023), 1911), np.full((1, 1023, 1), 119)
    assert weighted_sum(p, v).item() == 1023 * 1911 * 119
    p, v = np.full((1, 1, 1024), 1911), np.full((1, 1024, 1), -120)
    assert weighted_sum(p, v).item() == -1024 * 1911 * 120
    assert (1024 * 1911 * 120).bit_length() <= 28
