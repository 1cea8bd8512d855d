"""The score buffer: straightens the skew of the columns and hides the consumer's stalls."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config, Schedule
from dtqatten.hw.base.export import place
from dtqatten.hw.base.pipeline import counted, delayed
from dtqatten.hw.base.skid import skid
from dtqatten.hw.payloads.arrays import drain_layout, score_row_layout

__all__ = ["ScoreBank", "ScoreBuffer", "tile_fits", "write_layout"]


def write_layout(config: Config) -> data.StructLayout:
    """Write of a column's score at ``address``, times ``16**lift``."""
    return data.StructLayout(
        {"valid": unsigned(1), "address": range(config.score_rows), "lift": range(3)}
    )


def tile_fits(m: Module, config: Config, start: Value, rows: Value, row_read: Value) -> Value:
    """Return a register that says whether the buffer has room for a tile of ``config.rows``.

    A tile's ``rows`` are taken at its ``start`` and come back one by one, ``word_stages`` cycles
    after they are read. Both may arrive late in a cycle, so all four next values are precomputed.

    Parameters
    ----------
    m : Module
    config : Config
    start : Value
        A tile starts.
    rows : Value
        Its rows.
    row_read : Value
        A row is read.
    """
    # Room beyond a tile; negative without room for one.
    most = config.score_rows - config.rows
    spare = Signal(range(-config.rows, most + 1), init=most, name="spare")
    freed = delayed(m, row_read, config.timing.word_stages, "row_freed", reset_less=False)
    with m.If(freed):
        m.d.sync += spare.eq(Mux(start, spare - (rows - 1), spare + 1))
    with m.Elif(start):
        m.d.sync += spare.eq(spare - rows)
    return ~spare[-1]


class ScoreBank(wiring.Component):
    """The scores of one column.

    Latency: a write is readable in the next cycle; ``data`` follows ``read_address`` by one cycle
    and holds while ``read_valid`` is low. Reading and writing one address in the same cycle is
    undefined.

    Parameters
    ----------
    config : Config
    width : int
        Bits of a score.

    Members
    -------
    write : In(write_layout(config))
        Where the score goes that the column delivers in this cycle.
    score : In(signed(width))
        The column's score.
    read_valid, read_address : In
        Read one score.
    data : Out(signed(width))
        The score read.
    """

    def __init__(self, config: Config, width: int) -> None:
        self.config = config
        self.width = width
        super().__init__(
            {
                "write": In(write_layout(config)),
                "score": In(signed(width)),
                "read_valid": In(1),
                "read_address": In(range(config.score_rows)),
                "data": Out(signed(width)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.scores = scores = memory.Memory(
            shape=signed(self.width), depth=self.config.score_rows, init=[]
        )
        write, read = scores.write_port(), scores.read_port()
        if self.config.schedule is Schedule.PLANE_MAJOR:
            with m.Switch(self.write.lift):
                for lift in range(self.config.planes + 1):
                    with m.Case(lift):
                        m.d.comb += write.data.eq(self.score << 4 * lift)
        else:
            m.d.comb += write.data.eq(self.score)
        m.d.comb += [
            write.en.eq(self.write.valid),
            write.addr.eq(self.write.address),
            read.en.eq(self.read_valid),
            read.addr.eq(self.read_address),
            self.data.eq(read.data),
        ]
        return m


class ScoreBuffer(wiring.Component):
    """FIFO of score rows, written skewed and read straight.

    The grid never stalls: a tile starts only when the buffer has room for all its rows, which the
    sequencer counts with the help of ``row_read``. Finished rows leave in order.

    Latency: with ``drain`` valid in cycle ``t``, row ``r`` of the tile is taken from
    ``columns[c]`` at ``t + 1 + r + c // pod_cols`` and is valid at ``o`` from ``t + 2 + r + hops``
    on.
    Throughput one row a cycle. A stalled consumer holds rows back and loses none; up to two rows
    are read ahead, so that no read waits for ``o.ready``.

    Parameters
    ----------
    config : Config
    width : int, optional
        Bits of a weighted sum; None: rows are of scores.

    Members
    -------
    drain : In(drain_layout(config))
        A tile whose row 0 finishes in the next cycle; at least ``rows`` cycles apart.
    columns : In(ArrayLayout(signed(width), cols))
        Finished scores, column ``c`` skewed by ``c // pod_cols`` cycles.
    row_read : Out(1)
        The room of one row is free again.
    o : Out(stream.Signature(score_row_layout(config, width)))
        Score rows, tile by tile.
    """

    def __init__(self, config: Config, width: int | None = None) -> None:
        self.config = config
        self.row_layout = score_row_layout(config, width)
        self.width = width or config.score_width
        super().__init__(
            {
                "drain": In(drain_layout(config)),
                "columns": In(data.ArrayLayout(signed(self.width), config.cols)),
                "row_read": Out(1),
                "o": Out(stream.Signature(self.row_layout)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        rows = config.score_rows

        # Write side: count the rows of the tile that drains.
        tile = Signal(drain_layout(config))
        left = Signal(range(config.rows + 1))
        write = Signal(write_layout(config))
        write_address = Signal(range(rows))
        with m.If(self.drain.valid):
            m.d.sync += [tile.eq(self.drain), left.eq(self.drain.rows)]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
        with m.If(left != 0):
            m.d.sync += write_address.eq(Mux(write_address == rows - 1, 0, write_address + 1))
        m.d.comb += [
            write.valid.eq(left != 0),
            write.address.eq(write_address),
            write.lift.eq(tile.lift),
        ]

        # Read side: the memories' own output registers hold a row.
        row = stream.Signature(self.o.p.shape()).create(path=("row",))
        skid(m, row, self.o, "row")
        read_address = Signal(range(rows))
        read, complete = Signal(), Signal()
        m.d.comb += [
            read.eq(complete & (~row.valid | row.ready)),
            self.row_read.eq(read),
        ]
        with m.If(read):
            m.d.sync += read_address.eq(Mux(read_address == rows - 1, 0, read_address + 1))
        with m.If(~row.valid | row.ready):
            m.d.sync += row.valid.eq(read)

        flags = data.StructLayout(
            {name: f.shape for name, f in self.row_layout if name != "scores"}
        )
        m.submodules.flags = flag_memory = memory.Memory(shape=flags, depth=rows, init=[])
        flag_write, flag_read = flag_memory.write_port(), flag_memory.read_port()
        m.d.comb += [
            flag_write.en.eq(write.valid),
            flag_write.addr.eq(write_address),
            flag_write.data.last_row.eq(left == 1),
            flag_read.en.eq(read),
            flag_read.addr.eq(read_address),
        ]
        m.d.comb += [
            flag_write.data[name].eq(tile[name]) for name, _ in flags if name != "last_row"
        ]
        m.d.comb += [row.p[name].eq(flag_read.data[name]) for name, _ in flags]

        scores = []
        for c in range(config.cols):
            bank = place(m, platform, f"bank_{c}", ScoreBank, config, self.width)
            m.d.comb += [
                bank.write.eq(write),
                bank.score.eq(self.columns[c]),
                bank.read_valid.eq(read),
                bank.read_address.eq(read_address),
            ]
            scores.append(bank.data)
            if (c + 1) % config.pod_cols == 0 and c + 1 < config.cols:
                write = delayed(m, write, 1, f"write_{c + 1}", reset_less=False)
        m.d.comb += row.p.scores.eq(Cat(scores))
        # A row is complete when its last column is written.
        m.d.comb += complete.eq(counted(m, write.valid, read, "rows", most=rows))
        return m
