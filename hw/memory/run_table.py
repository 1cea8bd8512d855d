"""The places of a layer's keys as runs: what follows each other in memory is fetched as one."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from dtqatten.configuration.core import Config
from dtqatten.hw.bus.arbiter import rotated_turn, those_after

__all__ = ["RunTable", "place_run_layout"]


def place_run_layout(config: Config) -> data.StructLayout:
    """Run of ``tokens`` > 0 places from ``first`` on."""
    return data.StructLayout({"first": range(config.positions), "tokens": range(config.n_max + 1)})


class RunTable(wiring.Component):
    """Merge the next layer's places into runs as they come; let readers read the current ones.

    Places come slot by slot. A place that follows the one before it joins its run, whatever their
    classes. Two banks: the next layer's runs are stored while those of the current one are read.

    Whose turn it is, is decided a cycle ahead; a reader that does not ask any more lets it pass.

    Latency: the last run is stored in the cycle of ``ends``; ``granted`` follows ``asked`` by one
    cycle and ``run`` that by two. Throughput one place, and one run for one of the readers, a
    cycle.

    Parameters
    ----------
    config : Config
    readers : int

    Members
    -------
    write, place : In(1), In(range(capacity))
        The next slot's place.
    first : In(1)
        With ``write``: it is slot 0, and what came since the last ``ends`` is forgotten.
    ends : In(1)
        All places have come, at least one.
    swap : In(1)
        The next layer becomes the current one. Not before ``ends``.
    count : Out(range(n_max + 1))
        Runs of the current layer.
    asked : In(readers)
        The reader wants run number ``index``; held until ``granted``.
    index : In(range(n_max)).array(readers)
    granted : Out(readers)
        If the reader asks, its run is at ``run`` two cycles later.
    run : Out(place_run_layout(config))
    """

    def __init__(self, config: Config, readers: int) -> None:
        self.config, self.readers = config, readers
        super().__init__(
            {
                "write": In(1),
                "place": In(range(config.positions)),
                "first": In(1),
                "ends": In(1),
                "swap": In(1),
                "count": Out(range(config.n_max + 1)),
                "asked": In(readers),
                "index": In(range(config.n_max)).array(readers),
                "granted": Out(readers),
                "run": Out(place_run_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        bits = max(1, ceil_log2(config.n_max))
        m.submodules.held = runs = memory.Memory(
            shape=place_run_layout(config), depth=2 << bits, init=[]
        )
        write, read = runs.write_port(), runs.read_port()
        bank = Signal()
        # The run that may still grow, and the runs before it; ``after`` is the place behind it.
        growing, joins = Signal(), Signal()
        open_run, after = Signal(place_run_layout(config)), Signal(range(config.positions + 1))
        stored, counted = Signal(bits), Signal.like(self.count)
        m.d.comb += [
            joins.eq(growing & ~self.first & (self.place == after)),
            write.en.eq(growing & (self.ends | (self.write & ~self.first & ~joins))),
            write.addr.eq(Cat(stored, ~bank)),
            write.data.eq(open_run),
        ]
        with m.If(self.write):
            m.d.sync += [growing.eq(1), after.eq(self.place + 1)]
            with m.If(joins):
                m.d.sync += open_run.tokens.eq(open_run.tokens + 1)
            with m.Else():
                m.d.sync += [open_run.first.eq(self.place), open_run.tokens.eq(1)]
        with m.If(write.en):
            m.d.sync += stored.eq(stored + 1)
        with m.If(self.write & self.first):
            m.d.sync += stored.eq(0)
        with m.If(self.ends):
            m.d.sync += [growing.eq(0), stored.eq(0), counted.eq(stored + 1)]
        with m.If(self.swap):
            m.d.sync += [bank.eq(~bank), self.count.eq(Mux(self.ends, stored + 1, counted))]

        first, chosen = Signal(self.readers), Signal(bits)
        none = Const(0, self.readers)
        following = Mux(self.granted.any(), those_after(self.granted), first)
        m.d.sync += [
            self.granted.eq(rotated_turn(self.asked, none, none[0], following)),
            first.eq(following),
            self.run.eq(read.data),
        ]
        shown = (
            index & granted.replicate(len(index))
            for index, granted in zip(self.index, self.granted, strict=True)
        )
        m.d.comb += [chosen.eq(reduce(or_, shown)), read.addr.eq(Cat(chosen, bank))]
        return m
