"""Flat port values against the gateware's own layouts."""

import numpy as np
import pytest
from amaranth.hdl import Shape, signed
from amaranth.lib import data

from dtqatten import Config
from dtqatten.golden.cycles.tiles import Beat, Row
from dtqatten.hw.payloads.arrays import load_layout, score_row_layout
from dtqatten.sim.engines.ports import pack, pack_beat, pack_payload, pack_row, padded, unpack


@pytest.mark.parametrize("width", [1, 4, 21, 32])
@pytest.mark.parametrize("signed", [False, True])
def test_unpack_undoes_pack(width: int, signed: bool) -> None:
    low, high = (-(1 << width - 1), 1 << width - 1) if signed else (0, 1 << width)
    values = np.random.default_rng(width).integers(low, high, 77)
    packed = pack(values, Shape(width, signed))
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


PAYLOAD = data.StructLayout(
    {
        "sums": data.ArrayLayout(signed(4), 3),
        "keys": range(6),
        "flags": data.StructLayout({"last": 1}),
    }
)
FIELDS = {"sums": [-8, 0, 7], "keys": 5, "flags": {"last": True}}


def test_a_payload_is_packed_field_by_field() -> None:
    packed = PAYLOAD.from_bits(pack_payload(PAYLOAD, FIELDS))
    assert (list(packed.sums), packed.keys, packed.flags.last) == ([-8, 0, 7], 5, 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sums": [0, 8, 0]}, r"beat\.sums\[1\] is 8, outside -8\.\.7 of its signed\(4\)"),
        ({"sums": [0, 0, -9]}, r"beat\.sums\[2\] is -9, outside -8\.\.7"),
        ({"sums": [1, 2]}, r"beat\.sums has 2 elements, not 3"),
        ({"sums": [1, 2, 3, 4]}, r"beat\.sums has 4 elements, not 3"),
        ({"sums": 0}, r"beat\.sums has 1 elements, not 3"),
        # The range says more than the bits that it takes.
        ({"keys": 6}, r"beat\.keys is 6, outside 0\.\.5 of its range\(0, 6\)"),
        ({"keys": -1}, r"beat\.keys is -1, outside 0\.\.5"),
        ({"keys": None}, r"beat\.keys is missing"),
        ({"flags": {"last": 2}}, r"beat\.flags\.last is 2, outside 0\.\.1"),
        ({"flags": {"lust": 1}}, r"beat\.flags\.last is missing"),
        ({"flags": Row(np.zeros(1), 1, True, True, True)}, r"beat\.flags\.last is missing"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(changes, message) -> None:
    with pytest.raises(ValueError, match=message):
        pack_payload(PAYLOAD, FIELDS | changes, "beat")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"keys": 1.0}, r"beat\.keys is 1\.0, not an integer"),
        ({"sums": [0.5, 1, 2]}, r"beat\.sums is of float64, not of integers"),
    ],
)
def test_what_is_no_integer_is_refused_by_name(changes, message) -> None:
    with pytest.raises(TypeError, match=message):
        pack_payload(PAYLOAD, FIELDS | changes, "beat")


def test_a_renamed_field_of_the_gateware_is_missing() -> None:
    layout = score_row_layout(Config(rows=1, cols=5, depth=4, d_head=8))
    renamed = {"last_tile": "tile_last"}
    other = data.StructLayout({renamed.get(name, name): f.shape for name, f in layout})
    row = Row(np.zeros(5, dtype=int), 3, True, True, True)
    assert pack_row(layout, row)
    with pytest.raises(ValueError, match=r"scores\.tile_last is missing"):
        pack_row(other, row, "scores")


@pytest.mark.parametrize(
    ("values", "shape", "message"),
    [
        ([230400], signed(16), r"acc\[0\] is 230400, outside -32768\.\.32767"),
        ([0, 1 << 32], 32, r"acc\[1\] is 4294967296, outside 0\.\.4294967295"),
        ([-1], 32, r"acc\[0\] is -1, outside 0"),
        (np.array([1 << 63], np.uint64), signed(64), r"acc\[0\] is 9223372036854775808, outside"),
    ],
)
def test_an_array_is_never_cut(values, shape, message) -> None:
    with pytest.raises(ValueError, match=message):
        pack(values, shape, "acc")


def test_wide_values_are_packed_whole() -> None:
    wide = np.array([1 << 63, (1 << 64) - 1], np.uint64)
    assert pack(wide, 64) == 1 << 63 | ((1 << 64) - 1) << 64
    assert pack([-1, 1], signed(70)) == (1 << 70) - 1 | 1 << 70
    assert pack([], 5) == 0


def test_lanes_past_what_there_is_are_zero_where_the_bench_says_so() -> None:
    assert padded([3, 4], 4).tolist() == [3, 4, 0, 0]
    with pytest.raises(ValueError, match="negative"):
        padded([3, 4], 1)
