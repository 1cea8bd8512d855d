"""The table of descriptor fields: no overlap, round trips, sizes of regions."""

import pytest

from dtqatten.golden.numerics import softmax
from dtqatten.interface.descriptor import (
    FIELDS,
    HEAD_BYTES,
    HEAD_SHIFT_MAX,
    MAGIC,
    SIZE,
    VERSION,
    Flag,
    pack,
    unpack,
)
from dtqatten.interface.regions import query_rows, region_sizes, tensor_heads


def test_fields_do_not_overlap_and_fit() -> None:
    taken: set[int] = set()
    for field in FIELDS:
        bytes_ = set(range(field.offset, field.offset + field.bits // 8))
        assert not taken & bytes_
        assert max(bytes_) < SIZE
        assert field.offset % (field.bits // 8) == 0
        taken |= bytes_


def test_the_head_tells_whether_the_rest_counts() -> None:
    head = [field.name for field in FIELDS if field.offset < HEAD_BYTES]
    assert head == ["version", "magic", "ready"]
    assert pack({"ready": 1})[:HEAD_BYTES] == bytes([3, 0, 0x44, 0x54, 1, 0, 0, 0])


def test_shifts_of_the_head_table_are_those_of_the_arithmetic() -> None:
    assert HEAD_SHIFT_MAX == softmax.SHIFT_MAX


def test_round_trip() -> None:
    values = {field.name: (1 << field.bits) - 1 - i for i, field in enumerate(FIELDS)}
    assert unpack(pack(values)) == values
    assert unpack(pack({}))["magic"] == MAGIC
    assert unpack(pack({}))["version"] == VERSION


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"head": 1}, "no field 'head'"),
        ({"heads": 65536}, r"heads is 65536, outside 0\.\.65535"),
        ({"k0": -1}, "k0 is -1"),
    ],
)
def test_what_does_not_fit_is_refused(values, message) -> None:
    with pytest.raises(ValueError, match=message):
        pack(values)


def test_a_descriptor_has_its_size() -> None:
    with pytest.raises(ValueError, match="256 bytes, not 3"):
        unpack(b"abc")


def test_regions_follow_flags() -> None:
    given = {"heads": 4, "kv_heads": 2, "queries": 7, "stored": 9, "capacity": 10, "tokens": 6}
    fields = unpack(pack(given | {"k0": 5}))
    assert {n: s for n, s, _ in region_sizes(fields, 32)} == {
        "q": 4 * 7 * 32,
        "k": 2 * 10 * 32,
        "v": 2 * 10 * 32,
        "head_table": 32,
        "output": 4 * 7 * 64,
    }
    # A segment that is held writes nothing.
    assert "output" not in [name for name, *_ in region_sizes(fields | {"flags": Flag.HOLDS}, 32)]
    every = fields | {"flags": int(~(Flag.HOLDS | Flag.HEADS_CHAINED))}
    sizes = {name: (size, written) for name, size, written in region_sizes(every, 32)}
    assert sizes["output"] == (4 * 7 * 32, True)
    assert sizes["ids"] == (10, True)
    assert sizes["importance"] == (24, True)
    assert sizes["k_gains"] == (20, False)
    assert sizes["query_list"] == (14, False)
    assert sizes["key_list"] == (12, False)
    assert sizes["key_bias"] == (4 * 10 * 2, False)
    # Chained queries are some of those that the layer before had.
    assert sizes["q"] == (4 * 9 * 32, False)
    assert sizes["q_gains"] == (4 * 9, False)
    assert query_rows(fields) == 7
    assert query_rows(every) == 9


def test_chained_heads_are_some_of_those_in_memory() -> None:
    given = {"heads": 3, "kv_heads": 3, "queries": 7, "stored": 9, "capacity": 10, "tokens": 6}
    flags = Flag.HEADS_CHAINED | Flag.HEAD_REPORT | Flag.Q_GAINS | Flag.K_GAINS
    fields = unpack(pack(given | {"stored_heads": 5, "keep_heads": 2, "flags": flags}))
    assert {name: (size, written) for name, size, written in region_sizes(fields, 32)} == {
        "q": (5 * 7 * 32, False),
        "k": (5 * 10 * 32, False),
        "v": (5 * 10 * 32, False),
        "head_table": (5 * 8, False),
        "q_gains": (5 * 7, False),
        "k_gains": (5 * 10, False),
        "output": (3 * 7 * 64, True),
        "head_report": (5 * 8, True),
    }
    assert tensor_heads(fields) == (5, 5)
    assert tensor_heads(fields | {"flags": 0, "heads": 4, "kv_heads": 2}) == (4, 2)
