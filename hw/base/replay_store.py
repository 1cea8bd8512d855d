"""Side information of tokens: loaded once, replayed for every tile that needs it."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.base.word_ring import after, word_ring

__all__ = ["ReplayStore"]


class ReplayStore(wiring.Component):
    """Ring of words of ``lanes`` items; a pointer walks over a sequence of words repeatedly.

    Items come one a beat and fill a word from lane 0 up; ``last`` ends a word early. The reader
    goes on to the next word (``step``), back to the sequence's first word (``step`` and
    ``rewind``), or, freeing the sequence, to the first word of the next one (``release`` too).

    Latency: an item accepted in cycle ``t`` that completes a word counts from ``t + 1`` on;
    ``data`` follows ``read`` by one cycle and holds until the next. Throughput one item and one
    read a cycle. Lanes past a word's last item hold that one too.

    Parameters
    ----------
    item : data.StructLayout
        Of an item.
    lanes : int
        Items of a word.
    depth : int
        Words held.

    Members
    -------
    i : In(stream.Signature(StructLayout({"item": item, "last": 1})))
        Items.
    ready : Out(1)
        The word at the pointer is here.
    read : In(1)
        Read it. Never while ``ready`` is low.
    step, rewind, release : In(1)
        With ``read``: where the pointer goes. ``rewind`` only with ``step``, ``release`` with both.
    data : Out(ArrayLayout(item, lanes))
        The word read.
    """

    def __init__(self, item: data.StructLayout, lanes: int, depth: int) -> None:
        self.item, self.lanes, self.depth = item, lanes, depth
        super().__init__(
            {
                "i": In(stream.Signature(data.StructLayout({"item": item, "last": unsigned(1)}))),
                "ready": Out(1),
                "read": In(1),
                "step": In(1),
                "rewind": In(1),
                "release": In(1),
                "data": Out(data.ArrayLayout(item, lanes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, depth = self.lanes, self.depth
        _, read, _, complete = word_ring(m, self.i, lanes, depth)
        # Words held, and those of them at the pointer or behind it: ``ready`` if there are any.
        held, ahead = Signal(range(depth + 1)), Signal(range(depth + 1))
        room = Signal(init=1)
        m.d.comb += self.i.ready.eq(room)

        # The sequence's first word is at ``base``.
        base, pointer = Signal(range(depth)), Signal(range(depth))
        m.d.comb += [
            read.en.eq(self.read),
            read.addr.eq(pointer),
            self.data.eq(read.data),
        ]
        # ``read`` arrives late: the next state with and without it is precomputed.
        leaves = self.step & self.release
        back = self.rewind & ~self.release
        grown, some = Mux(complete, held + 1, held), Mux(complete, held != depth - 1, room)
        fewer, more = Mux(complete, ahead, ahead - 1), Mux(complete, ahead + 1, ahead)
        with m.If(self.read):
            m.d.sync += [
                room.eq(leaves | some),
                held.eq(Mux(leaves, fewer, grown)),
                ahead.eq(Mux(self.step, Mux(back, grown, fewer), more)),
                # No sum is needed: a sequence's first word is always held.
                self.ready.eq(complete | Mux(self.step, back | (ahead > 1), self.ready)),
            ]
            with m.If(self.step):
                m.d.sync += pointer.eq(Mux(back, base, after(pointer, depth)))
            with m.If(leaves):
                m.d.sync += base.eq(after(pointer, depth))
        with m.Else():
            m.d.sync += [
                room.eq(some),
                held.eq(grown),
                ahead.eq(more),
                self.ready.eq(complete | self.ready),
            ]
        return m
