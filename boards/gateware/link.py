"""The host's packets: from bytes to reads and writes of words, and back."""

from amaranth.hdl import C, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.crc.catalog import CRC32_ETHERNET
from amaranth.lib.wiring import In, Out

from dtqatten.boards.gateware.uart import received_layout
from dtqatten.interface.host_link import Command

__all__ = ["PacketEngine", "request_layout"]


def request_layout() -> data.StructLayout:
    """A read or a write of the word at byte address ``4 * word``."""
    return data.StructLayout({"word": unsigned(32), "data": unsigned(32), "write": unsigned(1)})


class PacketEngine(wiring.Component):
    """Serve the packets of :mod:`dtqatten.interface.host_link`, one word at a time.

    A byte is taken a cycle while a packet is read; a word is requested a cycle after its last byte,
    and the next byte is taken when it has been answered. A word that was read goes out as four
    bytes, the next one is requested after the last of them. Bytes that begin no packet are skipped,
    and so are packets of no words. A broken frame, or ``silence`` cycles without a byte, ends a
    packet that is not complete: words that it has completed stay written.

    Parameters
    ----------
    silence : int
        Cycles, at least 1.

    Members
    -------
    i : In(stream.Signature(received_layout()))
    o : Out(stream.Signature(8))
    request : Out(stream.Signature(request_layout()))
    answer : In(stream.Signature(32))
        To each request one: the word that was read; after a write, any.
    received, sent : Out(32)
        CRC-32 of the bytes taken from ``i``, and given to ``o``; a cycle later.
    idle : Out(1)
        Between packets.
    """

    def __init__(self, silence: int) -> None:
        if silence < 1:
            raise ValueError(f"silence is {silence}: give 1 cycle at least")
        self.silence = silence
        super().__init__(
            {
                "i": In(stream.Signature(received_layout())),
                "o": Out(stream.Signature(8)),
                "request": Out(stream.Signature(request_layout())),
                "answer": In(stream.Signature(32)),
                "received": Out(32),
                "sent": Out(32),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        command, left, place = Signal(8), Signal(8), Signal(2)
        address, word = Signal(32), Signal(32)
        quiet = Signal(range(self.silence + 1))
        taken, forgotten = Signal(), Signal()
        byte = self.i.p.byte
        reads = (command == Command.READ) | (command == Command.READ_FIXED)
        fixed = (command == Command.READ_FIXED) | (command == Command.WRITE_FIXED)
        m.d.comb += [
            taken.eq(self.i.valid & self.i.ready & ~self.i.p.broken),
            forgotten.eq(~taken & ((self.i.valid & self.i.p.broken) | (quiet == self.silence - 1))),
            self.request.p.word.eq(address),
            self.request.p.data.eq(word),
            self.request.p.write.eq(~reads),
            self.o.p.eq(word[24:]),
        ]
        m.d.sync += quiet.eq(Mux(self.i.ready & ~self.idle & ~taken, quiet + 1, 0))
        with m.FSM():
            with m.State("COMMAND"):
                m.d.comb += [self.i.ready.eq(1), self.idle.eq(1)]
                m.d.sync += command.eq(byte)
                with m.If(taken & (byte >= min(Command)) & (byte <= max(Command))):
                    m.next = "COUNT"
            with m.State("COUNT"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(forgotten):
                    m.next = "COMMAND"
                m.d.sync += [left.eq(byte), place.eq(0)]
                with m.If(taken):
                    m.next = "ADDRESS"
                    with m.If(byte == 0):
                        m.next = "COMMAND"
            with m.State("ADDRESS"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(forgotten):
                    m.next = "COMMAND"
                with m.If(taken):
                    m.d.sync += [address.eq(Cat(byte, address)), place.eq(place + 1)]
                    with m.If(place == 3):
                        m.next = "DATA"
                        with m.If(reads):
                            m.next = "REQUEST"
            with m.State("DATA"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(forgotten):
                    m.next = "COMMAND"
                with m.If(taken):
                    m.d.sync += [word.eq(Cat(byte, word)), place.eq(place + 1)]
                    with m.If(place == 3):
                        m.next = "REQUEST"
            with m.State("REQUEST"):
                m.d.comb += self.request.valid.eq(1)
                with m.If(self.request.ready):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.answer.ready.eq(1)
                m.d.sync += word.eq(self.answer.p)
                with m.If(self.answer.valid):
                    with m.If(reads):
                        m.next = "SEND"
                    with m.Else():
                        m.next = "NEXT"
            with m.State("SEND"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [word.eq(Cat(C(0, 8), word)), place.eq(place + 1)]
                    with m.If(place == 3):
                        m.next = "NEXT"
            with m.State("NEXT"):
                m.d.sync += [left.eq(left - 1), address.eq(address + ~fixed)]
                m.next = "COMMAND"
                with m.If(left != 1):
                    m.next = "DATA"
                    with m.If(reads):
                        m.next = "REQUEST"
        for name, counted, value in (
            ("received", taken, byte),
            ("sent", self.o.valid & self.o.ready, self.o.p),
        ):
            m.submodules[f"{name}_crc"] = crc = CRC32_ETHERNET(data_width=8).create()
            m.d.comb += [
                crc.data.eq(value),
                crc.valid.eq(counted),
                getattr(self, name).eq(crc.crc),
            ]
        return m
