"""The writer: sends a layer's outputs, ids and importance to memory."""

from math import gcd

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.bus.bursts import run_layout
from dtqatten.hw.bus.write_channel import WriteChannel, write_port
from dtqatten.hw.memory.beat_splitter import BeatSplitter
from dtqatten.hw.memory.held_fields import held_fields
from dtqatten.hw.memory.slots import RowBlocks, aligned
from dtqatten.hw.payloads.ranking import beat_layout, topk_config
from dtqatten.hw.payloads.softmax import output_layout
from dtqatten.hw.payloads.topk import ids_layout
from dtqatten.hw.softmax.normalizer import output_beat_layout

__all__ = ["STREAMS", "OutputRuns", "Writer", "results_layout"]

#: Write streams: outputs, ids, importance.
STREAMS = 3


def results_layout(system: SystemConfig) -> data.StructLayout:
    """Destination of a layer's results: addresses, counts, and which are wanted.

    Outputs are of ``queries``, ``query_four_bit`` of them in the 4-bit class; importance is of
    ``tokens``, the keys. Where rows can be merged: a ``segment`` keeps no ids, and one that is
    ``held`` has no outputs either; it is complete when its operands have been read.
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
        | (held_fields(system) if system.core.held_importance else {})
        | (dict.fromkeys(("segment", "held"), unsigned(1)) if system.core.merge_rows else {})
    )


class OutputRuns(wiring.Component):
    """Addresses of a layer's outputs ``[head][slot][d_head]``, in the order in which they come.

    With one channel pass, a row block is one run; with more, every row has a run in each pass.
    Row blocks come in the order of :class:`~dtqatten.hw.memory.slots.RowBlocks`.

    Latency: 2 cycles from ``start`` to the first run. Throughput one run a cycle.

    Parameters
    ----------
    system : SystemConfig

    Members
    -------
    start : In(1)
        Begin with ``base``, ``heads``, ``queries``, ``four_bit`` and ``codes``, which stay until
        ``idle``.
    base : In(address_bits)
        First byte.
    heads, queries : In(16), In(range(n_max + 1))
        Both at least 1.
    four_bit : In(range(n_max + 1))
        Queries of the 4-bit class.
    codes : In(1)
        A value has 1 byte in place of 2.
    idle : Out(1)
        All runs are out.
    o : Out(stream.Signature(run_layout(system)))
        Runs.
    """

    def __init__(self, system: SystemConfig) -> None:
        self.system = system
        count = range(system.core.n_max + 1)
        super().__init__(
            {
                "start": In(1),
                "base": In(system.address_bits),
                "heads": In(16),
                "queries": In(count),
                "four_bit": In(count),
                "codes": In(1),
                "idle": Out(1),
                "o": Out(stream.Signature(run_layout(system))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        core = self.system.core
        passes, channels = core.channel_passes, core.d_head
        tail = channels - (passes - 1) * core.cols

        active, free, block_end = Signal(), Signal(), Signal()
        head = Signal(16)
        head_base = Signal(self.system.address_bits)
        blocks = place(m, platform, "blocks", RowBlocks, core)
        m.d.comb += [
            blocks.restart.eq(self.start),
            blocks.tokens.eq(self.queries),
            blocks.four_bit.eq(self.four_bit),
            blocks.next.eq(active & free & block_end),
            free.eq(~self.o.valid | self.o.ready),
            self.idle.eq(~active & ~self.o.valid),
        ]

        def bytes_of(values: Value | int) -> Value:
            return Mux(self.codes, values, values << 1)

        # Channels of the head before the run, and in it.
        before = Signal(range(core.n_max * channels))
        length = Signal(range(core.rows * channels + 1))
        if passes == 1:
            m.d.comb += [
                before.eq(blocks.first * channels),
                length.eq(blocks.size * channels),
                block_end.eq(1),
            ]
        else:
            row, channel_pass = Signal(range(core.rows)), Signal(range(passes))
            last_row, last_pass = Signal(), Signal()
            m.d.comb += [
                last_row.eq(row == blocks.size - 1),
                last_pass.eq(channel_pass == passes - 1),
                before.eq((blocks.first + row) * channels + channel_pass * core.cols),
                length.eq(Mux(last_pass, tail, core.cols)),
                block_end.eq(last_row & last_pass),
            ]
            with m.If(active & free):
                m.d.sync += row.eq(Mux(last_row, 0, row + 1))
                with m.If(last_row):
                    m.d.sync += channel_pass.eq(Mux(last_pass, 0, channel_pass + 1))
        with m.If(free):
            m.d.sync += self.o.valid.eq(active)
            with m.If(active):
                m.d.sync += [
                    self.o.p.address.eq(head_base + bytes_of(before)),
                    self.o.p.size.eq(bytes_of(length)),
                ]
        with m.If(blocks.next & blocks.last):
            m.d.sync += [
                head.eq(head + 1),
                active.eq(head + 1 != self.heads),
                head_base.eq(head_base + bytes_of(self.queries * channels)),
            ]
        with m.If(self.start):
            m.d.sync += [active.eq(1), head.eq(0), head_base.eq(self.base)]
        return m


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
    ports : Out(write_port(system)).array(3)
        Write ports.
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
                "ports": Out(write_port(system)).array(STREAMS),
                **({"fetched": In(1)} if system.core.merge_rows else {}),
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
        lanes = core.output_lanes
        layer = Signal(results_layout(system))
        codes = layer.form.codes
        active, begin = Signal(), Signal()
        held, keeps, fetched = Const(0), Const(1), Const(1)
        if core.merge_rows:
            held, keeps, fetched = layer.held, ~layer.segment, self.fetched
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
        connect(m, runs.o, outputs.runs)
        connect(m, outputs.port, flipped(self.ports[0]))
        as_codes = Cat(value[:8] for value in self.outputs.p.values)
        m.d.comb += [
            runs.start.eq(begin & ~held),
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
        finished = runs.idle & outputs.empty & self._chosen(m, platform, layer, begin, keeps)
        m.d.comb += [
            self.done.eq(active & ~begin & finished & self.answered & (~held | fetched)),
            self.idle.eq(~active),
        ]
        with m.If(self.done):
            m.d.sync += active.eq(0)
        return m

    def _chosen(
        self, m: Module, platform: object, layer: data.View, begin: Value, keeps: Value | int
    ) -> Value:
        """Write the ids that a layer keeps, and importance; return whether all of that is written.

        Parameters
        ----------
        m, platform
            As in ``elaborate``.
        layer : View of results_layout(system)
        begin : Value
            The layer begins.
        keeps : Value or int
            It keeps keys.
        """
        system, core, topk = self.system, self.system.core, topk_config(self.system.core)
        finished: Value = Const(1)
        reported: Value = layer.report
        importance = self.importance
        if core.held_importance:
            reported = reported | layer.held
            m.d.comb += [self.begin.eq(begin), self.current.eq(layer)]
            # No beat may have bytes of two runs.
            m.submodules.splitter = splitter = BeatSplitter(topk.lanes)
            connect(m, flipped(self.importance), splitter.i)
            importance = splitter.o
            finished = finished & self.held_idle

        for number, (source, base, size, wanted, width, count) in enumerate(
            (
                (self.ids, layer.ids, layer.k0 << 1, layer.write_ids, 2, self.ids.p.count),
                (importance, layer.importance, layer.tokens << 2, reported, 4, importance.p.tokens),
            ),
            start=1,
        ):
            items = source.p.ids if number == 1 else source.p.scores
            label = ("ids", "importance")[number - 1]
            channel = place(
                m, platform, f"{label}_channel", WriteChannel, system, width * len(items), width
            )
            connect(m, channel.port, flipped(self.ports[number]))
            # Ids come with every layer, importance only if it is wanted.
            waiting, given = Signal(name=f"{label}_waiting"), Signal(name=f"{label}_given")
            padded = [Signal(8 * width, name=f"{label}_{i}") for i in range(len(items))]
            m.d.comb += [word.eq(item) for word, item in zip(padded, items, strict=True)]
            m.d.comb += [
                channel.runs.p.address.eq(base),
                channel.runs.p.size.eq(size),
                channel.runs.valid.eq(given),
                channel.i.valid.eq(waiting & wanted & source.valid),
                channel.i.p.data.eq(Cat(padded)),
                channel.i.p.count.eq(count * width),
                source.ready.eq(waiting & (~wanted | channel.i.ready)),
            ]
            with m.If(begin):
                # Of a held layer, runs come from elsewhere.
                single = wanted if number == 1 else layer.report
                m.d.sync += [waiting.eq(keeps if number == 1 else wanted), given.eq(single)]
            if number == 2 and core.held_importance:
                m.d.comb += self.held_runs.ready.eq(layer.held & channel.runs.ready)
                with m.If(layer.held):
                    m.d.comb += [
                        channel.runs.valid.eq(self.held_runs.valid),
                        channel.runs.p.eq(self.held_runs.p),
                    ]
            with m.If(channel.runs.valid & channel.runs.ready):
                m.d.sync += given.eq(0)
            with m.If(source.valid & source.ready & source.p.last):
                m.d.sync += waiting.eq(0)
            finished = finished & ~waiting & ~given & channel.empty
        return finished
