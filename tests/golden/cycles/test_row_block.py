"""A row block of two tiles: places, padding, and records with the last tile only."""

import numpy as np

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.row_block import ScoredRow, passing_rows
from dtqatten.golden.cycles.softmax_beats import HeadFactor, Key, Query
from dtqatten.golden.cycles.tiles import Row

CONFIG = Config(rows=2, cols=3, depth=8, d_head=8, n_max=6, count_normalize=True)
HEAD = HeadFactor(65535, 16, causal=True)


def test_rows_of_equal_scores_share_what_they_see() -> None:
    keys = [Key(i, 256, 256, narrow=False, last=i == 3) for i in range(4)]
    queries = [Query(3, 256), Query(0, 256, narrow=True)]
    block = []
    for tile, count in enumerate((3, 1)):
        for r, query in enumerate(queries):
            row = Row(np.zeros(3, dtype=np.int64), count, r == 1, tile == 1, True)
            block.append(ScoredRow(row, keys[3 * tile :][:count], query, HEAD))
    rows = passing_rows(CONFIG, block, 2)

    # The first query sees four keys, the second one itself.
    assert [list(row.probabilities.values) for row in rows] == [
        [16384] * 3, [65535, 0, 0], [16384, 0, 0], [0, 0, 0],
    ]  # fmt: skip
    assert [list(row.probabilities.seen) for row in rows] == [
        [True] * 3, [True, False, False], [True, False, False], [False] * 3,
    ]  # fmt: skip
    assert [row.weights.narrow for row in rows] == [False, True] * 2
    # 119 as its highest nibble alone: half up to 7 * 16.
    assert [list(row.weights.values) for row in rows[:2]] == [[119] * 3, [112, 0, 0]]
    places = [(r.weights.keys, r.weights.last_row, r.weights.last_tile) for r in rows]
    assert places == [(3, False, False), (3, True, False), (1, False, True), (1, True, True)]
    assert [row.record is None for row in rows] == [True, True, False, False]
    divisors = [row.record.divisor for row in rows if row.record is not None]
    assert divisors == [4 * 119 * 16, 112 * 16]
    # The row that completes the block knows its size.
    assert [row.size for row in rows] == [0, 0, 0, 4]
