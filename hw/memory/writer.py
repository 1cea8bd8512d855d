"""The writer: sends a layer's outputs, ids and importance to memory."""

from math import gcd

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.base.skid import buffered
from dtqatten.hw.bus.bursts import run_layout
from dtqatten.hw.bus.write_channel import WriteChannel, write_port
from dtqatten.hw.memory.beat_splitter import BeatSplitter
from dtqatten.hw.memory.held_fields import held_fields
from dtqatten.hw.memory.output_runs import OutputRuns
from dtqatten.hw.memory.slots import aligned
from dtqatten.hw.payloads.heads import head_report_layout
from dtqatten.hw.payloads.ranking import beat_layout, topk_config
from dtqatten.hw.payloads.softmax import output_layout
from dtqatten.hw.payloads.topk import ids_layout
from dtqatten.hw.softmax.normalizer import output_beat_layout
from dtqatten.interface.descriptor import REPORT_BYTES

__all__ = ["Writer", "results_layout", "write_streams"]


def write_streams(config: Config) -> int:
    """Write streams: outputs, ids, importance; where heads can be pruned, their report."""
    return 3 + config.head_pruning


def results_layout(system: SystemConfig) -> data.StructLayout:
    """Destination of a layer's results: addresses, counts, and which are wanted.

    Outputs are of ``queries``, ``query_four_bit`` of them in the 4-bit class; importance is of
    ``tokens``, the keys. Where rows can be merged: a ``segment`` keeps no ids, and one that
    ``holds`` its rows has no outputs either; it is complete when its operands have been read. Where
    heads can be pruned: the place of their report, which has all that are stored.
    """
    address, count = unsigned(system.address_bits), range(system.core.n_max + 1)
    return data.StructLayout(
        {
            "output": address,
            "form": output_layout(),
            "heads": unsigned(16),
            "queries": count,
            "query_four_bit": count,
            "ids": address,
            "write_ids": unsigned(1),
            "k0": count,
            "tokens": count,
            "importance": address,
            "report": unsigned(1),
        }
        | (dict.fromkeys(("segment", "holds"), unsigned(1)) if system.core.merge_rows else {})
        | (held_fields(system) if system.core.held_importance else {})
        | (
            {"report_heads": unsigned(1), "stored_heads": unsigned(16), "head_report": address}
            if system.core.head_pruning
            else {}
        )
    )


