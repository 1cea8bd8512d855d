"""Places of what is held between segments, and whether the value of a place is there yet."""

from amaranth.hdl import Module, Mux, Signal, Value

from dtqatten.hw.base.pipeline import delayed

__all__ = ["places"]


def places(m: Module, accept: Value, ends: Value, most: int, held: int) -> tuple[Value, Value]:
    """Count what a sequence gives, which is in the same order in each segment of its rows.

    So a place is read again only after all places of the sequence before: it is still on its way
    if as many as that are.

    Parameters
    ----------
    m : Module
    accept : Value
        The next one enters the pipeline.
    ends : Value
        It is the sequence's last one.
    most : int
        Places that are counted; ``held + 1`` are enough to tell what is free.
    held : int
        Cycles from one that enters to its being written.

    Returns
    -------
    place : Signal
        Where the next one is held, from 0 up; ``most`` for all that follow.
    free : Value
        What the sequence before had in this place has been written, or there was none.
    """
    place, size = Signal(range(most + 1)), Signal(range(most + 1))
    after = Signal(range(most + 1))
    on_their_way = Signal(range(held + 1))
    written = delayed(m, accept, held, "written", reset_less=False)
    m.d.comb += after.eq(Mux(place == most, most, place + 1))
    with m.If(accept):
        m.d.sync += place.eq(Mux(ends, 0, after))
        with m.If(ends):
            m.d.sync += size.eq(after)
    m.d.sync += on_their_way.eq(on_their_way + accept - written)
    return place, ~((place < size) & (on_their_way >= size))
