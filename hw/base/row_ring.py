"""Rings of rows that reserve their room before they enter a pipeline."""

from amaranth.hdl import Module, Mux
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.base.pipeline import counted, delayed
from dtqatten.hw.base.ring_memory import RingMemory

__all__ = ["RowFifo", "RowRing"]


class RowRing(wiring.Component):
    """Ring of rows that reserve their room before they enter a pipeline and are committed later.

    Latency: a write, commit, reservation or read counts from the next cycle on, a read that frees
    room one cycle later if ``late``; ``data`` follows ``read`` by one cycle, ``banked`` by two, and
    holds until the next read. Throughput one write and one read a cycle.

    Parameters
    ----------
    row : data.StructLayout
        Layout of a row.
    depth : int
        Rows held.
    spare : int
        Rows that ``room`` keeps back.
    banked : bool
        Use a :class:`~dtqatten.hw.base.ring_memory.RingMemory`, which is smaller for many rows.
    late : bool
        ``read`` arrives too late in its cycle to be counted as room; the ring holds one row more
        for that.

    Members
    -------
    room : Out(1)
        More than ``spare`` rows may still be reserved.
    reserve : In(1)
        Reserve room for a row. Never when all ``depth`` rows are reserved.
    write : In(1)
        A row arrives.
    row : In(row)
        The row that arrives.
    commit : In(1)
        ``committed`` rows more may be read.
    committed : In(range(depth + 1))
        At least 1.
    ready : Out(1)
        A row may be read.
    read : In(1)
        Read it. Never while ``ready`` is low.
    data : Out(row)
        The row read.
    """

    def __init__(
        self,
        row: data.StructLayout,
        depth: int,
        *,
        spare: int = 0,
        banked: bool = False,
        late: bool = False,
    ) -> None:
        self.depth, self.spare, self.banked, self.late = depth + late, spare, banked, late
        self.row_layout = row
        super().__init__(
            {
                "room": Out(1),
                "reserve": In(1),
                "write": In(1),
                "row": In(row),
                "commit": In(1),
                "committed": In(range(self.depth + 1)),
                "ready": Out(1),
                "read": In(1),
                "data": Out(row),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        if self.banked:
            m.submodules.rows = ring = RingMemory(self.row_layout.size, self.depth)
            m.d.comb += [
                ring.write.eq(self.write),
                ring.word.eq(self.row),
                ring.read.eq(self.read),
                self.data.eq(ring.data),
            ]
        else:
            m.submodules.rows = rows = memory.Memory(
                shape=self.row_layout, depth=self.depth, init=[]
            )
            write, read = rows.write_port(), rows.read_port()
            m.d.comb += [
                write.en.eq(self.write),
                write.data.eq(self.row),
                read.en.eq(self.read),
                self.data.eq(read.data),
            ]
            for port, moves in ((write, self.write), (read, self.read)):
                with m.If(moves):
                    last = port.addr == self.depth - 1
                    m.d.sync += port.addr.eq(Mux(last, 0, port.addr + 1))
        full = {"most": self.depth, "init": self.depth, "spare": self.spare}
        held = {"most": self.depth, "by": self.committed}
        freed = delayed(m, self.read, self.late, "freed", reset_less=False)
        m.d.comb += [
            self.room.eq(counted(m, freed, self.reserve, "free", **full)),
            self.ready.eq(counted(m, self.commit, self.read, "held", **held)),
        ]
        return m


class RowFifo(wiring.Component):
    """Output of a pipeline that never stalls: room is reserved where the pipeline begins.

    Latency: a row written in cycle ``t`` is offered from ``t + 2`` on; its room is free from that
    cycle on, one cycle later if ``late``. Throughput one row a cycle.

    Parameters
    ----------
    row : data.StructLayout
        Layout of a row.
    depth : int
        Rows held, besides the one on offer.
    spare, late
        As of :class:`RowRing`.

    Members
    -------
    room, reserve, write, row
        As of :class:`RowRing`.
    o : Out(stream.Signature(row))
        Rows in order.
    """

    #: Cycles from a row written to it being offered.
    LATENCY = 2

    def __init__(
        self, row: data.StructLayout, depth: int, *, spare: int = 0, late: bool = False
    ) -> None:
        self.depth, self.spare, self.late = depth, spare, late
        self.row_layout = row
        super().__init__(
            {
                "room": Out(1),
                "reserve": In(1),
                "write": In(1),
                "row": In(row),
                "o": Out(stream.Signature(row)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ring = ring = RowRing(
            self.row_layout, self.depth, spare=self.spare, late=self.late
        )
        free = ~self.o.valid | self.o.ready
        m.d.comb += [
            self.room.eq(ring.room),
            ring.reserve.eq(self.reserve),
            ring.write.eq(self.write),
            ring.row.eq(self.row),
            ring.commit.eq(self.write),
            ring.committed.eq(1),
            ring.read.eq(ring.ready & free),
            self.o.p.eq(ring.data),
        ]
        with m.If(free):
            m.d.sync += self.o.valid.eq(ring.read)
        return m
