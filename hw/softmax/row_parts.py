"""Rows of sums in parts: as many channels a cycle as there are lanes that divide them."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data

from dtqatten.configuration.core import Config
from dtqatten.hw.base.pipeline import delayed

__all__ = ["row_parts"]


def row_parts(m: Module, config: Config, row: Any, go: Value, beat: Any) -> tuple[Value, Any]:
    """Cut each row of sums into parts of ``output_lanes`` channels.

    Parameters
    ----------
    m : Module
    config : Config
    row : View of score_row_layout(config, sum_width)
        The row on offer.
    go : Value
        A part sets out.
    beat : View of output_beat_layout(config)
        All but its values is given, in the cycle of ``go``.

    Returns
    -------
    last : Value
        The part at hand is the row's last one.
    taken : View
        Sums of the part that set out two cycles ago.
    """
    lanes = config.output_lanes
    parts = -(-config.cols // lanes)
    part, left = Signal(range(parts)), Signal(range(config.cols + 1))
    last = Signal()
    # The part at hand is a row's first; whether it is the last is then known a cycle ahead.
    first, ends = Signal(init=1), Signal()
    m.d.comb += [
        left.eq(row.keys - part * lanes),
        last.eq(Mux(first, row.keys <= lanes, ends)),
        beat.channels.eq(Mux(last, left, lanes)),
        beat.last_part.eq(last),
        beat.last_row.eq(row.last_row),
        beat.last_tile.eq(row.last_tile),
        beat.last_block.eq(row.last_block),
    ]
    with m.If(go):
        m.d.sync += [
            first.eq(last),
            part.eq(Mux(last, 0, part + 1)),
            ends.eq(Cat((part == p) & (row.keys <= (p + 2) * lanes) for p in range(parts)).any()),
        ]
    taken = Signal(data.ArrayLayout(signed(config.sum_width), lanes), reset_less=True)
    filler = Const(0, (-config.cols % lanes) * config.sum_width)
    m.d.sync += taken.eq(Cat(row.scores, filler).word_select(part, taken.shape().size))
    return last, delayed(m, taken, 1, "taken")
