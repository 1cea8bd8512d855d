"""Payloads of what ranks a layer's heads."""

from amaranth.hdl import unsigned
from amaranth.lib import data

from dtqatten.configuration.core import Config
from dtqatten.hw.payloads.ranking import IMPORTANCE_BITS

__all__ = [
    "RANK_BITS",
    "head_report_layout",
    "heads_layout",
    "ranked_head_layout",
    "weight_layout",
]

#: Bits of a head's rank in the report.
RANK_BITS = 16


def weight_layout() -> data.StructLayout:
    """What a head's magnitudes are multiplied by: ``multiplier * 2**-shift``."""
    return data.StructLayout({"multiplier": unsigned(16), "shift": unsigned(6)})


def heads_layout(config: Config) -> data.StructLayout:
    """A layer: it has ``heads`` in memory, ``keep`` of which stay.

    ``chained``: it computes those that the layer before kept, and their importance goes on; else it
    computes all, from importance 0 on. ``report``: importance and ranks are wanted.
    """
    count = range(config.heads + 1)
    return data.StructLayout({"heads": count, "keep": count, "chained": 1, "report": 1})


def ranked_head_layout(config: Config) -> data.StructLayout:
    """A head: its ``importance``, and how many others rank before it."""
    return data.StructLayout(
        {"importance": unsigned(IMPORTANCE_BITS), "rank": range(max(2, config.heads))}
    )


def head_report_layout() -> data.StructLayout:
    """A head of a report, ``last`` the layer's last one. A rank of all ones: pruned before."""
    return data.StructLayout(
        {"importance": unsigned(IMPORTANCE_BITS), "rank": unsigned(RANK_BITS), "last": unsigned(1)}
    )
