"""Flat port values: how payloads and arrays are packed into the integers of Verilog ports.

Nothing is cut and nothing is made up: a value that its port cannot hold, a field that is missing
and an array of another length are refused, so that what a model expects is compared in full.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
from amaranth.hdl import Shape
from amaranth.lib import data
from numpy.typing import NDArray

from dtqatten.configuration.core import Config
from dtqatten.golden.cycles.tiles import Beat, Row
from dtqatten.hw.payloads.arrays import load_layout

__all__ = [
    "Packer",
    "fitting",
    "pack",
    "pack_beat",
    "pack_payload",
    "pack_row",
    "padded",
    "row_fields",
    "unpack",
]

#: Widest values of an array that fit NumPy's signed arithmetic.
NATIVE_BITS = 62


@lru_cache(maxsize=1024)
def _range(shape: Any) -> tuple[int, int, int]:
    """Return smallest and largest value of a shape, those of a range are its own, and its bits."""
    cast = Shape.cast(shape)
    if isinstance(shape, range):
        low, high = (min(shape), max(shape)) if shape else (0, 0)
    elif cast.signed:
        low, high = -(1 << cast.width - 1), (1 << cast.width - 1) - 1
    else:
        low, high = 0, (1 << cast.width) - 1
    return low, high, cast.width


def _refuse(name: str, value: int, shape: Any) -> ValueError:
    low, high, _ = _range(shape)
    return ValueError(f"{name} is {value}, outside {low}..{high} of its {shape!r}")


def fitting(name: str, value: int, width: int) -> int:
    """Return the bits of a port if they are no more than its ``width``.

    Raises
    ------
    ValueError
        If they are more, or negative.
    """
    if value >> width:
        raise _refuse(name, value, Shape(width))
    return value


def pack(values: Iterable[int] | NDArray[Any], shape: Any, name: str = "value") -> int:
    """Pack values of a shape, a width if unsigned, the first into the lowest bits.

    Raises
    ------
    ValueError
        If a value is outside its shape; it is called ``name[index]``.
    TypeError
        If a value is no integer.
    """
    values = np.asarray(values).ravel()
    if not values.size:
        return 0
    if values.dtype.kind not in "biuO":
        raise TypeError(f"{name} is of {values.dtype}, not of integers")
    low, high, width = _range(shape)
    if int(values.min()) < low or int(values.max()) > high:
        (index, wrong) = next(
            (i, v) for i, v in enumerate(map(int, values)) if not low <= v <= high
        )
        raise _refuse(f"{name}[{index}]", wrong, shape)
    if width > NATIVE_BITS:
        mask = (1 << width) - 1
        return sum((int(v) & mask) << i * width for i, v in enumerate(values))
    bits = (values.astype(np.int64)[:, None] >> np.arange(width)) & 1
    return int.from_bytes(np.packbits(bits.astype(np.uint8).ravel(), bitorder="little"), "little")


def unpack(value: int, width: int, count: int, *, signed: bool = False) -> NDArray[np.int64]:
    """Undo :func:`pack`.

    Parameters
    ----------
    value : int
    width, count : int
        Bits of an element; elements.
    signed : bool
    """
    raw = np.frombuffer(value.to_bytes((width * count + 7) // 8, "little"), dtype=np.uint8)
    bits = np.unpackbits(raw, bitorder="little", count=width * count).reshape(count, width)
    weights = np.int64(1) << np.arange(width)
    if signed:
        weights[-1] = -weights[-1]
    return bits.astype(np.int64) @ weights


def padded(values: Iterable[int] | NDArray[Any], lanes: int) -> NDArray[Any]:
    """Return values with zeros behind them, for payloads of ``lanes`` lanes that say so."""
    values = np.asarray(values)
    return np.pad(values, (0, lanes - len(values)))


class Packer:
    """Packs values of one layout; what follows from the layout alone is found once.

    Parameters
    ----------
    layout : layout or shape
    name : str
        What messages call the value; those of a field begin with it.
    """

    def __init__(self, layout: Any, name: str = "payload") -> None:
        self.layout, self.name = layout, name
        self._fields: list[tuple[str, Packer, int]] = []
        if isinstance(layout, data.StructLayout):
            for field_name, field in layout:
                assert isinstance(field_name, str)
                packer = Packer(field.shape, f"{name}.{field_name}")
                self._fields.append((field_name, packer, field.offset))

    def __call__(self, value: Any) -> int:
        """Pack a mapping or object with all the fields of the layout, or what a field holds.

        Raises
        ------
        ValueError
            If a field is missing or ``None``, a value is outside the shape of its field, or an
            array has another length.
        TypeError
            If a value is no integer.
        """
        if isinstance(self.layout, data.StructLayout):
            return self._struct(value)
        if isinstance(self.layout, data.ArrayLayout):
            if np.size(value) != self.layout.length:
                size, length = np.size(value), self.layout.length
                raise ValueError(f"{self.name} has {size} elements, not {length}")
            return pack(value, self.layout.elem_shape, self.name)
        if not isinstance(value, int | np.integer | np.bool_):
            raise TypeError(f"{self.name} is {value!r}, not an integer")
        low, high, width = _range(self.layout)
        if not low <= int(value) <= high:
            raise _refuse(self.name, int(value), self.layout)
        return int(value) & ((1 << width) - 1)

    def _struct(self, value: Any) -> int:
        """Pack field by field."""
        packed = 0
        mapping = isinstance(value, Mapping)
        for field_name, packer, offset in self._fields:
            member = value.get(field_name) if mapping else getattr(value, field_name, None)
            if member is None:
                raise ValueError(
                    f"{packer.name} is missing: a payload has all fields of its layout"
                )
            packed |= packer(member) << offset
        return packed


def pack_payload(layout: Any, value: Any, name: str = "payload") -> int:
    """Pack one value of a layout; see :class:`Packer`."""
    return Packer(layout, name)(value)


def pack_beat(config: Config, beat: Beat) -> int:
    """Pack a beat as :func:`dtqatten.hw.payloads.arrays.load_layout` lays it out."""
    fields = {"nibbles": beat.nibbles, "precision": beat.wide, "last": beat.last}
    return pack_payload(load_layout(config), fields)


def row_fields(layout: data.StructLayout, row: Row) -> dict[str, Any]:
    """Return the fields of a row, whose values are the first field of ``layout``."""
    first = next(iter(layout))[0]
    return {**vars(row), first: row.values}


def pack_row(layout: data.StructLayout, row: Row, name: str = "payload") -> int:
    """Pack a row whose values are the first field of ``layout``."""
    return pack_payload(layout, row_fields(layout, row), name)
