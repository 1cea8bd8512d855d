"""The memory of a top-k run: beats are written, then rows are read, pass after pass."""

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.hw.payloads.topk import TopKConfig, class_row_layout, extent_layout, scores_layout
from dtqatten.hw.ranking.rank_counter import any_of

__all__ = ["RowReader", "RunLoader", "RunMemory"]


class RunLoader(wiring.Component):
    """Take a run's scores, beat by beat, and measure the run.

    A run ends with its ``last`` beat, or when the memory is full.

    Latency: ``extent``, ``seen`` and ``tokens`` count a beat from the cycle after it on; the other
    outputs are combinational. Throughput one beat a cycle while ``open``.

    Parameters
    ----------
    config : TopKConfig

    Members
    -------
    i : In(stream.Signature(scores_layout(config)))
        Scores of a run.
    open : In(1)
        Beats are accepted.
    clear : In(1)
        The next beat begins a run. Never in the cycle of a beat.
    row : In(range(rows + 1))
        Where the beat goes.
    beat, last : Out(1)
        A beat is accepted; it would be the run's last one.
    fresh : Out(1)
        The next beat begins a run.
    extent : Out(extent_layout(config))
        How many rows the run has.
    seen : Out(score_width)
        OR of the run's scores.
    tokens : Out(range(capacity + 1))
        Tokens of the run.
    """

    def __init__(self, config: TopKConfig) -> None:
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(scores_layout(config))),
                "open": In(1),
                "clear": In(1),
                "row": In(range(config.rows + 1)),
                "beat": Out(1),
                "last": Out(1),
                "fresh": Out(1, init=1),
                "extent": Out(extent_layout(config)),
                "seen": Out(config.score_width),
                "tokens": Out(range(config.capacity + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, beat = self.config.lanes, self.i.p
        partial = Signal()
        here = Signal(lanes)
        m.d.comb += [
            self.i.ready.eq(self.open),
            self.beat.eq(self.i.valid & self.i.ready),
            self.last.eq(beat.last | (self.row == self.config.rows - 1)),
            partial.eq(beat.last & (beat.tokens != 0) & (beat.tokens < lanes)),
            here.eq(Mux(partial, (1 << beat.tokens) - 1, Const(-1, lanes))),
        ]
        scores = [Mux(here[i], beat.scores[i], 0) for i in range(lanes)]
        with m.If(self.beat):
            m.d.sync += [
                self.fresh.eq(0),
                self.extent.before_last.eq(self.row - 1),
                self.extent.single.eq(self.fresh),
                self.extent.tail.eq(here),
                self.seen.eq(Mux(self.fresh, 0, self.seen) | any_of(scores)),
                self.tokens.eq(self.row * lanes + Mux(partial, beat.tokens, lanes)),
            ]
        with m.If(self.clear):
            m.d.sync += self.fresh.eq(1)
        return m


class RowReader(wiring.Component):
    """Address the rows of a run: while they are written, in a pass, and for the classes.

    A row is read back in the cycle after it is written: that is the first pass. A further pass
    reads all rows once. The ids of a class take all rows and one class row without tokens, in which
    the packer empties itself; the 8-bit class follows the 4-bit one, unless it is alone.

    Latency: ``read`` is the row wanted in this cycle; ``fetched``, ``lanes`` and ``class_row``
    describe it in the next. Throughput one row a cycle; reading for a class stops while
    ``advance`` is low.

    Parameters
    ----------
    config : TopKConfig

    Members
    -------
    write : In(1)
        A row is written at ``row``.
    write_last : In(1)
        It would be the run's last one.
    extent : In(extent_layout(config))
        How many rows the run has.
    advance : In(1)
        The filter takes what was read.
    pass_end : In(1)
        A pass is over: begin another, or the classes if ``finished``.
    finished : In(1)
        No other pass follows.
    stop : In(1)
        All ids have been taken.
    some_wide : In(1)
        There is an 8-bit class.
    only_wide : In(1)
        There is no 4-bit class.
    row : Out(range(rows + 1))
        Row to write next, or of the pass or class.
    read : Out(range(rows + 1))
        Row to read.
    pass_last : Out(1)
        It is its pass's last one.
    fetched : Out(1)
        The row read belongs to a pass.
    lanes : Out(lanes)
        Which of its lanes hold a token.
    class_row : Out(class_row_layout(config))
        Its part in a class.
    """

    def __init__(self, config: TopKConfig) -> None:
        self.config = config
        rows = range(config.rows + 1)
        super().__init__(
            {
                "write": In(1),
                "write_last": In(1),
                "extent": In(extent_layout(config)),
                "advance": In(1),
                "pass_end": In(1),
                "finished": In(1),
                "stop": In(1),
                "some_wide": In(1),
                "only_wide": In(1),
                "row": Out(rows),
                "read": Out(rows),
                "pass_last": Out(1),
                "fetched": Out(1),
                "lanes": Out(config.lanes),
                "class_row": Out(class_row_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        row, extent, class_row = self.row, self.extent, self.class_row
        counting, emitting, wide = Signal(), Signal(), Signal()
        # ``row`` is the last row of a pass or class; it is the class row without tokens behind it.
        last, past_end = Signal(), Signal()

        with m.If(self.write):
            m.d.sync += row.eq(Mux(self.write_last, 0, row + 1))
        written, written_last, at_end = Signal(), Signal(), Signal()
        written_row = Signal(range(self.config.rows))
        m.d.sync += [
            written.eq(self.write),
            written_row.eq(row),
            written_last.eq(self.write & self.write_last),
            self.fetched.eq(written | counting),
        ]
        m.d.comb += [
            self.read.eq(Mux(written, written_row, row)),
            self.pass_last.eq(written_last | (counting & last)),
            at_end.eq(Mux(written, written_last, last)),
        ]
        with m.If(counting):
            m.d.sync += [
                row.eq(Mux(last, 0, row + 1)),
                last.eq(Mux(last, extent.single, row == extent.before_last)),
            ]
            with m.If(last):
                m.d.sync += counting.eq(0)
        with m.If(self.advance):
            m.d.sync += [
                self.lanes.eq(Mux(at_end, extent.tail, Const(-1, self.config.lanes))),
                class_row.valid.eq(emitting),
                class_row.row.eq(row),
                class_row.first.eq(row == 0),
                class_row.wide.eq(wide),
                class_row.final.eq(wide | ~self.some_wide),
            ]
            with m.If(emitting):
                m.d.sync += [
                    row.eq(Mux(past_end, 0, row + 1)),
                    last.eq(Mux(past_end, extent.single, row == extent.before_last)),
                    past_end.eq(last),
                ]
                with m.If(past_end):
                    m.d.sync += [
                        self.lanes.eq(0),
                        wide.eq(1),
                        emitting.eq(~wide & self.some_wide),
                    ]
        with m.If(self.pass_end):
            m.d.sync += [counting.eq(1), last.eq(extent.single)]
            with m.If(self.finished):
                m.d.sync += [
                    counting.eq(0),
                    emitting.eq(1),
                    past_end.eq(0),
                    wide.eq(self.only_wide),
                ]
        with m.If(self.stop):
            # All ids are out, so rows still in flight hold no token of a class.
            m.d.sync += [row.eq(0), emitting.eq(0)]
        return m


class RunMemory(wiring.Component):
    """The scores of one run: rows are read back as they are written, in passes, and for classes.

    Latency: ``scores`` and their description follow a beat, or the ``pass_end`` before a further
    pass or the classes, by two cycles. Throughput one row a cycle; reading for a class stops while
    ``advance`` is low.

    Parameters
    ----------
    config : TopKConfig

    Members
    -------
    i : In(stream.Signature(scores_layout(config)))
        Scores of a run.
    open : In(1)
        Beats are accepted.
    clear : In(1)
        All ids have been taken: the next beat begins a run.
    advance, pass_end, finished, some_wide, only_wide : In(1)
        As of :class:`RowReader`.
    beat, last, fresh, seen, tokens : Out
        As of :class:`RunLoader`.
    pass_last : Out(1)
        The last row of a pass is read.
    scores : Out(ArrayLayout(score_width, lanes))
        The row read.
    fetched, lanes, class_row : Out
        Its description, as of :class:`RowReader`.
    """

    def __init__(self, config: TopKConfig) -> None:
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(scores_layout(config))),
                "open": In(1),
                "clear": In(1),
                "advance": In(1),
                "pass_end": In(1),
                "finished": In(1),
                "some_wide": In(1),
                "only_wide": In(1),
                "beat": Out(1),
                "last": Out(1),
                "fresh": Out(1),
                "seen": Out(config.score_width),
                "tokens": Out(range(config.capacity + 1)),
                "pass_last": Out(1),
                "scores": Out(scores_layout(config)["scores"].shape),
                "fetched": Out(1),
                "lanes": Out(config.lanes),
                "class_row": Out(class_row_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.loader = loader = RunLoader(self.config)
        m.submodules.reader = reader = RowReader(self.config)
        m.submodules.rows = rows = memory.Memory(
            shape=self.scores.shape(), depth=self.config.rows, init=[]
        )
        write, read = rows.write_port(), rows.read_port()
        connect(m, flipped(self.i), loader.i)
        m.d.comb += [
            loader.open.eq(self.open),
            loader.clear.eq(self.clear),
            loader.row.eq(reader.row),
            reader.write.eq(loader.beat),
            reader.write_last.eq(loader.last),
            reader.extent.eq(loader.extent),
            reader.stop.eq(self.clear),
            *(
                getattr(reader, name).eq(getattr(self, name))
                for name in ("advance", "pass_end", "finished", "some_wide", "only_wide")
            ),
            write.en.eq(loader.beat),
            write.addr.eq(reader.row),
            write.data.eq(self.i.p.scores),
            read.en.eq(self.advance),
            read.addr.eq(reader.read),
            self.scores.eq(read.data),
            *(
                getattr(self, name).eq(getattr(loader, name))
                for name in ("beat", "last", "fresh", "seen", "tokens")
            ),
            *(
                getattr(self, name).eq(getattr(reader, name))
                for name in ("pass_last", "fetched", "lanes", "class_row")
            ),
        ]
        return m
