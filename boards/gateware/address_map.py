"""Where the host's words are: in memory, in the machine's registers, or in the link's."""

from amaranth.hdl import C, Cat, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.boards.gateware.link import request_layout
from dtqatten.hw.bus.axi import Response, lite_members
from dtqatten.interface.host_link import (
    LINK_BASE,
    LINK_IDENTIFIER,
    LINK_VERSION,
    MEMORY_BASE,
    REGISTER_BASE,
    LinkRegister,
)
from dtqatten.interface.registers import ADDRESS_BITS

__all__ = ["AddressMap"]


class AddressMap(wiring.Component):
    """Give each word to what has its address, and the answer back.

    One request at a time. What no one has, a write of the link's registers, and what the machine's
    registers refuse is answered with 0 and counted. The link's registers answer in the cycle after
    the request, the others a cycle after memory or register file.

    Parameters
    ----------
    memory_bytes : int
        A power of two.
    clock_hz : int

    Members
    -------
    request : In(stream.Signature(request_layout()))
    answer : Out(stream.Signature(32))
    lite : In(Signature(lite_members()))
        To the machine's registers.
    memory : Out(stream.Signature(request_layout()))
    memory_answer : In(stream.Signature(32))
    received, sent : In(32)
        Checksums that the link's registers show.
    refused : Out(1)
        Something has been refused since the reset.
    """

    def __init__(self, memory_bytes: int, clock_hz: int) -> None:
        self.memory_bytes, self.clock_hz = memory_bytes, clock_hz
        super().__init__(
            {
                "request": In(stream.Signature(request_layout())),
                "answer": Out(stream.Signature(32)),
                "lite": In(wiring.Signature(lite_members())),
                "memory": Out(stream.Signature(request_layout())),
                "memory_answer": In(stream.Signature(32)),
                "received": In(32),
                "sent": In(32),
                "refused": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        word, write = self.request.p.word, self.request.p.write
        count = Signal(32)
        own, known = self._own(m, word, count)
        m.d.comb += [
            self.memory.p.eq(self.request.p),
            self.lite.aw.p.eq(Cat(C(0, 2), word)),
            self.lite.ar.p.eq(Cat(C(0, 2), word)),
            self.lite.w.p.data.eq(self.request.p.data),
            self.lite.w.p.strb.eq(0b1111),
            self.refused.eq(count != 0),
        ]

        def among(base: int, size: int) -> Value:
            """Whether the word is one of ``size`` bytes from ``base`` on."""
            bits = (size // 4 - 1).bit_length()
            return word >> bits == base // 4 >> bits

        def answered(value: Value | int, refused: Value | int) -> None:
            m.d.sync += [
                self.answer.valid.eq(1),
                self.answer.p.eq(value),
                count.eq(count + refused),
            ]
            m.next = "ANSWER"

        with m.FSM():
            with m.State("REQUEST"), m.If(self.request.valid):
                with m.If(among(MEMORY_BASE, self.memory_bytes)):
                    m.d.comb += self.memory.valid.eq(1)
                    with m.If(self.memory.ready):
                        m.next = "MEMORY"
                with m.Elif(among(REGISTER_BASE, 1 << ADDRESS_BITS) & write):
                    # The register file takes both at once.
                    m.d.comb += [self.lite.aw.valid.eq(1), self.lite.w.valid.eq(1)]
                    with m.If(self.lite.aw.ready):
                        m.next = "WRITTEN"
                with m.Elif(among(REGISTER_BASE, 1 << ADDRESS_BITS)):
                    m.d.comb += self.lite.ar.valid.eq(1)
                    with m.If(self.lite.ar.ready):
                        m.next = "READ"
                with m.Else():
                    answered(own, write | ~known)
                # Register file and link take a request at once.
                m.d.comb += self.request.ready.eq(
                    ~among(MEMORY_BASE, self.memory_bytes) | self.memory.ready
                )
            with m.State("MEMORY"):
                m.d.comb += self.memory_answer.ready.eq(1)
                with m.If(self.memory_answer.valid):
                    answered(self.memory_answer.p, 0)
            with m.State("WRITTEN"):
                m.d.comb += self.lite.b.ready.eq(1)
                with m.If(self.lite.b.valid):
                    answered(0, self.lite.b.p != Response.OKAY)
            with m.State("READ"):
                m.d.comb += self.lite.r.ready.eq(1)
                with m.If(self.lite.r.valid):
                    answered(self.lite.r.p.data, self.lite.r.p.resp != Response.OKAY)
            with m.State("ANSWER"), m.If(self.answer.ready):
                m.d.sync += self.answer.valid.eq(0)
                m.next = "REQUEST"
        return m

    def _own(self, m: Module, word: Value, refused: Value) -> tuple[Value, Value]:
        """Return the link's register of a word's address, else 0, and whether there is one."""
        value, known = Signal(32, name="own"), Signal(name="known")
        shown = {
            LinkRegister.ID: LINK_IDENTIFIER,
            LinkRegister.VERSION: LINK_VERSION,
            LinkRegister.MEMORY_BYTES: self.memory_bytes,
            LinkRegister.CLOCK_HZ: self.clock_hz,
            LinkRegister.RECEIVED: self.received,
            LinkRegister.SENT: self.sent,
            LinkRegister.REFUSED: refused,
        }
        with m.Switch(word):
            for register, content in shown.items():
                with m.Case(LINK_BASE // 4 + register):
                    m.d.comb += [value.eq(content), known.eq(1)]
        return value, known
