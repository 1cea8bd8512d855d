"""AXI4-Lite from a clock of its own to that of the registers, and the interrupt back."""

from amaranth.hdl import Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from dtqatten.hw.bus.access_crossing import AccessCrossing
from dtqatten.hw.bus.axi import LITE_DOMAIN, Response, lite_members

__all__ = ["LiteCrossing"]


class LiteCrossing(wiring.Component):
    """Put the registers on clock ``sync`` behind an AXI4-Lite host on clock ``s_axil``.

    Writes and reads cross by an :class:`~dtqatten.hw.bus.access_crossing.AccessCrossing` each, one
    of each kind at a time; a write is taken with address and data at once. SLVERR answers an access
    that meets a reset of the machine.

    The interrupt crosses by two registers. It is low no later than the answer to the write that
    clears it, so a handler that waits for its write is not called again.

    Members
    -------
    lite
        AXI4-Lite channels, clock ``s_axil``.
    registers
        AXI4-Lite channels of the registers, clock ``sync``.
    pending : In(1)
        Clock ``sync``: the interrupt.
    irq : Out(1)
        Clock ``s_axil``: the same.
    """

    def __init__(self) -> None:
        channels = wiring.Signature(lite_members())
        super().__init__(
            {"lite": Out(channels), "registers": In(channels), "pending": In(1), "irq": Out(1)}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        host, registers = self.lite, self.registers
        written = data.StructLayout({"addr": host.aw.p.shape(), "word": host.w.p.shape()})
        m.submodules.writes = writes = AccessCrossing(written, Response, refused=Response.SLVERR)
        both = Signal()
        m.d.comb += [
            both.eq(host.aw.valid & host.w.valid),
            writes.i.valid.eq(both),
            writes.i.p.addr.eq(host.aw.p),
            writes.i.p.word.eq(host.w.p),
            host.aw.ready.eq(both & writes.i.ready),
            host.w.ready.eq(both & writes.i.ready),
            # The registers take address and data at once, too.
            registers.aw.valid.eq(writes.access.valid),
            registers.w.valid.eq(writes.access.valid),
            registers.aw.p.eq(writes.access.p.addr),
            registers.w.p.eq(writes.access.p.word),
            writes.access.ready.eq(registers.aw.ready),
        ]
        found = data.StructLayout({"data": 32, "resp": Response})
        nothing = found.const({"data": 0, "resp": Response.SLVERR})
        m.submodules.reads = reads = AccessCrossing(host.ar.p.shape(), found, refused=nothing)
        m.d.comb += [
            reads.i.valid.eq(host.ar.valid),
            reads.i.p.eq(host.ar.p),
            host.ar.ready.eq(reads.i.ready),
            registers.ar.valid.eq(reads.access.valid),
            registers.ar.p.eq(reads.access.p),
            reads.access.ready.eq(registers.ar.ready),
        ]
        for answered, crossing, asked in (
            (host.b, writes, registers.b),
            (host.r, reads, registers.r),
        ):
            m.d.comb += [
                answered.valid.eq(crossing.o.valid),
                answered.p.eq(crossing.o.p),
                crossing.o.ready.eq(answered.ready),
                crossing.answer.valid.eq(asked.valid),
                crossing.answer.p.eq(asked.p),
                asked.ready.eq(crossing.answer.ready),
            ]
        # What crosses comes from a register, so that no glitch does.
        held = Signal()
        m.d.sync += held.eq(self.pending)
        m.submodules.irq_synchronizer = FFSynchronizer(held, self.irq, o_domain=LITE_DOMAIN)
        return m
