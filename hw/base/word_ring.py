"""A ring of words in a memory, filled item by item: the writing side of stores."""

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream

__all__ = ["after", "word_ring"]


def after(index: Value, depth: int) -> Value:
    """Return the place behind another one in a ring of ``depth``."""
    return Mux(index == depth - 1, 0, index + 1)


def word_ring(
    m: Module, items: stream.Interface, lanes: int, depth: int
) -> tuple[Any, Any, Signal, Signal]:
    """Write a stream's items to words, from lane 0 up; ``last`` ends a word early.

    Lanes past a word's last item take it too, so that every lane of a word is written.

    Parameters
    ----------
    m : Module
    items : stream.Interface
        Of ``item`` and ``last``; its consumer drives ``ready``.
    lanes : int
        Items of a word.
    depth : int
        Words.

    Returns
    -------
    write, read : ports
        ``write.addr`` is the word being filled; its consumer drives the reading one.
    beat, complete : Signal
        An item is taken; it is its word's last one.
    """
    item = items.p.item.shape()
    m.submodules.words = words = memory.Memory(
        shape=data.ArrayLayout(item, lanes), depth=depth, init=[]
    )
    write, read = words.write_port(granularity=1), words.read_port()
    lane, beat, complete = Signal(range(lanes)), Signal(), Signal()
    m.d.comb += [
        beat.eq(items.valid & items.ready),
        complete.eq(beat & (items.p.last | (lane == lanes - 1))),
        write.en.eq(beat.replicate(lanes) << lane),
        *(write.data[i].eq(items.p.item) for i in range(lanes)),
    ]
    with m.If(beat):
        m.d.sync += lane.eq(Mux(complete, 0, lane + 1))
    with m.If(complete):
        m.d.sync += write.addr.eq(after(write.addr, depth))
    return write, read, beat, complete
