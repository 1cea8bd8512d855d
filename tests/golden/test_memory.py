"""Memory layout and the exact list of reads, by hand and by counting bytes."""

import numpy as np
import pytest

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import ReadStream, SystemConfig
from dtqatten.golden.memory import (
    Burst,
    bursts,
    head_table_bytes,
    ideal_bytes,
    layer_reads,
    list_bytes,
    runs,
    tensor_bytes,
)
from dtqatten.golden.numerics.codes import join
from dtqatten.golden.numerics.softmax import Multiplier
from dtqatten.interface.descriptor import Flag, pack, unpack

SYSTEM = SystemConfig(
    core=Config(rows=2, cols=4, depth=2, d_head=32, n_max=16), bus_bits=64, burst_beats=4
)


def test_tensor_layout() -> None:
    codes = np.random.default_rng(0).integers(-120, 120, (2, 3, 8))
    raw = np.frombuffer(tensor_bytes(codes), np.uint8).reshape(2, 2, 3, 4)
    nibbles = np.stack([raw & 15, raw >> 4], -1).reshape(2, 2, 3, 8).astype(int)
    nibbles = np.where(nibbles > 7, nibbles - 16, nibbles)
    assert np.array_equal(join(nibbles[:, 0], nibbles[:, 1]), codes)


def test_odd_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="d even"):
        tensor_bytes(np.zeros((1, 2, 3), int))


def test_head_table() -> None:
    assert head_table_bytes([0x1234, 5], [6, 63]) == bytes.fromhex(
        "34120600 00000000 05003f00 00000000"
    )
    assert head_table_bytes([1, 2], [3, 4], np.array([-2, 300], np.int16)) == bytes.fromhex(
        "01000300 feff0000 02000400 2c010000"
    )


def test_head_table_with_weights() -> None:
    weights = Multiplier(np.array([0x8001, 2]), np.array([40, 1]))
    assert head_table_bytes([1, 2], [3, 4], None, weights) == bytes.fromhex(
        "01000328 00000180 02000401 00000200"
    )


def test_runs_merge_consecutive_ids() -> None:
    assert runs([0, 1, 4, 5, 6, 9, 2]) == [(0, 2), (4, 3), (9, 1), (2, 1)]
    assert runs([]) == []


