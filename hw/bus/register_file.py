"""Control registers on AXI4-Lite, generated from the table of registers."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.bus.axi import Response, lite_members
from dtqatten.interface.registers import REGISTERS, Access

__all__ = ["RegisterFile"]


class RegisterFile(wiring.Component):
    """Serve :data:`dtqatten.interface.registers.REGISTERS`.

    A read or a write takes 2 cycles; both may run at the same time. SLVERR (and 0) answers an
    access to an unlisted offset, a write to a read-only register, and a write of 1 to a bit without
    a name; such a write changes nothing. Registers of 64 bits are read and written as two words.

    Members
    -------
    lite
        AXI4-Lite channels.
    busy : In(1)
        Locked registers do not change.
    <name>
        For each register: ``In(bits)`` if it is read only; ``Out(bits)`` if it is written, a pulse
        in the cycle after the write, or cleared.
    <name>_set : In(bits)
        For each register that software clears: bits to set, with precedence over clearing.
    """

    def __init__(self) -> None:
        members = {"lite": Out(wiring.Signature(lite_members())), "busy": In(1)}
        for register in REGISTERS:
            flow = In if register.access is Access.READ else Out
            members[register.name] = flow(register.bits, init=register.init)
            if register.access is Access.CLEAR:
                members[f"{register.name}_set"] = In(register.bits)
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        aw, w, b, ar, r = (getattr(self.lite, name) for name in ("aw", "w", "b", "ar", "r"))

        # 32-bit words by address: register, and which of its words.
        words = {
            register.offset + 4 * i: (register, i)
            for register in REGISTERS
            for i in range(register.bits // 32)
        }

        free = Signal()
        written = Signal()
        m.d.comb += [
            free.eq(~b.valid | b.ready),
            written.eq(aw.valid & w.valid & free),
            aw.ready.eq(written),
            w.ready.eq(written),
        ]
        with m.If(free):
            m.d.sync += b.valid.eq(written)
        with m.If(written):
            m.d.sync += b.p.eq(Response.SLVERR)
        mask = Cat(bit.replicate(8) for bit in w.p.strb)

        for register in REGISTERS:
            if register.access is Access.PULSE:
                m.d.sync += getattr(self, register.name).eq(0)
        for address, (register, i) in words.items():
            if register.access is Access.READ:
                continue
            value = getattr(self, register.name)
            part = value[32 * i : 32 * i + 32]
            hit = written & (aw.p[2:] == address >> 2)
            if register.flags is not None:
                nameless = ~int(~register.flags(0)) & 0xFFFFFFFF
                hit &= (w.p.data & mask & nameless) == 0
            with m.If(hit):
                m.d.sync += b.p.eq(Response.OKAY)
                match register.access:
                    case Access.PULSE:
                        m.d.sync += part.eq(w.p.data & mask)
                    case Access.CLEAR:
                        m.d.sync += part.eq(part & ~(w.p.data & mask))
                    case Access.WRITE:
                        with m.If(~self.busy if register.locked else 1):
                            m.d.sync += part.eq((part & ~mask) | (w.p.data & mask))
        for register in REGISTERS:
            if register.access is Access.CLEAR:
                value, events = getattr(self, register.name), getattr(self, f"{register.name}_set")
                for bit in range(register.bits):
                    with m.If(events[bit]):
                        m.d.sync += value[bit].eq(1)

        m.d.comb += ar.ready.eq(~r.valid | r.ready)
        with m.If(ar.ready):
            m.d.sync += r.valid.eq(ar.valid)
        with m.If(ar.valid & ar.ready):
            m.d.sync += [r.p.data.eq(0), r.p.resp.eq(Response.SLVERR)]
            with m.Switch(ar.p[2:]):
                for address, (register, i) in words.items():
                    with m.Case(address >> 2):
                        value = Value.cast(getattr(self, register.name))[32 * i : 32 * i + 32]
                        shown = 0 if register.access is Access.PULSE else value
                        m.d.sync += [r.p.data.eq(shown), r.p.resp.eq(Response.OKAY)]
        return m
