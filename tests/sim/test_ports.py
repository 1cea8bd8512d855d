"""Flat port values against the gateware's own layouts."""

import numpy as np
import pytest

from dtqatten import Config
from dtqatten.golden.tiles import Beat, Row
from dtqatten.hw.layout import load_layout, score_row_layout
from dtqatten.sim.ports import pack, pack_beat, pack_row, unpack


@pytest.mark.parametrize("width", [1, 4, 21, 32])
@pytest.mark.parametrize("signed", [False, True])
def test_unpack_undoes_pack(width: int, signed: bool) -> None:
    low, high = (-(1 << width - 1), 1 << width - 1) if signed else (0, 1 << width)
    values = np.random.default_rng(width).integers(low, high, 77)
    packed = pack(values, width)
    assert packed < 1 << 77 * width
    assert (unpack(packed, width, 77, signed=signed) == values).all()


def test_beat_layout() -> None:
    config = Config(rows=1, cols=1, depth=4, d_head=8)
    nibbles = np.array([1, -2, 3, -4, 5, -6, 7, -8], dtype=np.int8)
    for wide, last in [(False, True), (True, False)]:
        beat = load_layout(config).from_bits(pack_beat(config, Beat(nibbles, wide, last)))
        assert list(beat.nibbles) == nibbles.tolist()
        assert beat.precision.value == wide
        assert beat.last == last


def test_score_row_layout() -> None:
    config = Config(rows=1, cols=5, depth=4, d_head=8)
    scores = np.array([-115200, 114244, 0, 1, -1])
    for flags in [(True, False, False), (False, True, False), (False, False, True)]:
        packed = pack_row(score_row_layout(config), Row(scores, 3, *flags))
        row = score_row_layout(config).from_bits(packed)
        assert list(row.scores) == scores.tolist()
        assert row.keys == 3
        assert (row.last_row, row.last_tile, row.last_block) == flags