def test_bursts_end_at_their_multiples_and_in_pages() -> None:
    whole = [Burst(0x18, 1, 8), Burst(0x20, 4, 8), Burst(0x40, 2, 8)]
    assert list(bursts(SYSTEM, 0x18, 0x31, narrow_transfers=False)) == whole
    # The last byte comes alone, and what is half a word or less as such.
    assert list(bursts(SYSTEM, 0x18, 0x31)) == [*whole[:2], Burst(0x40, 1, 8), Burst(0x48, 1, 1)]
    assert list(bursts(SYSTEM, 0x1C, 4)) == [Burst(0x1C, 1, 4)]
    assert list(bursts(SYSTEM, 0x1E, 1)) == [Burst(0x1E, 1, 1)]
    assert list(bursts(SYSTEM, 0x1B, 3)) == [Burst(0x18, 1, 8)]
    assert list(bursts(SYSTEM, 0x1D, 4)) == [Burst(0x1C, 1, 4), Burst(0x20, 1, 1)]
    assert list(bursts(SYSTEM, 0x19, 12)) == [Burst(0x18, 1, 8), Burst(0x20, 1, 8)]
    rng = np.random.default_rng(1)
    for address, size in rng.integers(1, 20_000, (200, 2)).tolist():
        cut = list(bursts(SYSTEM, address, size, narrow_transfers=False))
        words = [b.address + 8 * i for b in cut for i in range(b.beats)]
        assert words == list(range(address // 8 * 8, address + size, 8))
        for burst in cut:
            assert 1 <= burst.beats <= 4
            assert burst.address // 4096 == (burst.address + burst.size - 1) // 4096
        # Narrow: each byte once, those around it only in parts of a word that are wanted in part.
        moved = [b.address + i for b in bursts(SYSTEM, address, size) for i in range(b.size)]
        assert moved == sorted(set(moved))
        assert set(range(address, address + size)) <= set(moved)
        assert len(moved) < size + 4 + 4


def _fields(**changes: int) -> dict[str, int]:
    values = {
        "heads": 2,
        "kv_heads": 1,
        "queries": 8,
        "stored": 8,
        "capacity": 8,
        "tokens": 8,
        "k0": 4,
        "q": 0x1000,
        "k": 0x2000,
        "v": 0x3000,
        "head_table": 0x4000,
    }
    return unpack(pack(values | changes))


def test_reads_of_chosen_tokens() -> None:
    """Tokens 1, 2 and 5 in 4 bits, 6 in 8: low planes are aligned to 2 rows and 4 columns."""
    chained = int(Flag.CHAINED | Flag.QUERY_CHAINED)
    fields = _fields(tokens=4, queries=4, flags=chained)
    reads = layer_reads(SYSTEM, 0x40, fields, [1, 2, 5, 6], 3)
    plane = 8 * 16
    assert reads[ReadStream.K_HIGH] == [
        Burst(0x2010, 2, 8),
        Burst(0x2020, 2, 8),
        Burst(0x2050, 2, 8),
        Burst(0x2060, 2, 8),
    ]
    # All four share the tile of 4 columns with an 8-bit token.
    assert [b.address - plane for b in reads[ReadStream.K_LOW]] == [
        b.address for b in reads[ReadStream.K_HIGH]
    ]
    # A head of Q is two planes after the one before; slots 2 and 3 are a tile of 2 rows.
    low = [b.address for b in reads[ReadStream.Q_LOW]]
    assert low == [a + plane + 2 * plane * head for head in range(2) for a in (0x1050, 0x1060)]
    # Its head alone, then all of it.
    whole = [Burst(0x40 + 32 * i, 4, 8) for i in range(8)]
    assert reads[ReadStream.DESCRIPTOR] == [Burst(0x40, 1, 8), *whole]
    assert reads[ReadStream.HEAD_TABLE] == [Burst(0x4000, 2, 8)]
    assert not reads[ReadStream.V_GAINS]


def test_all_tokens_in_eight_bits_read_every_byte_once() -> None:
    fields = _fields()
    reads = layer_reads(SYSTEM, 0, fields)
    planes = [s for s in ReadStream if ReadStream.Q_HIGH <= s <= ReadStream.V_LOW]
    beats = sum(b.beats for s in planes for b in reads[s])
    assert 8 * beats == ideal_bytes(SYSTEM, fields) == 4 * 8 * 32


def test_gains_are_read_once_and_only_of_the_tokens() -> None:
    """Heads that share K share its gains; a run of one is a narrow transfer."""
    flags = int(Flag.K_GAINS | Flag.Q_GAINS | Flag.KEY_LIST)
    places = {"q_gains": 0x5000, "k_gains": 0x6000, "key_list": 0x7000}
    fields = _fields(flags=flags, capacity=40, stored=40, tokens=5, **places)
    reads = layer_reads(SYSTEM, 0, fields, [1, 2, 3, 21, 5])
    assert reads[ReadStream.Q_GAINS] == [Burst(0x5000, 1, 8), Burst(0x5008, 1, 8)]
    assert reads[ReadStream.K_GAINS] == [
        Burst(0x6000, 1, 4),
        Burst(0x6015, 1, 1),
        Burst(0x6005, 1, 1),
    ]
    assert reads[ReadStream.LISTS] == [Burst(0x7000, 1, 8), Burst(0x7008, 1, 2)]


def test_queries_and_keys_have_sizes_of_their_own() -> None:
    """Three queries, two of them in 4 bits, beside a cache of 8 places: a tile has two rows."""
    fields = _fields(queries=3, query_four_bit=2, stored=5, tokens=5, four_bit=5)
    reads = layer_reads(SYSTEM, 0, fields)
    vector = SYSTEM.plane_bytes
    read = {s: sum(b.size for b in reads[s]) for s in ReadStream}
    assert read[ReadStream.Q_HIGH] == 2 * 3 * vector
    assert read[ReadStream.Q_LOW] == 2 * vector
    assert read[ReadStream.K_HIGH] == 5 * vector
    assert read[ReadStream.K_LOW] == 0
    # The low plane of a head of Q comes after three high vectors.
    assert reads[ReadStream.Q_LOW][0].address == 0x1000 + (3 + 2) * vector
    assert ideal_bytes(SYSTEM, fields) == sum(
        read[s] for s in ReadStream if ReadStream.Q_HIGH <= s <= ReadStream.V_LOW
    )


def test_ids_need_their_classes() -> None:
    with pytest.raises(ValueError, match="number of those in 4 bits"):
        layer_reads(SYSTEM, 0, _fields(flags=int(Flag.CHAINED)), [1, 2])


def test_a_list_has_two_bytes_an_id() -> None:
    assert list_bytes([1, 0x1234, 65535]) == bytes([1, 0, 0x34, 0x12, 0xFF, 0xFF])


def test_reads_of_chosen_heads() -> None:
    """Of five heads in memory 1 and 4: their planes, but the whole table."""
    flags = int(Flag.HEADS_CHAINED | Flag.K_GAINS)
    fields = _fields(kv_heads=2, stored_heads=5, flags=flags, k_gains=0x5000)
    reads = layer_reads(SYSTEM, 0, fields, heads=[1, 4])
    plane = 8 * 16
    starts = [base + 2 * plane * head for base in (0x1000,) for head in (1, 4)]
    assert reads[ReadStream.Q_HIGH][0].address == starts[0]
    assert [b.address for b in reads[ReadStream.Q_HIGH] if b.address in starts] == starts
    assert reads[ReadStream.V_LOW][-1].address < 0x3000 + 2 * plane * 5
    assert sum(b.size for b in reads[ReadStream.V_LOW]) == 2 * plane
    assert [b.address for b in reads[ReadStream.K_GAINS]] == [0x5000 + 8, 0x5000 + 32]
    assert reads[ReadStream.HEAD_TABLE] == list(bursts(SYSTEM, 0x4000, 5 * 8))
    with pytest.raises(ValueError, match="heads without what they are"):
        layer_reads(SYSTEM, 0, fields)
