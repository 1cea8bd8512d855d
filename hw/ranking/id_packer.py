"""Zero eliminator and packer: from marked lanes of row after row to full beats of ids."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.payloads.arrays import Precision
from dtqatten.hw.payloads.topk import TopKConfig, class_row_layout, ids_layout
from dtqatten.hw.ranking.compaction import appended, eliminate_zeros

__all__ = ["IdPacker"]


class IdPacker(wiring.Component):
    """Turn marked lanes into ids, closely packed, in order.

    A class of tokens comes as class rows: all rows of the run, then one without tokens, which lets
    a remainder leave. The zero eliminator moves the marked lanes of a row down, by a prefix count
    and a shifter of ``log2(lanes)`` stages that keeps their order; a rotation puts them behind
    the ids that wait. A beat leaves as soon as it is full or the class complete; class rows behind
    the last token of a class change nothing.

    Latency: the beat that a class row accepted in cycle ``t`` completes is at ``o`` in ``t + 2``.
    Throughput one class row a cycle. While a beat waits at ``o``, ``advance`` is low and nothing
    moves.

    Parameters
    ----------
    config : TopKConfig

    Members
    -------
    advance : Out(1)
        The pipeline moves: a class row presented now is accepted.
    class_row : In(class_row_layout(config))
        A row's part in a class.
    take : In(lanes)
        Marked lanes.
    counts : In(ArrayLayout(range(capacity + 1), 2))
        Ids of the 4-bit and of the 8-bit class; constant during a run.
    o : Out(stream.Signature(ids_layout(config)))
        Packed ids.
    """

    def __init__(self, config: TopKConfig) -> None:
        self.config = config
        super().__init__(
            {
                "advance": Out(1),
                "class_row": In(class_row_layout(config)),
                "take": In(config.lanes),
                "counts": In(data.ArrayLayout(range(config.capacity + 1), 2)),
                "o": Out(stream.Signature(ids_layout(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        lanes, lane_bits = config.lanes, config.lane_bits
        m.d.comb += self.advance.eq(~self.o.valid | self.o.ready)

        items, marked = eliminate_zeros(m, self.take)

        # Ids, zero past the last.
        id_shape = unsigned(config.id_bits)
        class_row = Signal(class_row_layout(config))
        count = Signal(range(lanes + 1))
        ids = [Signal(id_shape, name=f"id_{lane}") for lane in range(lanes)]
        with m.If(self.advance):
            m.d.sync += [class_row.eq(self.class_row), count.eq(marked)]
            for lane, (item, packed) in enumerate(zip(items, ids, strict=True)):
                number = (lane + item.distance)[:lane_bits]
                with m.If(item.valid):
                    m.d.sync += packed.eq(Cat(number, self.class_row.row))
                with m.Else():
                    m.d.sync += packed.eq(0)

        # Packer: those that wait, then the new ones; what does not fit waits in turn.
        fill = Signal(range(lanes))
        waiting = [Signal(id_shape, name=f"waiting_{lane}") for lane in range(lanes)]
        left = Signal(range(config.capacity + 1))
        together = Signal(range(2 * lanes))
        full, complete = Signal(), Signal()
        m.d.comb += [
            together.eq(fill + count),
            full.eq(together >= lanes),
            complete.eq((together == left) & (left != 0)),
        ]
        with m.If(self.advance):
            m.d.sync += self.o.valid.eq(class_row.valid & (full | complete))
        with m.If(self.advance & class_row.valid):
            m.d.sync += [
                self.o.p.count.eq(Mux(full, lanes, together)),
                self.o.p.precision.eq(Mux(class_row.wide, Precision.BIT8, Precision.BIT4)),
                self.o.p.last.eq(complete & (together <= lanes) & class_row.final),
                fill.eq(Mux(full, together - lanes, Mux(complete, 0, together))),
                # What completes a class without filling a beat need not be taken off: no ids
                # follow, and none are not as many as are left.
                left.eq(Mux(full, left - lanes, left)),
            ]
            row, rotated = appended(m, waiting, fill, ids)
            for lane in range(lanes):
                m.d.sync += [
                    self.o.p.ids[lane].eq(row[lane]),
                    waiting[lane].eq(Mux(full, rotated[lane], row[lane])),
                ]
        with m.If(self.advance & self.class_row.first):
            m.d.sync += left.eq(Array(self.counts)[self.class_row.wide])
        return m
