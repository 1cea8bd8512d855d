"""Rows of sums in parts: as many channels a cycle as there are lanes that divide them."""

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data

from dtqatten.configuration.core import Config
from dtqatten.hw.base.pipeline import delayed

__all__ = ["describe", "row_parts"]


def row_parts(m: Module, config: Config, row: Any, go: Value, part: Any) -> tuple[Value, Any]:
    """Cut each row of sums into parts of ``output_lanes`` channels.

    Parameters
    ----------
    m : Module
    config : Config
    row : View of score_row_layout(config, sum_width)
        The row on offer.
    go : Value
        A part sets out.
    part : View of part_layout(config)
        Is given in the cycle of ``go``.

    Returns
    -------
    last : Value
        The part at hand is the row's last one.
    taken : View
        Sums of the part that set out two cycles ago.
    """
    lanes = config.output_lanes
    parts = -(-config.cols // lanes)
    number, left = Signal(range(parts)), Signal(range(config.cols + 1))
    last = Signal()
    # The part at hand is a row's first; whether it is the last is then known a cycle ahead.
    first, ends = Signal(init=1), Signal()
    m.d.comb += [
        left.eq(row.keys - number * lanes),
        last.eq(Mux(first, row.keys <= lanes, ends)),
        part.channels.eq(Mux(last, left, lanes)),
        part.last_part.eq(last),
        part.last_row.eq(row.last_row),
        part.last_tile.eq(row.last_tile),
        part.last_block.eq(row.last_block),
    ]
    with m.If(go):
        m.d.sync += [
            first.eq(last),
            number.eq(Mux(last, 0, number + 1)),
            ends.eq(Cat((number == p) & (row.keys <= (p + 2) * lanes) for p in range(parts)).any()),
        ]
    taken = Signal(data.ArrayLayout(signed(config.sum_width), lanes), reset_less=True)
    filler = Const(0, (-config.cols % lanes) * config.sum_width)
    m.d.sync += taken.eq(Cat(row.scores, filler).word_select(number, taken.shape().size))
    return last, delayed(m, taken, 1, "taken")


def describe(m: Module, beat: Any, part: Any) -> None:
    """Give a beat of outputs all that is known of its part, which leaves its values.

    Parameters
    ----------
    m : Module
    beat : View of output_beat_layout(config)
    part : View of part_layout(config)
    """
    m.d.comb += [beat[name].eq(part[name]) for name, _ in part.shape()]
