"""Units of the core whose cycles are counted: one list for gateware, registers and golden model."""

import enum

__all__ = ["Unit"]


class Unit(enum.StrEnum):
    """A unit; it *stalls* in a cycle in which a result of it is not taken."""

    #: Busy: issues a step of a tile.
    SCORE_ARRAY = "score_array"
    #: Busy: takes a row of scores.
    SOFTMAX = "softmax"
    #: Busy: issues a step of a tile.
    VALUE_ARRAY = "value_array"
    #: Busy: it accepts a part of a row.
    NORMALIZER = "normalizer"
    #: Busy: takes a row of probabilities.
    MODULE_B = "module_b"
