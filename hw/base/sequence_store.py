"""Side information of tokens: loaded once, read in any order until its sequence is freed."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.base.pipeline import counted
from dtqatten.hw.base.word_ring import after, word_ring

__all__ = ["SequenceStore"]


class SequenceStore(wiring.Component):
    """Ring of words of ``lanes`` items, in sequences; of the oldest one any word can be read.

    As :class:`~dtqatten.hw.base.replay_store.ReplayStore`, whose reader goes through a sequence
    word by word.

    Latency: a sequence whose last item is accepted in cycle ``t`` is ``ready`` from ``t + 1`` on;
    ``data`` follows ``read`` by one cycle and holds until the next. Throughput one item and one
    read a cycle. Lanes past a word's last item hold that one too.

    Parameters
    ----------
    item : data.StructLayout
        Of an item.
    lanes : int
        Items of a word.
    depth : int
        Words held, at least those of a sequence.

    Members
    -------
    i : In(stream.Signature(StructLayout({"item": item, "last": 1})))
        Items; ``last`` ends word and sequence.
    ready : Out(1)
        A sequence is here.
    read : In(1)
        Read a word of it. Never while ``ready`` is low.
    word : In(range(depth))
        Which one.
    release : In(1)
        With ``read``: the sequence is done with.
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
                "word": In(range(depth)),
                "release": In(1),
                "data": Out(data.ArrayLayout(item, lanes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, depth = self.lanes, self.depth
        write, read, beat, complete = word_ring(m, self.i, lanes, depth)
        # Of each sequence the address behind its end: as many as words, if all have one.
        m.submodules.ends = ends = memory.Memory(shape=range(depth), depth=depth, init=[])
        end_write, end_read = ends.write_port(), ends.read_port(domain="comb")

        base = Signal(range(depth))
        closes, leaves = Signal(), Signal()
        at = Signal(range(2 * depth))
        m.d.comb += [
            closes.eq(beat & self.i.p.last),
            leaves.eq(self.read & self.release),
            end_write.en.eq(closes),
            end_write.data.eq(after(write.addr, depth)),
            at.eq(base + self.word),
            read.en.eq(self.read),
            read.addr.eq(Mux(at >= depth, at - depth, at)),
            self.data.eq(read.data),
        ]
        with m.If(closes):
            m.d.sync += end_write.addr.eq(after(end_write.addr, depth))
        with m.If(leaves):
            m.d.sync += [base.eq(end_read.data), end_read.addr.eq(after(end_read.addr, depth))]

        # A sequence that ends where it begins fills the ring.
        held, length, holds = (
            Signal(range(depth + 1), name=name) for name in ("held", "length", "holds")
        )
        room = Signal(init=1)
        m.d.comb += [
            length.eq(end_read.data - base + Mux(end_read.data > base, 0, depth)),
            holds.eq(held + complete - Mux(leaves, length, 0)),
            self.i.ready.eq(room),
        ]
        m.d.sync += [held.eq(holds), room.eq(holds != depth)]
        m.d.comb += self.ready.eq(counted(m, closes, leaves, "sequences", most=depth))
        return m
