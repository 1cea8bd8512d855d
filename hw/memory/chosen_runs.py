"""The runs of values that are fetched where row blocks choose groups of them."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, fifo, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.memory.chosen_slots import group_fifo, slots_stream
from dtqatten.hw.memory.run_table import place_run_layout

__all__ = ["ChosenRuns", "clipped_run_layout", "whole_runs"]


def clipped_run_layout(config: Config) -> data.StructLayout:
    """A ``run`` of places that is fetched; ``last``: its head's last one.

    ``dropped``: there is nothing to fetch but the news that the head has ended. ``wide``, of chosen
    groups: a slot of it has 8 bits.
    """
    flags = dict.fromkeys(("last", "dropped", "wide"), 1)
    return data.StructLayout({"run": place_run_layout(config)} | flags)


def whole_runs(
    m: Module, config: Config, queue: fifo.SyncFIFO, leaves: Value
) -> tuple[Value, data.View]:
    """Return whether there is a run in a queue, which is fetched as it is, and that.

    Parameters
    ----------
    m : Module
    config : Config
    queue : SyncFIFO
        Runs, each with a bit for its head's last one.
    leaves : Value
        The run is taken.
    """
    item = Signal(clipped_run_layout(config), name="item")
    m.d.comb += [
        item.run.eq(queue.r_data),
        item.last.eq(queue.r_data[-1]),
        queue.r_en.eq(leaves),
    ]
    return queue.r_rdy, item


class ChosenRuns(wiring.Component):
    """Of each head's runs give what lies in its chosen groups; behind them tell that it has ended.

    A run and a group are looked at a time: what they have in common is a run of its own, and
    the one that ends first makes room for the next one. Other layers' runs pass as they are.

    Latency 1. Throughput a run a cycle; a head takes as many as it has groups and runs, at most.

    Parameters
    ----------
    config : Config

    Members
    -------
    chosen : In(1)
        Row blocks choose; constant during a layer.
    begin, four_bit : In(range(n_max + 1)), In(range(n_max + 1))
        First slot of a head's runs, and of its 8-bit tokens.
    groups : In(slots_stream(config))
        Chosen groups.
    discards : In(1)
        Groups have no runs: they are forgotten.
    i_valid, i, i_last, i_ready : In(1), In(place_run_layout(config)), In(1), Out(1)
        A head's runs, slot by slot; its last one.
    o_valid, o, o_ready : Out(1), Out(clipped_run_layout(config)), In(1)
        What is fetched.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        count = range(config.n_max + 1)
        super().__init__(
            {
                "chosen": In(1),
                "begin": In(count),
                "four_bit": In(count),
                "groups": In(slots_stream(config)),
                "discards": In(1),
                "i_valid": In(1),
                "i": In(place_run_layout(config)),
                "i_last": In(1),
                "i_ready": Out(1),
                "o_valid": Out(1),
                "o": Out(clipped_run_layout(config)),
                "o_ready": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, run = self.config, self.i
        queue = group_fifo(m, config, self.groups)
        group = Signal(self.groups.p.shape())
        slots = range(2 * config.n_max + config.group)
        # Slots of the run, of the group, and of both.
        slot, first_run = Signal(slots), Signal(init=1)
        begin, end, group_end = Signal(slots), Signal(slots), Signal(slots)
        common, common_end = Signal(slots), Signal(slots)
        # The last group of the head has gone.
        passed, compares, step = Signal(), Signal(), Signal()
        gives, next_group, next_run = Signal(), Signal(), Signal()
        m.d.comb += [
            group.eq(queue.r_data),
            begin.eq(Mux(first_run, self.begin, slot)),
            end.eq(begin + run.tokens),
            group_end.eq(group.first + group.tokens),
            common.eq(Mux(group.first > begin, group.first, begin)),
            common_end.eq(Mux(group_end < end, group_end, end)),
            step.eq(self.i_valid & (~self.o_valid | self.o_ready)),
            compares.eq(step & self.chosen & ~passed & queue.r_rdy),
            next_group.eq(compares & ((group_end <= end) | self.i_last)),
            next_run.eq(Mux(self.chosen, (compares & ~next_group) | (step & passed), step)),
            gives.eq(Mux(self.chosen, compares & (common < common_end), step)),
            queue.r_en.eq(next_group | self.discards),
            self.i_ready.eq(next_run),
        ]
        ends = next_run & self.i_last
        with m.If(next_run):
            m.d.sync += [slot.eq(end), first_run.eq(self.i_last)]
        with m.If(next_group & group.last):
            m.d.sync += passed.eq(1)
        with m.Elif(ends):
            m.d.sync += passed.eq(0)
        with m.If(~self.o_valid | self.o_ready):
            m.d.sync += [
                self.o_valid.eq(gives | ends),
                self.o.run.eq(run),
                self.o.last.eq(ends),
                self.o.dropped.eq(~gives),
                self.o.wide.eq(common_end > self.four_bit),
            ]
            with m.If(self.chosen):
                m.d.sync += [
                    self.o.run.first.eq(run.first + (common - begin)),
                    self.o.run.tokens.eq(common_end - common),
                ]
        return m
