"""One side of a partition: zero eliminator, packer and the FIFO that they fill."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.base.export import place
from dtqatten.hw.payloads.topk import TopKConfig
from dtqatten.hw.ranking.compaction import appended, eliminate_zeros

__all__ = ["Partition", "ScorePacker"]


class ScorePacker(wiring.Component):
    """Turn marked scores into full rows, closely packed, in order.

    Latency: a row that is completed by scores presented in cycle ``t``, or by ``flush``, is at
    ``row`` in ``t + 2``; ``count`` follows ``take`` by one cycle. Throughput one row a cycle;
    never stalls.

    Parameters
    ----------
    config : TopKConfig

    Members
    -------
    words : In(ArrayLayout(score_width, lanes))
        A row of scores.
    take, valid : In(lanes), In(1)
        Those that are taken, if ``valid``: it may arrive late.
    flush : In(1)
        The rest leaves, as a part-filled row; in the cycle behind the last ``take``.
    count : Out(range(lanes + 1))
        How many were taken.
    write : Out(1)
        ``row`` is complete.
    row : Out(ArrayLayout(score_width, lanes))
        Scores, in the lowest lanes.
    """

    def __init__(self, config: TopKConfig) -> None:
        self.config = config
        scores = data.ArrayLayout(unsigned(config.score_width), config.lanes)
        super().__init__(
            {
                "words": In(scores),
                "take": In(config.lanes),
                "valid": In(1),
                "flush": In(1),
                "count": Out(range(config.lanes + 1)),
                "write": Out(1),
                "row": Out(scores),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, score = self.config.lanes, unsigned(self.config.score_width)
        items, marked = eliminate_zeros(m, self.take, list(self.words))
        packed, waiting = (
            [Signal(score, name=f"{name}_{lane}", reset_less=True) for lane in range(lanes)]
            for name in ("packed", "waiting")
        )
        for item, word in zip(items, packed, strict=True):
            with m.If(item.valid):
                m.d.sync += word.eq(item.word)
        flush, full = Signal(), Signal()
        fill = Signal(range(lanes))
        together = Signal(range(2 * lanes))
        row, rest = appended(m, waiting, fill, packed)
        m.d.comb += [together.eq(fill + self.count), full.eq(together >= lanes)]
        m.d.sync += [
            self.count.eq(Mux(self.valid, marked, 0)),
            flush.eq(self.flush),
            self.write.eq(full | (flush & (fill != 0))),
            fill.eq(Mux(flush, 0, Mux(full, together - lanes, together))),
        ]
        for lane in range(lanes):
            m.d.sync += [
                self.row[lane].eq(row[lane]),
                waiting[lane].eq(Mux(full, rest[lane], row[lane])),
            ]
        return m


class Partition(wiring.Component):
    """The scores on one side of a pivot: a FIFO of packed rows, written and read in order.

    Its rows can be read while they are written from row 0 on in place: a pass never writes more
    rows than it has read.

    Latency: ``count`` follows ``take`` by two cycles, ``data`` follows ``address`` by one; a row
    can be read from the third cycle after the scores that completed it, or ``flush``, on.
    Throughput one row a cycle each way; never stalls.

    Parameters
    ----------
    config : TopKConfig
    depth : int
        Rows.

    Members
    -------
    words, take, valid, flush : In
        As of :class:`ScorePacker`.
    restart : In(1)
        A pass begins: the next row is written to ``base``, and ``count`` is 0 again.
    base : In(range(depth))
        A row's number.
    count : Out(range(capacity + 1))
        Scores taken in this pass.
    address : In(range(depth))
        Row to read.
    data : Out(ArrayLayout(score_width, lanes))
        The row read.
    """

    def __init__(self, config: TopKConfig, depth: int) -> None:
        self.config, self.depth = config, depth
        scores = data.ArrayLayout(unsigned(config.score_width), config.lanes)
        super().__init__(
            {
                "words": In(scores),
                "take": In(config.lanes),
                "valid": In(1),
                "flush": In(1),
                "restart": In(1),
                "base": In(range(depth)),
                "count": Out(range(config.capacity + 1)),
                "address": In(range(depth)),
                "data": Out(scores),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        packer = place(m, platform, "packer", ScorePacker, self.config)
        m.submodules.rows = rows = memory.Memory(shape=self.data.shape(), depth=self.depth, init=[])
        write, read = rows.write_port(), rows.read_port()
        next_row = Signal(range(self.depth + 1))
        with m.If(packer.write):
            m.d.sync += next_row.eq(next_row + 1)
        m.d.sync += self.count.eq(self.count + packer.count)
        with m.If(self.restart):
            m.d.sync += [next_row.eq(self.base), self.count.eq(0)]
        m.d.comb += [
            packer.words.eq(self.words),
            packer.take.eq(self.take),
            packer.valid.eq(self.valid),
            packer.flush.eq(self.flush),
            write.en.eq(packer.write),
            write.addr.eq(next_row),
            write.data.eq(packer.row),
            read.addr.eq(self.address),
            self.data.eq(read.data),
        ]
        return m
