"""Side information of tokens: loaded once, read in any order until its sequence is freed."""

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.base.pipeline import counted

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
        m.submodules.words = words = memory.Memory(
            shape=data.ArrayLayout(self.item, lanes), depth=depth, init=[]
        )
        # Of each sequence the address behind its end: as many as words, if all have one.
        m.submodules.ends = ends = memory.Memory(shape=range(depth), depth=depth, init=[])
        write, read = words.write_port(granularity=1), words.read_port()
        end_write, end_read = ends.write_port(), ends.read_port(domain="comb")

        def after(index: Value) -> Value:
            return Mux(index == depth - 1, 0, index + 1)

        lane = Signal(range(lanes))
        base = Signal(range(depth))
        beat, complete, closes, leaves = Signal(), Signal(), Signal(), Signal()
        at = Signal(range(2 * depth))
        m.d.comb += [
            beat.eq(self.i.valid & self.i.ready),
            closes.eq(beat & self.i.p.last),
            complete.eq(closes | (beat & (lane == lanes - 1))),
            leaves.eq(self.read & self.release),
            # Lanes past the item's own take it too, so that every lane of a word is written.
            write.en.eq(beat.replicate(lanes) << lane),
            *(write.data[i].eq(self.i.p.item) for i in range(lanes)),
            end_write.en.eq(closes),
            end_write.data.eq(after(write.addr)),
            at.eq(base + self.word),
            read.en.eq(self.read),
            read.addr.eq(Mux(at >= depth, at - depth, at)),
            self.data.eq(read.data),
        ]
        with m.If(beat):
            m.d.sync += lane.eq(Mux(complete, 0, lane + 1))
        with m.If(complete):
            m.d.sync += write.addr.eq(after(write.addr))
        with m.If(closes):
            m.d.sync += end_write.addr.eq(after(end_write.addr))
        with m.If(leaves):
            m.d.sync += [base.eq(end_read.data), end_read.addr.eq(after(end_read.addr))]

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