class Writer(wiring.Component):
    """Write a layer's outputs, the ids it keeps and its importance.

    Ids that are not wanted are taken and dropped. ``done`` comes when all of a layer's writes have
    been acknowledged; only then is the next layer accepted.

    Latency: ``done`` in the cycle in which the last answer shows in ``answered``, the next layer is
    accepted in the cycle after. Throughput one beat of each stream a cycle, as long as a beat is
    no wider than the bus, and a run no shorter than a word.

    Parameters
    ----------
    system : SystemConfig

    Members
    -------
    layer : In(stream.Signature(results_layout(system)))
        Layers in order.
    outputs : In(stream.Signature(output_beat_layout(config)))
    ids : In(stream.Signature(ids_layout(topk)))
    importance : In(stream.Signature(beat_layout(topk_lanes)))
        Results of the core.
    ports : Out(write_port(system)).array(write_streams(config))
        Write ports.
    heads : In(stream.Signature(head_report_layout()))
        Where heads can be pruned: the report of those layers that ask for it.
    fetched : In(1)
        Where rows can be merged: the operands of the layers so far have been read.
    answered : In(1)
        Every burst requested has been acknowledged.
    held_runs : In(stream.Signature(run_layout(system)))
        With ``held_importance``: where the importance of a ``held`` layer goes.
    held_idle : In(1)
        All of those have been given.
    begin, current : Out(1), Out(results_layout(system))
        The same: a layer begins, for one cycle; it is the current one until ``done``.
    done : Out(1)
        A layer is complete, for one cycle.
    idle : Out(1)
        No layer is here.
    """

    def __init__(self, system: SystemConfig) -> None:
        self.system = system
        topk = topk_config(system.core)
        super().__init__(
            {
                "layer": In(stream.Signature(results_layout(system))),
                "outputs": In(stream.Signature(output_beat_layout(system.core))),
                "ids": In(stream.Signature(ids_layout(topk))),
                "importance": In(stream.Signature(beat_layout(system.core.topk_lanes))),
                "ports": Out(write_port(system)).array(write_streams(system.core)),
                **({"fetched": In(1)} if system.core.merge_rows else {}),
                **(
                    {"heads": In(stream.Signature(head_report_layout()))}
                    if system.core.head_pruning
                    else {}
                ),
                "answered": In(1),
                "done": Out(1),
                "idle": Out(1),
            }
            | (
                {
                    "held_runs": In(stream.Signature(run_layout(system))),
                    "held_idle": In(1),
                    "begin": Out(1),
                    "current": Out(results_layout(system)),
                }
                if system.core.held_importance
                else {}
            )
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system, core = self.system, self.system.core
        topk, lanes = topk_config(core), core.output_lanes
        layer = Signal(results_layout(system))
        codes = layer.form.codes
        active, begin = Signal(), Signal()
        holds, fetched = Const(0), Const(1)
        if core.merge_rows:
            holds, fetched = layer.holds, self.fetched
        m.d.comb += self.layer.ready.eq(~active)
        m.d.sync += begin.eq(self.layer.valid & self.layer.ready)
        with m.If(self.layer.valid & self.layer.ready):
            m.d.sync += [
                layer.eq(self.layer.p),
                layer.query_four_bit.eq(
                    aligned(self.layer.p.query_four_bit, self.layer.p.queries, core.rows)
                ),
                active.eq(1),
            ]

        # Values are placed at multiples of the common divisor of all channel counts.
        granule = gcd(core.d_head, core.cols, lanes)
        runs = place(m, platform, "runs", OutputRuns, system)
        outputs = place(m, platform, "outputs_channel", WriteChannel, system, 2 * lanes, granule)
        buffered(m, runs.o, outputs.runs, "output_run")
        connect(m, outputs.port, flipped(self.ports[0]))
        as_codes = Cat(value[:8] for value in self.outputs.p.values)
        m.d.comb += [
            runs.start.eq(begin & ~holds),
            runs.base.eq(layer.output),
            runs.heads.eq(layer.heads),
            runs.queries.eq(layer.queries),
            runs.four_bit.eq(layer.query_four_bit),
            runs.codes.eq(codes),
            outputs.i.valid.eq(self.outputs.valid),
            self.outputs.ready.eq(outputs.i.ready),
            outputs.i.p.data.eq(Mux(codes, as_codes, self.outputs.p.values.as_value())),
            outputs.i.p.count.eq(self.outputs.p.channels << ~codes),
        ]
        finished = runs.idle & ~outputs.runs.valid & outputs.empty
        importance = self.importance
        if core.held_importance:
            m.d.comb += [self.begin.eq(begin), self.current.eq(layer)]
            # No beat may have bytes of two runs.
            m.submodules.splitter = splitter = BeatSplitter(topk.lanes)
            connect(m, flipped(self.importance), splitter.i)
            importance = splitter.o
            finished = finished & self.held_idle
        for number, source in enumerate((self.ids, importance), start=1):
            finished = finished & self._list(m, platform, number, source, layer, begin)
        if core.head_pruning:
            finished = finished & self._report(m, platform, layer, begin)

        m.d.comb += [
            self.done.eq(active & ~begin & finished & self.answered & (~holds | fetched)),
            self.idle.eq(~active),
        ]
        with m.If(self.done):
            m.d.sync += active.eq(0)
        return m

    def _list(
        self,
        m: Module,
        platform: object,
        number: int,
        source: stream.Interface,
        layer: data.View,
        begin: Value,
    ) -> Value:
        """Write a layer's ids or its importance; return whether all of it is written.

        Parameters
        ----------
        m, platform
            As in ``elaborate``.
        number : int
            Of the write port: 1 for ids, 2 for importance.
        source : stream
            Of the core.
        layer : View of results_layout(system)
            The current layer.
        begin : Value
            It begins.
        """
        core, is_ids = self.system.core, number == 1
        label, width = ("ids", 2) if is_ids else ("importance", 4)
        items = source.p.ids if is_ids else source.p.scores
        held = layer.held if core.held_importance else Const(0)
        reported = layer.write_ids if is_ids else layer.report
        wanted = reported if is_ids else reported | held
        # Ids come with every layer but a segment, importance only if it is wanted.
        comes: Value = wanted
        if is_ids:
            comes = ~layer.segment if core.merge_rows else Const(1)
        channel = place(
            m, platform, f"{label}_channel", WriteChannel, self.system, width * len(items), width
        )
        connect(m, channel.port, flipped(self.ports[number]))
        waiting, given = Signal(name=f"{label}_waiting"), Signal(name=f"{label}_given")
        padded = [Signal(8 * width, name=f"{label}_{i}") for i in range(len(items))]
        m.d.comb += [word.eq(item) for word, item in zip(padded, items, strict=True)]
        m.d.comb += [
            channel.runs.p.address.eq(layer[label]),
            channel.runs.p.size.eq((layer.k0 if is_ids else layer.tokens) * width),
            channel.runs.valid.eq(given),
            channel.i.valid.eq(waiting & wanted & source.valid),
            channel.i.p.data.eq(Cat(padded)),
            channel.i.p.count.eq((source.p.count if is_ids else source.p.tokens) * width),
            source.ready.eq(waiting & (~wanted | channel.i.ready)),
        ]
        with m.If(begin):
            m.d.sync += [waiting.eq(comes), given.eq(reported)]
        if not is_ids and core.held_importance:
            # Of a layer that adds to what is held, runs come from elsewhere.
            m.d.comb += self.held_runs.ready.eq(held & channel.runs.ready)
            with m.If(held):
                m.d.comb += [
                    channel.runs.valid.eq(self.held_runs.valid),
                    channel.runs.p.eq(self.held_runs.p),
                ]
        with m.If(channel.runs.valid & channel.runs.ready):
            m.d.sync += given.eq(0)
        with m.If(source.valid & source.ready & source.p.last):
            m.d.sync += waiting.eq(0)
        return ~waiting & ~given & channel.empty

    def _report(self, m: Module, platform: object, layer: data.View, begin: Value) -> Value:
        """Write a layer's report of heads, if it is wanted; return whether all of it is written.

        Parameters
        ----------
        m, platform
            As in ``elaborate``.
        layer : View of results_layout(system)
            The current layer.
        begin : Value
            It begins.
        """
        source, size = self.heads, REPORT_BYTES
        channel = place(m, platform, "heads_channel", WriteChannel, self.system, size, REPORT_BYTES)
        connect(m, channel.port, flipped(self.ports[3]))
        waiting, given = Signal(name="heads_waiting"), Signal(name="heads_given")
        m.d.comb += [
            channel.runs.p.address.eq(layer.head_report),
            channel.runs.p.size.eq(layer.stored_heads * size),
            channel.runs.valid.eq(given),
            channel.i.valid.eq(waiting & source.valid),
            channel.i.p.data.eq(Cat(source.p.importance, source.p.rank)),
            channel.i.p.count.eq(size),
            source.ready.eq(waiting & channel.i.ready),
        ]
        with m.If(begin):
            m.d.sync += [waiting.eq(layer.report_heads), given.eq(layer.report_heads)]
        with m.If(channel.runs.valid & channel.runs.ready):
            m.d.sync += given.eq(0)
        with m.If(source.valid & source.ready & source.p.last):
            m.d.sync += waiting.eq(0)
        return ~waiting & ~given & channel.empty
