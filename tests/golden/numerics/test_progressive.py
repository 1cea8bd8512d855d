"""Progressive quantization: which rows are flat in 4 bits, and what becomes of their row block."""

import numpy as np
import pytest

from dtqatten.golden.numerics.attention import Inputs, Options, attention
from dtqatten.golden.numerics.codes import Granularity, quantize
from dtqatten.golden.numerics.local_values import Tiling, tiling
from dtqatten.golden.numerics.masks import position_mask
from dtqatten.golden.numerics.progressive import FLAT_SUM_MAX, flat_sum, flat_with_block


def test_a_threshold_is_a_limit_of_the_sum() -> None:
    # A row of ten equal keys has the largest probability 0.1, which is not below 0.1.
    for threshold, limit in ((1, 65535), (0.5, 131070), (0.1, 655350), (0, FLAT_SUM_MAX)):
        assert flat_sum(threshold) == limit
    assert flat_sum(1e-300) == FLAT_SUM_MAX
    for threshold in (-0.1, 1.1):
        with pytest.raises(ValueError, match="give a probability"):
            flat_sum(threshold)


def test_one_flat_row_asks_for_its_whole_block() -> None:
    flat = np.array([[True, False, False, False, True], [False, False, True, False, False]])
    blocks = np.array([[0, 0, 1, 1, -1], [0, 1, 3, 2, -1]])
    expected = [[True, True, False, False, True], [False, False, True, False, False]]
    # Grouped heads share row blocks: row 0 of the second head is of the first one's block.
    expected[1][0] = True
    assert flat_with_block(flat, blocks).tolist() == expected


def operands(heads: int = 3, m: int = 7, n: int = 40, d: int = 16) -> list:
    rng = np.random.default_rng(3)
    # Rows from peaked to flat.
    sharp = np.linspace(0.1, 4, m)[:, None]
    shapes = (rng.normal(size=(heads, m, d)) * sharp, *rng.normal(size=(2, heads, n, d)))
    return [quantize(x, Granularity.TOKEN) for x in shapes]


@pytest.mark.parametrize("threshold", [0.0, 0.05, 0.2, 1.0])
@pytest.mark.parametrize("sinks", [False, True])
def test_every_row_is_that_of_a_block_in_4_or_in_8_bits(threshold, sinks) -> None:
    q, k, v = operands()
    heads, m, n = 3, 7, 40
    inputs = {
        "q_bits": np.where(np.arange(m) < 3, 4, 8),
        "v_bits": np.where(np.arange(n) < 22, 4, 8),
        "mask": position_mask(np.arange(n - m, n), np.arange(n), window=25),
        "sinks": np.full(heads, 300, np.int16) if sinks else None,
    }
    own = np.where(np.arange(n) < 9, 4, 8)
    four, eight = (
        attention(Inputs(q, k, v, k_bits=np.full(n, bits), **inputs), Options()) for bits in (4, 8)
    )
    tiles = tiling(heads, m, n, (2, 8, 4))
    options = Options(flat_sum=flat_sum(threshold))
    found = attention(Inputs(q, k, v, k_bits=own, tiling=tiles, **inputs), options)
    # By probability, as SpAtten says it: without a sink, the largest one is that of the keys.
    largest = 65535 / four.e16.sum(-1)
    assert found.trial is not None
    np.testing.assert_array_equal(found.trial.flat, largest < threshold)
    assert found.trial.flat.any() == (threshold > 0)
    for head in range(heads):
        for row in range(m):
            block = slice(row // 2 * 2, row // 2 * 2 + 2)
            again = (largest[head, block] < threshold).any()
            wanted = eight if again else four
            np.testing.assert_array_equal(found.output[head, row], wanted.output[head, row])
            np.testing.assert_array_equal(
                found.probability[head, row], wanted.probability[head, row]
            )


def test_a_row_that_sees_nothing_is_not_flat() -> None:
    q, k, v = operands(m=2)
    tiles = Tiling(np.zeros((3, 2), int), np.zeros(40, int), np.zeros(40, int))
    options = Options(flat_sum=0)
    mask = np.array([[False] * 40] * 2)
    found = attention(Inputs(q, k, v, mask=mask, tiling=tiles), options)
    assert found.trial is not None
    assert not found.trial.flat.any()
    assert not found.output.any()


def test_what_cannot_be_tried_is_refused() -> None:
    q, k, v = operands()
    options = Options(flat_sum=70000)
    with pytest.raises(ValueError, match="no tiling"):
        attention(Inputs(q, k, v), options)
    with pytest.raises(ValueError, match="in 2 segments"):
        attention(Inputs(q, k, v, cuts=(8,), tiling=tiling(3, 7, 40, (2, 8, 4))), options)
    for terms in ({"softcap": 256}, {"bias": np.zeros((3, 7, 40), np.int64)}):
        with pytest.raises(ValueError, match="soft caps or biases"):
            attention(Inputs(q, k, v, tiling=tiling(3, 7, 40, (2, 8, 4)), **terms), options)
    for limit in (-1, FLAT_SUM_MAX + 1):
        with pytest.raises(ValueError, match="flat_sum is"):
            Options(flat_sum=limit)
