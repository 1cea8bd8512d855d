"""Flat port values: how payloads and arrays are packed into the integers of Verilog ports."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data
from numpy.typing import NDArray

from dtqatten.config import Config
from dtqatten.golden.tiles import Beat, Row

__all__ = ["pack", "pack_beat", "pack_payload", "pack_row", "unpack"]


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


def pack_payload(layout: Any, value: Any) -> int:
    """Pack a mapping or object with the fields of ``layout``; arrays may be short, the rest is 0.

    A field that ``value`` lacks is 0.
    """
    if isinstance(layout, data.StructLayout):
        packed = 0
        for name, field in layout:
            assert isinstance(name, str)
            member = value.get(name, 0) if isinstance(value, Mapping) else getattr(value, name, 0)
            packed |= pack_payload(field.shape, member) << field.offset
        return packed
    width = Shape.cast(layout).width
    if isinstance(layout, data.ArrayLayout) and not np.isscalar(value):
        return pack(value, width // layout.length)
    return int(value) & ((1 << width) - 1)


def pack_beat(config: Config, beat: Beat) -> int:
    """Pack a beat as :func:`dtqatten.hw.layout.load_layout` lays it out."""
    flags = int(beat.wide) | int(beat.last) << 1
    return pack(beat.nibbles, 4) | flags << 4 * config.load_nibbles


def pack_row(layout: data.StructLayout, row: Row) -> int:
    """Pack a row whose values are the first field of ``layout``."""
    first = next(iter(layout))[0]
    return pack_payload(layout, {**vars(row), first: row.values})
