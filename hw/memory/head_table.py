"""Reads the table of heads: each head's factor, with what the layer says of all heads."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.base.fork import fork
from dtqatten.hw.bus.read_channel import ReadChannel, read_port
from dtqatten.hw.memory.descriptor import descriptor_layout, flag
from dtqatten.hw.payloads.heads import weight_layout
from dtqatten.hw.payloads.softmax import NO_SINK, factor_layout, head_layout
from dtqatten.interface.descriptor import ENTRY_BYTES, HEAD_SHIFT_MAX, Flag

__all__ = ["EntryReader", "HeadTable", "core_head", "table_members", "weights_member"]


def core_head(m: Module, config: Config, layer: data.View, head: data.View, last: Value) -> None:
    """Give a head of the core what all heads of a layer have: mask, output, and segment.

    A window beyond all positions hides nothing, so the core gets 0.

    Parameters
    ----------
    m : Module
    config : Config
    layer : View of descriptor_layout()
    head : View of head_layout(config)
    last : Value
        It is the layer's last one.
    """
    m.d.comb += [
        head.causal.eq(flag(layer, Flag.CAUSAL)),
        head.output.codes.eq(flag(layer, Flag.CODES)),
        head.output.shift.eq(layer.output_shift),
    ]
    if config.windows:
        hides = layer.window <= config.positions
        m.d.comb += head.window.eq(Mux(hides, layer.window, 0))
    if config.bias_heads:
        m.d.comb += head.biased.eq(flag(layer, Flag.KEY_BIAS))
    if config.progressive:
        m.d.comb += [
            head.progressive.eq(flag(layer, Flag.PROGRESSIVE)),
            head.flat_sum.eq(layer.flat_sum),
        ]
    if config.chosen_values:
        m.d.comb += head.share.eq(Mux(flag(layer, Flag.CHOSEN_VALUES), layer.value_share, 0))
    if config.merge_rows:
        m.d.comb += [
            head.first_segment.eq(~flag(layer, Flag.CONTINUES)),
            head.last_segment.eq(~flag(layer, Flag.HOLDS)),
            head.restart.eq(last),
        ]


def weights_member() -> wiring.Member:
    """Member of what gives the weights of heads that can be pruned."""
    return Out(stream.Signature(weight_layout()))


def table_members(system: SystemConfig) -> dict[str, wiring.Member]:
    """Members of what reads the table of heads."""
    return {
        "start": In(1),
        "layer": In(descriptor_layout()),
        "idle": Out(1),
        "fault": Out(1),
        "fault_address": Out(system.address_bits),
        "port": Out(read_port(system)),
    } | ({"kept": In(system.core.heads)} if system.core.head_pruning else {})


class EntryReader(wiring.Component):
    """Read the table of heads: the factor of each query head, and its sink.

    Without SINKS no head has one. Where heads can be pruned, all in memory are read, those that are
    pruned are dropped, and an entry has the weight of its head's outputs, too.

    Latency: from ``start`` 7 cycles and the memory's to the first entry. Throughput one entry a
    cycle, or a word of the bus.

    Parameters
    ----------
    system : SystemConfig

    Members
    -------
    start : In(1)
        Begin with ``layer``, which stays until ``idle``.
    layer : In(descriptor_layout())
        Where its table is, and how many heads there are.
    idle : Out(1)
        All entries are out.
    kept : In(heads)
        Where heads can be pruned: which are computed, a bit for each in memory.
    fault, fault_address : Out(1), Out(address_bits)
        An entry has a shift that is too large, or a byte that should be 0; its address.
    port
        Read port.
    o : Out(stream.Signature(factor_layout(config)))
        Entries.
    weight : Out(weight_layout())
        Where heads can be pruned: that of the entry.
    last : Out(1)
        Where rows can be merged: it is the last entry's turn.
    """

    def __init__(self, system: SystemConfig) -> None:
        self.system = system
        super().__init__(
            {
                **table_members(system),
                "o": Out(stream.Signature(factor_layout(system.core))),
            }
            | ({"last": Out(1)} if system.core.merge_rows else {})
            | ({"weight": Out(weight_layout())} if system.core.head_pruning else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        channel = place(
            m, platform, "channel", ReadChannel, self.system, 2 * ENTRY_BYTES, ENTRY_BYTES
        )
        connect(m, channel.port, flipped(self.port))
        layer = self.layer
        left = Signal.like(layer.heads)
        entry = Value.cast(channel.o.p)
        shift, sink = entry[16:24], entry[32:48]
        sinks = flag(layer, Flag.SINKS)
        reserved = ~sinks & sink.any()
        heads, pruned, misused = self._weigh(m, entry, left)
        reserved |= misused
        m.d.comb += [
            channel.runs.p.address.eq(layer.head_table),
            channel.runs.p.size.eq(heads * ENTRY_BYTES),
            self.o.valid.eq(channel.o.valid & ~pruned),
            channel.o.ready.eq(self.o.ready | pruned),
            self.o.p.multiplier.eq(entry[:16]),
            self.o.p.shift.eq(shift),
            self.idle.eq(left == 0),
            self.fault.eq(channel.o.valid & ((shift > HEAD_SHIFT_MAX) | reserved)),
            self.fault_address.eq(layer.head_table + (heads - left) * ENTRY_BYTES),
        ]
        if self.system.core.merge_rows:
            m.d.comb += self.last.eq(left == 1)
        if self.system.core.sinks:
            m.d.comb += self.o.p.sink.eq(Mux(sinks, sink.as_signed(), NO_SINK))
        with m.If(self.start):
            m.d.sync += [left.eq(heads), channel.runs.valid.eq(1)]
        with m.Elif(channel.o.valid & channel.o.ready):
            m.d.sync += left.eq(left - 1)
        with m.If(channel.runs.valid & channel.runs.ready):
            m.d.sync += channel.runs.valid.eq(0)
        return m

    def _weigh(self, m: Module, entry: Value, left: Value) -> tuple[Value, Value, Value]:
        """Give the weight of an entry, where heads can be pruned.

        Parameters
        ----------
        m : Module
        entry : Value
            The entry whose turn it is.
        left : Value
            How many are left, this one included.

        Returns
        -------
        tuple of Value
            Heads in memory; whether this one is pruned; whether bytes of its weight are wrong.
        """
        layer, shift, multiplier = self.layer, entry[24:32], entry[48:64]
        given = Cat(shift, multiplier).any()
        if not self.system.core.head_pruning:
            return layer.heads, Const(0), given
        heads = Mux(flag(layer, Flag.HEADS_CHAINED), layer.stored_heads, layer.heads)
        place = Signal(range(len(self.kept)), name="place")
        m.d.comb += [
            place.eq(heads - left),
            self.weight.multiplier.eq(multiplier),
            self.weight.shift.eq(shift),
        ]
        misused = Mux(layer.keep_heads == 0, given, shift > HEAD_SHIFT_MAX)
        return heads, ~self.kept.bit_select(place, 1), misused


class HeadTable(wiring.Component):
    """Give the core a layer's heads, one by one, each with its factor.

    Latency and throughput: those of :class:`EntryReader`.

    Parameters
    ----------
    system : SystemConfig

    Members
    -------
    start, layer, idle, kept, fault, fault_address, port
        As of :class:`EntryReader`.
    o : Out(stream.Signature(head_layout(config)))
        Heads.
    weights : Out(stream.Signature(weight_layout()))
        Where heads can be pruned: the weight of each.
    """

    def __init__(self, system: SystemConfig) -> None:
        self.system = system
        super().__init__(
            {
                **table_members(system),
                "o": Out(stream.Signature(head_layout(system.core))),
            }
            | ({"weights": weights_member()} if system.core.head_pruning else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        core = self.system.core
        entries = place(m, platform, "entries", EntryReader, self.system)
        connect(m, entries.port, flipped(self.port))
        m.d.comb += [
            entries.start.eq(self.start),
            entries.layer.eq(self.layer),
            self.idle.eq(entries.idle),
            self.fault.eq(entries.fault),
            self.fault_address.eq(entries.fault_address),
        ]
        if core.head_pruning:
            m.d.comb += [entries.kept.eq(self.kept), self.weights.p.eq(entries.weight)]
            fork(m, entries.o, [self.o, self.weights], [Const(1), Const(1)], "entry")
        else:
            m.d.comb += [self.o.valid.eq(entries.o.valid), entries.o.ready.eq(self.o.ready)]
        m.d.comb += [self.o.p[name].eq(entries.o.p[name]) for name, _ in factor_layout(core)]
        last = entries.last if core.merge_rows else Const(0)
        core_head(m, core, self.layer, self.o.p, last)
        return m
