"""A row in the second pass of the softmax, as the kinds of that pass share it."""

from dataclasses import dataclass

from amaranth.hdl import Value
from amaranth.lib import data

from dtqatten.hw.softmax.row_fold import RowFold

__all__ = ["FLAGS", "ExponentialRow"]

#: Marks of a row that go where it goes.
FLAGS = ("last_row", "last_tile", "last_block")


@dataclass(frozen=True)
class ExponentialRow:
    """A row as weights are made of it, in the cycle of its exponentials.

    Parameters
    ----------
    e16 : list of Value
        Exponentials.
    place : View of reduced_layout()
        Whether there is one, and its marks.
    lanes : dict of Value
        Lanes that hold a key, and which tile's they are, as ``flags_layout`` has them.
    values : View of ArrayLayout
        What each lane needs of its value.
    total : RowFold
        Sums exponentials; its outputs are of an earlier row.
    total_wait : int
        Cycles from a sum to ``normalizer``.
    """

    e16: list[Value]
    place: data.View
    lanes: dict[str, Value]
    values: data.View
    total: RowFold
    total_wait: int
