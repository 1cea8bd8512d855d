"""Importance of heads: what a layer adds, which heads stay, and for how long."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dtqatten.golden.numerics.heads import (
    HEAD_FRACTION,
    drawn,
    head_weight,
    kept_heads,
    ranked_heads,
)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.floats(-12, 2), st.sampled_from([8, 64, 256]))
def test_importance_is_the_mean_magnitude_of_channels(seed: int, power: float, d: int) -> None:
    """Of real outputs, summed over queries: to the weight's rounding, and a unit."""
    rng = np.random.default_rng(seed)
    unit = 10.0**power * rng.uniform(0.1, 1, 3)
    output = rng.integers(-(1 << 15), 1 << 15, (3, int(rng.integers(1, 40)), d))
    real = np.abs(output * unit[:, None, None]).mean(-1).sum(-1) * 2**HEAD_FRACTION
    found = drawn(output, head_weight(unit, d))
    largest = real > 2**32 - 1
    assert (found[largest] == 2**32 - 1).all()
    error = np.abs(found - real)[~largest]
    # The weight has 16 bits, and 40 behind the point.
    size = np.abs(output).sum((1, 2))
    assert (error <= 1 + (real * 2**-16 + size * 2.0**-41)[~largest]).all()


def test_sums_by_hand() -> None:
    output = np.array([[[1, -2, 3], [-4, 0, 5]], [[-32768, 32767, 0], [0, 0, 0]]])
    weight = head_weight(np.array([3 / 4096, 3 / 2048]), 3)
    assert (weight.m.tolist(), weight.shift.tolist()) == ([1 << 15, 1 << 15], [15, 14])
    assert drawn(output, weight).tolist() == [15, 2 * 65535]
    half = head_weight(np.array([3 / 8192, 3e9]), 3)
    # Rounded down; at its largest value.
    assert drawn(output, half).tolist() == [7, 2 * 0 + 65535 * 65535]
    assert drawn(output, head_weight(np.array([0.0, 1e30]), 3))[0] == 0


def test_of_equal_heads_the_lowest_stays() -> None:
    importance = np.array([5, 9, 5, 9, 5])
    everything = np.ones(5, bool)
    for keep, wanted in ((5, [0, 1, 2, 3, 4]), (4, [0, 1, 2, 3]), (3, [0, 1, 3]), (1, [1])):
        assert np.flatnonzero(kept_heads(importance, everything, keep)).tolist() == wanted
    # A head that is pruned stays so, however large it is.
    alive = np.array([True, False, True, True, True])
    assert np.flatnonzero(kept_heads(importance, alive, 2)).tolist() == [0, 3]
    assert np.flatnonzero(kept_heads(importance, alive, 5)).tolist() == [0, 2, 3, 4]


def test_layers_add_up_for_the_heads_that_are_left() -> None:
    weight = head_weight(np.full(3, 1 / 4096), 1)
    outputs = np.array([3, 1, 2]).reshape(3, 1, 1)
    total, kept = ranked_heads(outputs, weight, np.ones(3, bool), np.zeros(3, np.uint32), 2)
    assert (total.tolist(), kept.tolist()) == ([3, 1, 2], [True, False, True])
    left = head_weight(np.full(2, 1 / 4096), 1)
    total, kept = ranked_heads(outputs[:2], left, kept, total, 1)
    assert (total.tolist(), kept.tolist()) == ([6, 1, 3], [True, False, False])
    full = np.array([2**32 - 3, 0, 0], np.uint32)
    total, _ = ranked_heads(outputs, weight, np.ones(3, bool), full, 2)
    assert total.tolist() == [2**32 - 1, 1, 2]


def test_units_are_worths() -> None:
    with pytest.raises(ValueError, match="finite and not negative"):
        head_weight(np.array([-1.0]), 8)
