"""Rows between passes: a ring that a free-running pipeline fills, block by block."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.pipeline import counted, delayed
from dtqatten.hw.replay_store import ReplayStore
from dtqatten.hw.ring_memory import RingMemory
from dtqatten.hw.softmax_layout import reduced_layout

__all__ = ["RowBuffer", "RowFifo", "RowRing"]


class RowRing(wiring.Component):
    """Ring of rows whose room is reserved before they set out and which are committed later.

    Latency: what is written, committed, reserved or read in a cycle counts from the next one on;
    ``data`` follows ``read`` by one cycle, ``banked`` by two, and holds until the next; rows read
    give room a cycle later if ``late``. One write and one read a cycle.

    Parameters
    ----------
    row : data.StructLayout
        Of a row.
    depth : int
        Rows held.
    spare : int
        Rows that ``room`` keeps back.
    banked : bool
        In a :class:`~dtqatten.hw.ring_memory.RingMemory`, which is smaller where rows are many.
    late : bool
        ``read`` comes from too far to be counted as room within its cycle; a row more makes up for
        it.

    Members
    -------
    room : Out(1)
        More than ``spare`` rows may still be reserved.
    reserve : In(1)
        A row sets out. Never when all ``depth`` rows are reserved.
    write : In(1)
        A row arrives.
    row : In(row)
        It.
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
    """End of a pipeline that never stalls: room is reserved at its start, a stream leaves.

    Latency: a row written in cycle ``t`` is offered from ``t + 2`` on; its room is free again from
    the cycle on in which it is offered, or the next if ``late``. Throughput one row a cycle.

    Parameters
    ----------
    row : data.StructLayout
        Of a row.
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


class RowBuffer(wiring.Component):
    """Rows of tiles on their way to the next pass, which also needs a record of each whole row.

    Rows are written as they come; records when a row's last tile has passed the reduction. A row
    block can be read when its last record is here: the rows in their order, each with its row's
    record. Every row has at least one tile, so records need no room of their own but for the block
    that is being read: its records stay until its last row is read.

    Latency: a block whose last row is ``reduced`` in cycle ``t`` is ``ready`` from ``t + 1`` on;
    ``o`` and ``record_o`` follow ``read`` by six cycles. One row in, one row out a cycle.

    Parameters
    ----------
    row : data.StructLayout
        Of a row; with the fields of ``flags_layout``.
    record : data.StructLayout
        Of a record.
    depth : int
        Rows held, at least those of the largest row block.
    block : int
        Most rows of a tile.
    late : bool
        As of :class:`RowRing`.

    Members
    -------
    room, reserve, write, row
        As of :class:`RowRing`.
    reduced : In(reduced_layout())
        A row of a tile has passed the reduction.
    record : In(record)
        Of ``reduced``, where that is of a last tile.
    ready, read
        As of :class:`RowRing`.
    o : Out(row)
        The row read six cycles ago.
    o_valid : Out(1)
        There was one.
    record_o : Out(record)
        Its row's record.
    """

    LATENCY = 6

    def __init__(
        self,
        row: data.StructLayout,
        record: data.StructLayout,
        depth: int,
        block: int,
        *,
        late: bool = False,
    ) -> None:
        self.depth, self.block, self.late = depth, block, late
        self.row_layout, self.record_layout = row, record
        super().__init__(
            {
                "room": Out(1),
                "reserve": In(1),
                "write": In(1),
                "row": In(row),
                "reduced": In(reduced_layout()),
                "record": In(record),
                "ready": Out(1),
                "read": In(1),
                "o": Out(row),
                "o_valid": Out(1),
                "record_o": Out(record),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ring = ring = RowRing(self.row_layout, self.depth, banked=True, late=self.late)
        m.submodules.records = records = ReplayStore(
            self.record_layout, 1, ring.depth + self.block - 1
        )

        # Rows of the block that have passed the reduction, with this one.
        passed = Signal(range(ring.depth + 1), init=1)
        complete = self.reduced.last_row & self.reduced.last_tile
        with m.If(self.reduced.valid):
            m.d.sync += passed.eq(Mux(complete, 1, passed + 1))
        m.d.comb += [
            self.room.eq(ring.room),
            ring.reserve.eq(self.reserve),
            ring.write.eq(self.write),
            ring.row.eq(self.row),
            ring.commit.eq(self.reduced.valid & complete),
            ring.committed.eq(passed),
            self.ready.eq(ring.ready),
            ring.read.eq(self.read),
            records.i.valid.eq(self.reduced.valid & self.reduced.last_tile),
            records.i.p.item.eq(self.record),
        ]

        valid = delayed(m, self.read, 3, "read", reset_less=False)
        row = delayed(m, ring.data, 1, "row_read")
        m.d.comb += [
            records.read.eq(valid),
            records.step.eq(1),
            records.rewind.eq(row.last_row),
            records.release.eq(row.last_row & row.last_tile),
            self.o.eq(delayed(m, row, self.LATENCY - 3, "row")),
            self.o_valid.eq(delayed(m, valid, self.LATENCY - 3, "valid", reset_less=False)),
        ]
        m.d.comb += self.record_o.eq(delayed(m, records.data[0], 2, "record"))
        return m
