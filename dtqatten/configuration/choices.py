"""Choices between ways to build a machine; all give the same results."""

import enum

__all__ = ["Schedule", "TopKEngine"]


class Schedule(enum.StrEnum):
    """Order in which the edge feeds nibble planes to the PEs."""

    #: All nibble pairs of one k step back to back (DTQAtten, DATE 2022, Fig. 1b).
    INTERLEAVED = "interleaved"
    #: All high-high products of the dot product, then the mixed ones, then low-low.
    PLANE_MAJOR = "plane_major"


class TopKEngine(enum.StrEnum):
    """How the top-k engine finds its thresholds."""

    #: Counts of the scores that reach each of some indices, a few bits a pass.
    COUNTING = "counting"
    #: Partitions around a pivot (SpAtten, HPCA 2021, Fig. 9).
    QUICK_SELECT = "quick_select"
