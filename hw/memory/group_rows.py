"""Rows that the query heads of a head of K and V fill together, and where their classes part."""

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config

__all__ = ["GroupRows", "rows_layout"]


def rows_layout(config: Config) -> data.StructLayout:
    """Rows of a layer as the core has them: ``heads`` heads of ``rows`` rows.

    A row is a query of one of ``group`` query heads, those of a query follow each other. The first
    ``four_bit`` rows, of the first ``edge`` queries, have 4 bits. Each head of K and V is needed
    for ``repeats`` heads.
    """
    count = range(config.n_max + 1)
    return data.StructLayout(
        {
            "heads": unsigned(16),
            "repeats": unsigned(16),
            "group": unsigned(16),
            "rows": count,
            "four_bit": count,
            "edge": count,
        }
    )


class GroupRows(wiring.Component):
    """Multiply the queries of a layer by the heads of a group, and align their class boundary.

    ``edge`` is the largest number of queries, up to ``four_bit``, whose rows fill whole row blocks:
    :func:`dtqatten.golden.numerics.order.aligned` with tiles of
    :func:`~dtqatten.golden.numerics.order.query_tile`. Without 8-bit queries there is no boundary.

    Everything is added up, as ``step`` comes once for each head of the group: no multiplier.

    Latency: ``done`` by ``rows`` cycles after ``finish`` at the latest, and until ``start``.

    Parameters
    ----------
    config : Config

    Members
    -------
    start : In(1)
        Begin; ``queries`` and ``four_bit`` stay until ``done``.
    queries, four_bit : In(16)
        Queries of a query head, and those of the 4-bit class.
    step : In(1)
        There is another head in the group.
    finish : In(1)
        That was the last one; held until ``done``.
    done : Out(1)
        The results are there.
    over : Out(1)
        There are more rows than a head can have; all results but this one are then invalid.
    group : Out(range(heads + 1))
    rows, row_four_bit : Out(range(2 * n_max + 1))
    edge : Out(range(n_max + 1))
        As of :func:`rows_layout`.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        # A query head more than fits is counted before there are too many.
        rows = range(2 * config.n_max + 1)
        super().__init__(
            {
                "start": In(1),
                "queries": In(16),
                "four_bit": In(16),
                "step": In(1),
                "finish": In(1),
                "done": Out(1),
                "over": Out(1),
                "group": Out(range(config.heads + 1)),
                "rows": Out(rows),
                "row_four_bit": Out(rows),
                "edge": Out(range(config.n_max + 1)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        tile, most = self.config.rows, self.config.n_max
        # There were too many rows, which may since have been counted past their width.
        overflowed = Signal()
        # Rows of the 4-bit class, and of a query, that are left over from whole row blocks.
        over, each = Signal(range(tile)), Signal(range(tile))
        share = Signal(range(tile))

        def wrapped(total: Value) -> Value:
            return Mux(total >= tile, total - tile, total)

        aligned = (over == 0) | (self.four_bit == self.queries)
        m.d.comb += [
            share.eq(self.four_bit % tile),
            self.over.eq(overflowed | (self.rows > most)),
            self.done.eq(self.finish & aligned),
        ]
        m.d.sync += overflowed.eq(self.over)
        with m.If(self.start):
            m.d.sync += [
                overflowed.eq(0),
                self.group.eq(0),
                self.rows.eq(0),
                self.row_four_bit.eq(0),
                self.edge.eq(self.four_bit),
                over.eq(0),
                each.eq(0),
            ]
        with m.Elif(self.step):
            m.d.sync += [
                overflowed.eq(self.over | (self.queries > most)),
                self.group.eq(self.group + 1),
                self.rows.eq(self.rows + self.queries),
                self.row_four_bit.eq(self.row_four_bit + self.four_bit),
                over.eq(wrapped(over + share)),
                each.eq(wrapped(each + 1)),
            ]
        with m.Elif(self.finish & ~aligned):
            m.d.sync += [
                self.edge.eq(self.edge - 1),
                self.row_four_bit.eq(self.row_four_bit - self.group),
                over.eq(Mux(over >= each, over - each, over + tile - each)),
            ]
        return m
