"""Compaction of marked lanes: zero eliminator and the row that its results fill."""

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Module, Mux, ShapeLike, Signal, Value
from amaranth.lib import data

from dtqatten.hw.ranking.token_filter import counts_below

__all__ = ["appended", "eliminate_zeros"]


def eliminate_zeros(m: Module, take: Value, words: Sequence[Value] = ()) -> tuple[list[Any], Value]:
    """Move marked lanes down, in order, and return all lanes and how many were marked.

    A prefix count and a shifter of ``log2(lanes)`` stages, combinational. A lane knows how far it
    has to move; moving the lowest bit of that first, two lanes never meet. It still knows when it
    arrives: lane ``i`` comes from lane ``(i + distance) % lanes`` if it is ``valid``.

    Parameters
    ----------
    m : Module
    take : Value
        Marked lanes.
    words : sequence of Value
        What moves with them, as ``word``, if anything does.
    """
    lanes = len(take)
    lane_bits = (lanes - 1).bit_length()
    fields: dict[str, ShapeLike] = {"valid": 1, "distance": lane_bits}
    if words:
        fields["word"] = words[0].shape()
    below = counts_below(take)
    items = []
    for lane in range(lanes):
        item = Signal(data.StructLayout(fields), name=f"lane_{lane}")
        m.d.comb += [item.valid.eq(take[lane]), item.distance.eq(lane - below[lane])]
        if words:
            m.d.comb += item.word.eq(words[lane])
        items.append(item)
    for stage in range(lane_bits):
        moved = []
        for lane, stays in enumerate(items):
            item = Signal(data.StructLayout(fields), name=f"moved_{stage}_{lane}")
            m.d.comb += [item.eq(stays), item.valid.eq(stays.valid & ~stays.distance[stage])]
            if lane + (1 << stage) < lanes:
                comes = items[lane + (1 << stage)]
                with m.If(comes.valid & comes.distance[stage]):
                    m.d.comb += item.eq(comes)
            moved.append(item)
        items = moved
    return items, below[lanes]


def appended(
    m: Module, waiting: Sequence[Value], fill: Value, words: Sequence[Value]
) -> tuple[list[Value], list[Value]]:
    """Put words behind those that wait; return the row, and what waits behind it if it is full.

    Combinational: a rotation of ``log2(lanes)`` stages.

    Parameters
    ----------
    m : Module
    waiting : sequence of Signal
        A row of words, of which the lowest ones wait.
    fill : Value
        How many do, fewer than a row.
    words : sequence of Value
        As many words, in the lowest lanes.
    """
    lanes = len(words)
    rotated: list[Value] = [*words]
    for stage in range((lanes - 1).bit_length()):
        by = 1 << stage
        rotated = [
            Mux(fill[stage], rotated[(lane - by) % lanes], rotated[lane]) for lane in range(lanes)
        ]
    row: list[Value] = []
    for lane in range(lanes):
        merged = Signal(words[lane].shape(), name=f"merged_{lane}")
        # Fewer than a row wait: never one in the last lane.
        kept = lane < fill if lane < lanes - 1 else 0
        m.d.comb += merged.eq(Mux(kept, waiting[lane], rotated[lane]))
        row.append(merged)
    return row, rotated
