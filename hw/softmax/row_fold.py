"""Fold the tiles of a row into one value: maximum or sum, row by row of a row block."""

from amaranth.hdl import Module, Mux, Shape, Signal, Value
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.base.pipeline import delayed
from dtqatten.hw.payloads.softmax import reduced_layout

__all__ = ["RowFold"]


class RowFold(wiring.Component):
    """Keep one value for each row of the row block at hand and fold each tile's value into it.

    Rows come tile by tile, of each tile its rows. A read and a write of a small memory every
    cycle; a row that comes again in the next cycle (blocks of one row) reads what is just written.

    Latency 2 cycles, throughput one row of a tile a cycle; never stalls.

    Parameters
    ----------
    rows : int
        Most rows of a row block.
    shape : Shape
        Of a value. Sums must fit.
    operation : str
        ``"max"`` or ``"sum"``.

    Members
    -------
    i : In(reduced_layout())
        Place of ``value``.
    value : In(shape)
        A tile's value.
    o : Out(reduced_layout())
        Place of ``total``.
    total : Out(shape)
        Fold of this and earlier tiles of the row.
    """

    LATENCY = 2

    def __init__(self, rows: int, shape: Shape, operation: str) -> None:
        if operation not in ("max", "sum"):
            raise ValueError(f"operation is {operation!r}: choose max or sum")
        self.rows, self.shape, self.operation = rows, shape, operation
        super().__init__(
            {
                "i": In(reduced_layout()),
                "value": In(shape),
                "o": Out(reduced_layout()),
                "total": Out(shape),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.totals = totals = memory.Memory(shape=self.shape, depth=self.rows, init=[])
        write = totals.write_port()
        read = totals.read_port(transparent_for=(write,))

        row = Signal(range(self.rows))
        first = Signal(init=1)
        with m.If(self.i.valid):
            m.d.sync += row.eq(row + 1)
            with m.If(self.i.last_row):
                m.d.sync += [row.eq(0), first.eq(self.i.last_tile)]
        m.d.comb += [read.en.eq(self.i.valid), read.addr.eq(row)]

        now = delayed(m, self.i, 1, "i", reset_less=False)
        value = delayed(m, self.value, 1, "value")
        was_first = delayed(m, first, 1, "first")
        folded = Signal(self.shape)
        m.d.comb += [
            folded.eq(Mux(was_first, value, self._combine(value, read.data))),
            write.en.eq(now.valid),
            write.addr.eq(delayed(m, row, 1, "row")),
            write.data.eq(folded),
        ]
        m.d.sync += [self.o.eq(now), self.total.eq(folded)]
        return m

    def _combine(self, a: Value, b: Value) -> Value:
        return a + b if self.operation == "sum" else Mux(a > b, a, b)
