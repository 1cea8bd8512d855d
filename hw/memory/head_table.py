"""Reads the table of heads: each head's factor, with what the layer says of all heads."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.bus.read_channel import ReadChannel, read_port
from dtqatten.hw.memory.descriptor import descriptor_layout, flag
from dtqatten.hw.payloads.softmax import NO_SINK, head_layout
from dtqatten.interface.descriptor import ENTRY_BYTES, HEAD_SHIFT_MAX, Flag

__all__ = ["HeadTable"]


class HeadTable(wiring.Component):
    """Give the core a layer's heads, one by one.

    A window beyond all positions hides nothing, so the core gets 0. Without SINKS no head has one.

    Latency: from ``start`` 5 cycles and the memory's to the first head. Throughput one head a
    cycle, or a word of the bus.

    Parameters
    ----------
    system : SystemConfig

    Members
    -------
    start : In(1)
        Begin with ``layer``, which stays until ``idle``.
    layer : In(descriptor_layout())
        Of the heads: where their table is, how many there are, and what all have in common.
    idle : Out(1)
        All heads are out.
    fault, fault_address : Out(1), Out(address_bits)
        An entry has a shift that is too large, or a byte that should be 0; its address.
    port
        Read port.
    o : Out(stream.Signature(head_layout(config)))
        Heads.
    """

    def __init__(self, system: SystemConfig) -> None:
        self.system = system
        core = system.core
        super().__init__(
            {
                "start": In(1),
                "layer": In(descriptor_layout()),
                "idle": Out(1),
                "fault": Out(1),
                "fault_address": Out(system.address_bits),
                "port": Out(read_port(system)),
                "o": Out(stream.Signature(head_layout(core))),
            }
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
        core, sinks = self.system.core, flag(layer, Flag.SINKS)
        reserved = entry[24:32].any() | entry[48:].any() | (~sinks & sink.any())
        m.d.comb += [
            channel.runs.p.address.eq(layer.head_table),
            channel.runs.p.size.eq(layer.heads * ENTRY_BYTES),
            self.o.valid.eq(channel.o.valid),
            channel.o.ready.eq(self.o.ready),
            self.o.p.multiplier.eq(entry[:16]),
            self.o.p.shift.eq(shift),
            self.o.p.causal.eq(flag(layer, Flag.CAUSAL)),
            self.o.p.output.codes.eq(flag(layer, Flag.CODES)),
            self.o.p.output.shift.eq(layer.output_shift),
            self.idle.eq(left == 0),
            self.fault.eq(self.o.valid & ((shift > HEAD_SHIFT_MAX) | reserved)),
            self.fault_address.eq(layer.head_table + (layer.heads - left) * ENTRY_BYTES),
        ]
        if core.windows:
            # Beyond all positions a window hides nothing.
            hides = layer.window <= core.positions
            m.d.comb += self.o.p.window.eq(Mux(hides, layer.window, 0))
        if core.merge_rows:
            m.d.comb += [
                self.o.p.first_segment.eq(~flag(layer, Flag.CONTINUES)),
                self.o.p.last_segment.eq(~flag(layer, Flag.HOLDS)),
                self.o.p.restart.eq(left == 1),
            ]
        if core.sinks:
            m.d.comb += self.o.p.sink.eq(Mux(sinks, sink.as_signed(), NO_SINK))
        with m.If(self.start):
            m.d.sync += [left.eq(layer.heads), channel.runs.valid.eq(1)]
        with m.Elif(self.o.valid & self.o.ready):
            m.d.sync += left.eq(left - 1)
        with m.If(channel.runs.valid & channel.runs.ready):
            m.d.sync += channel.runs.valid.eq(0)
        return m
