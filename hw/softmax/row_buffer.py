"""Rows between passes: a ring that a free-running pipeline fills, block by block."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.base.pipeline import delayed
from dtqatten.hw.base.replay_store import ReplayStore
from dtqatten.hw.base.row_ring import RowRing
from dtqatten.hw.payloads.softmax import reduced_layout

__all__ = ["RowBuffer"]


class RowBuffer(wiring.Component):
    """Rows of tiles on their way to the next pass, which also needs a record of each whole row.

    Rows are written as they come; records when a row's last tile has passed the reduction. A row
    block can be read when its last record is here: the rows in their order, each with its row's
    record. The records of the block that is being read stay until its last row is read. A row has
    at least one tile, so ``depth + block - 1`` records are enough.

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
        As of :class:`~dtqatten.hw.base.row_ring.RowRing`.
    tries : bool
        Row blocks can be trials, which are read alone.

    Members
    -------
    room, reserve, write, row
        As of :class:`~dtqatten.hw.base.row_ring.RowRing`.
    reduced : In(reduced_layout())
        A row of a tile has passed the reduction.
    record : In(record)
        Of ``reduced``, where that is of a last tile.
    ready, read
        As of :class:`~dtqatten.hw.base.row_ring.RowRing`.
    o : Out(row)
        The row read six cycles ago.
    o_valid : Out(1)
        There was one.
    record_o : Out(record)
        Its row's record.
    trial, free : In(1)
        Where blocks can be trials: ``reduced`` is of one; its verdict has a place. Such a block can
        be read, a cycle later than others, when all before it has been.
    trying : Out(1)
        All that is read is of a trial; from then on until it is ``tried``.
    tried : In(1)
        The verdict on the trial is known. No row is written from the trial's last one to that.
    """

    #: Cycles from a row read to it, and its record, being there.
    LATENCY = 6
    #: Cycles from a block's last row being reduced to its first being readable.
    READY = 1

    def __init__(
        self,
        row: data.StructLayout,
        record: data.StructLayout,
        depth: int,
        block: int,
        *,
        late: bool = False,
        tries: bool = False,
    ) -> None:
        self.depth, self.block, self.late, self.tries = depth, block, late, tries
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
            | (dict.fromkeys(("trial", "free", "tried"), In(1)) if tries else {})
            | ({"trying": Out(1)} if tries else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.ring = ring = RowRing(self.row_layout, self.depth, banked=True, late=self.late)
        m.submodules.records = records = ReplayStore(
            self.record_layout, 1, ring.depth + self.block - 1
        )

        # Rows of this block reduced so far, including this one.
        passed = Signal(range(ring.depth + 1), init=1)
        complete = self.reduced.last_row & self.reduced.last_tile
        with m.If(self.reduced.valid):
            m.d.sync += passed.eq(Mux(complete, 1, passed + 1))
        m.d.comb += [
            self.room.eq(ring.room),
            ring.reserve.eq(self.reserve),
            ring.write.eq(self.write),
            ring.row.eq(self.row),
            self.ready.eq(ring.ready),
            ring.read.eq(self.read),
            records.i.valid.eq(self.reduced.valid & self.reduced.last_tile),
            records.i.p.item.eq(self.record),
        ]

        self._commit(m, ring, self.reduced.valid & complete, passed)

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

    def _commit(self, m: Module, ring: RowRing, complete: Value, rows: Signal) -> None:
        """Let a complete block be read: at once, but a trial when nothing is before it.

        Parameters
        ----------
        m : Module
        ring : RowRing
        complete : Value
            A block is.
        rows : Signal
            Its rows.
        """
        if not self.tries:
            m.d.comb += [ring.commit.eq(complete), ring.committed.eq(rows)]
            return
        waits, held, begins = Signal(name="trial_waits"), Signal.like(rows), Signal()
        m.d.comb += [
            begins.eq(waits & ~ring.ready & self.free),
            ring.commit.eq((complete & ~self.trial) | begins),
            ring.committed.eq(Mux(waits, held, rows)),
        ]
        with m.If(begins):
            m.d.sync += [waits.eq(0), self.trying.eq(1)]
        with m.If(complete & self.trial):
            m.d.sync += [waits.eq(1), held.eq(rows)]
        with m.If(self.tried):
            m.d.sync += self.trying.eq(0)
