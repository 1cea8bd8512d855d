"""What a sequencer knows of the items that wait for it, in their order."""

from amaranth.hdl import Module, Mux, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Descriptions"]


class Descriptions(wiring.Component):
    """Ring of descriptions, read one after the other.

    Whoever decides on the current item finds its description in a register, and that of the item
    after it beside, so that no decision of a cycle waits for a memory.

    Latency: an item written in cycle ``t`` is described from ``t + 2`` on, from ``t + 3`` on if it
    became current with a ``step`` before ``t + 2``. ``item`` moves on in the cycle after ``step``,
    ``after`` a cycle later. Throughput one write a cycle, a step every other. Nothing is counted
    here: what has not been written is described wrongly.

    Parameters
    ----------
    item : data.StructLayout
        A description.
    depth : int
        Items held.

    Members
    -------
    write : In(1)
    written : In(item)
        Next item's description.
    step : In(1)
        The current item is done with.
    index : Out(range(depth))
        Place of the current item.
    item, after : Out(item)
        The current item and the one after it.
    """

    def __init__(self, item: data.StructLayout, depth: int) -> None:
        self.depth = depth
        super().__init__(
            {
                "write": In(1),
                "written": In(item),
                "step": In(1),
                "index": Out(range(depth)),
                "item": Out(item),
                "after": Out(item),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.items = items = memory.Memory(
            shape=self.item.shape(), depth=self.depth, init=[]
        )
        write = items.write_port()
        here, after = items.read_port(domain="comb"), items.read_port(domain="comb")

        def following(index: Value) -> Value:
            return Mux(index == self.depth - 1, 0, index + 1)

        m.d.comb += [
            write.en.eq(self.write),
            write.data.eq(self.written),
            here.addr.eq(self.index),
            after.addr.eq(following(self.index)),
        ]
        m.d.sync += [
            self.after.eq(after.data),
            self.item.eq(Mux(self.step, self.after, here.data)),
        ]
        with m.If(self.write):
            m.d.sync += write.addr.eq(following(write.addr))
        with m.If(self.step):
            m.d.sync += self.index.eq(following(self.index))
        return m
