"""Which rows of a trial are flat: their sums compared, and a verdict on their row block."""

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Member, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.payloads.softmax import reduced_layout, verdict_layout
from dtqatten.hw.payloads.sums import EXPONENTIAL_BITS, sum_bits

__all__ = ["FlatRows", "verdict_members", "where"]


def verdict_members(config: Config) -> dict[str, Member]:
    """Members of what compares sums of trials, and tells."""
    return {
        "flat_sum": In(32),
        "given": Out(1),
        "verdicts": Out(stream.Signature(verdict_layout(config))),
    }


def where(m: Module, which: Value, place: data.View, name: str) -> data.View:
    """Return the place of a row, of some rows only.

    Parameters
    ----------
    m : Module
    which : Value
        The row is one of them.
    place : View of reduced_layout()
    name : str
        Of the result.
    """
    some = Signal(reduced_layout(), name=name)
    m.d.comb += [some.eq(place), some.valid.eq(place.valid & which)]
    return some


class FlatRows(wiring.Component):
    """Count the rows of a row block whose exponentials sum to more than a limit.

    Bit-exact with :func:`dtqatten.golden.numerics.progressive.tried` (SpAtten, HPCA 2021, section
    III-D): the largest exponential of a row is 65535, so a large sum is a small largest
    probability, and no row is divided to know.

    Latency: the verdict follows its block's last sum by a cycle; throughput a row a cycle, but a
    block's last sum has to come when its predecessor's verdict has been taken.

    Parameters
    ----------
    config : Config

    Members
    -------
    place : In(reduced_layout())
        Place of ``total``; rows of other tiles than their last are ignored.
    total : In(sum_bits(config, 16))
        Sum of a row's exponentials.
    flat_sum : In(32)
        Limit; holds from a block's first sum to its last.
    given : Out(1)
        The block's last sum is here: its verdict comes in the next cycle.
    verdicts : Out(stream.Signature(verdict_layout(config)))
        One a row block.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        total = unsigned(sum_bits(config, EXPONENTIAL_BITS))
        super().__init__(
            {"place": In(reduced_layout()), "total": In(total), **verdict_members(config)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        verdict = self.verdicts.p
        before, rows = Signal.like(verdict.rows), Signal.like(verdict.rows)
        complete = self.place.valid & self.place.last_tile
        m.d.comb += [
            rows.eq(before + (self.total > self.flat_sum)),
            self.given.eq(complete & self.place.last_row),
        ]
        with m.If(complete):
            m.d.sync += before.eq(Mux(self.place.last_row, 0, rows))
        with m.If(self.verdicts.ready):
            m.d.sync += self.verdicts.valid.eq(0)
        with m.If(self.given):
            m.d.sync += [
                self.verdicts.valid.eq(1),
                verdict.rows.eq(rows),
                verdict.flat.eq(rows != 0),
            ]
        return m
