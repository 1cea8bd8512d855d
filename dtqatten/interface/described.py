"""Enumerations whose members say what they mean, for the tables made of them."""

import enum
from typing import Self

__all__ = ["DescribedFlag", "DescribedInt"]


class DescribedFlag(enum.IntFlag):
    """Bits given as ``NAME = bit, meaning``."""

    meaning: str

    def __new__(cls, value: int, meaning: str = "") -> Self:
        """Make a member."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


class DescribedInt(enum.IntEnum):
    """Numbers given as ``NAME = number, meaning``."""

    meaning: str

    def __new__(cls, value: int, meaning: str = "") -> Self:
        """Make a member."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member
