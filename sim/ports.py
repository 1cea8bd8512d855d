"""Flat port values: how payloads and arrays are packed into the integers of Verilog ports."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from dtqatten.config import Config
from dtqatten.golden.array import ScoreRow
from dtqatten.golden.tiles import Beat

__all__ = ["pack", "pack_beat", "pack_score_row", "unpack"]


def pack(values: Iterable[int] | NDArray[np.integer], width: int) -> int:
    """Pack signed or unsigned values of ``width`` bits, the first into the lowest bits."""
    values = np.asarray(values, dtype=np.int64).ravel()
    bits = (values[:, None] >> np.arange(width)) & 1
    return int.from_bytes(np.packbits(bits.astype(np.uint8).ravel(), bitorder="little"), "little")


def unpack(value: int, width: int, count: int, *, signed: bool = False) -> NDArray[np.int64]:
    """Undo :func:`pack`."""
    raw = np.frombuffer(value.to_bytes((width * count + 7) // 8, "little"), dtype=np.uint8)
    bits = np.unpackbits(raw, bitorder="little", count=width * count).reshape(count, width)
    weights = np.int64(1) << np.arange(width)
    if signed:
        weights[-1] = -weights[-1]
    return bits.astype(np.int64) @ weights


def pack_beat(config: Config, beat: Beat) -> int:
    """Pack a beat as :func:`dtqatten.hw.layout.load_layout` lays it out."""
    flags = int(beat.wide) | int(beat.last) << 1
    return pack(beat.nibbles, 4) | flags << 4 * config.load_nibbles


def pack_score_row(config: Config, row: ScoreRow) -> int:
    """Pack a row as :func:`dtqatten.hw.layout.score_row_layout` lays it out."""
    key_bits = config.cols.bit_length()
    flags = int(row.last_row) | int(row.last_tile) << 1 | int(row.last_block) << 2
    tail = row.keys | flags << key_bits
    return pack(row.scores, config.score_width) | tail << config.score_width * config.cols
