"""Codes of weights: their nibbles, and what is left of the highest alone."""

import numpy as np
import pytest

from dtqatten.golden.numerics.weights import WeightCode

CODES = [WeightCode(planes, unsigned) for planes in (2, 3) for unsigned in (False, True)]


@pytest.mark.parametrize(
    ("code", "top", "levels"),
    list(zip(CODES, (119, 255, 1911, 4095), (8, 16, 8, 16), strict=True)),
)
def test_codes_go_from_0_to_the_top(code: WeightCode, top: int, levels: int) -> None:
    assert code.top == top
    kept = code.highest(np.arange(top + 1))
    unit = 16 ** (code.planes - 1)
    assert np.unique(kept).tolist() == [unit * level for level in range(levels)]


@pytest.mark.parametrize("code", CODES)
def test_nibbles_make_up_the_weight(code: WeightCode) -> None:
    weights = np.arange(code.top + 1)
    planes = code.split(weights).astype(np.int64)
    powers = 16 ** np.arange(code.planes - 1, -1, -1)
    assert (powers @ planes == weights).all()
    low, high = (0, 15) if code.unsigned else (-8, 7)
    assert (planes.min(), planes.max()) == (low, high)
    # The highest nibble alone is the nearest multiple.
    kept = code.highest(weights)
    assert (code.split(kept)[1:] == 0).all()
    away = np.abs(kept - weights)[weights < 15 * powers[0]]
    assert away.max() <= powers[0] // 2 + (0 if code.unsigned else 8)


@pytest.mark.parametrize("code", CODES)
def test_weights_out_of_range_are_refused(code: WeightCode) -> None:
    for bad in (-1, code.top + 1):
        with pytest.raises(ValueError, match=rf"weight {bad} is outside 0\.\.{code.top}"):
            code.split(np.array([0, bad]))
    with pytest.raises(ValueError, match="planes is 4: a weight has 2 nibbles, or 3"):
        WeightCode(4)
