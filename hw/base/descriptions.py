"""Descriptions of queued items, the next two of them in registers."""

from amaranth.hdl import Module, Mux, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Descriptions"]


class Descriptions(wiring.Component):
    """Ring of descriptions, read one after the other.

    The descriptions of the current item and of the one after it are in registers, so that no
    decision waits for a memory.

    Latency: an item written in cycle ``t`` is described from ``t + 2`` on, from ``t + 3`` on if it
    became current with a ``step`` before ``t + 2``. ``item`` moves on in the cycle after ``step``,
    ``after`` a cycle later. Throughput one write a cycle, a step every other
    cycle. The caller counts items: an item that was not written has no valid description.

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
