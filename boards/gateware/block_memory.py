"""Memory in block RAMs: an AXI4 subordinate for the machine, a port of words for the host."""

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import stream, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from dtqatten.boards.gateware.link import request_layout
from dtqatten.configuration.fields import ConfigError
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.skid import skid
from dtqatten.hw.bus.axi import Response, address_layout, master_members
from dtqatten.interface.descriptor import PAGE_BYTES

__all__ = ["BlockMemory"]


class BlockMemory(wiring.Component):
    """Serve INCR bursts, one read and one write at a time, and between them the host.

    A read's first word is valid 3 cycles after its address is accepted, and one word a cycle
    follows; the next burst begins behind a burst's last word. ``r.ready`` low stalls reads and the
    host's reads. A write takes a word a cycle, and is answered a cycle after its last one; it
    begins while no other write is under way or unanswered. Of both, one more address is accepted,
    and waits: ``ready`` is a register. The
    host's words go first: each takes a cycle from the machine. A read of a word in the cycle in
    which it is written waits a cycle, so that block RAM need not define what it gives. What a write
    that was answered has written, every later read sees. Beats narrower than the bus are on the
    lanes of their address. Bursts that begin outside the memory are answered with DECERR, and their
    words are dropped.

    Parameters
    ----------
    system : SystemConfig
        Widths of the bus.
    base, size : int
        First byte, and bytes: a power of two from a page on, which no burst then leaves, and a
        multiple of it.

    Members
    -------
    bus : In(Signature(master_members(system)))
    request : In(stream.Signature(request_layout()))
        Of words inside the memory; higher address bits are ignored.
    answer : Out(stream.Signature(32))
        The word read; after a write, any.

    Raises
    ------
    ConfigError
        If the size is no power of two or below a page, or the base no multiple of it.
    """

    def __init__(self, system: SystemConfig, base: int, size: int) -> None:
        if size & (size - 1) or size < PAGE_BYTES or base % size:
            raise ConfigError(
                f"memory of {size} bytes at {base:#x}: choose a power of two from {PAGE_BYTES} "
                "on, and a multiple of it"
            )
        self.system, self.base, self.size = system, base, size
        super().__init__(
            {
                "bus": In(wiring.Signature(master_members(system))),
                "request": In(stream.Signature(request_layout())),
                "answer": Out(stream.Signature(32)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth, lanes = self.size // self.system.bus_bytes, self.system.bus_bits // 32
        m.submodules.memory = memory = Memory(
            shape=unsigned(self.system.bus_bits), depth=depth, init=[]
        )
        reads, writes = memory.read_port(), memory.write_port(granularity=8)
        lane_bits = (lanes - 1).bit_length()
        lane, at = self.request.p.word[:lane_bits], self.request.p.word[lane_bits:]
        asked = self.request.valid & ~self.answer.valid
        host_writes, host_reads = Signal(), Signal()
        m.d.comb += [
            host_writes.eq(asked & self.request.p.write),
            host_reads.eq(asked & ~self.request.p.write),
        ]
        with m.If(self.answer.valid & self.answer.ready):
            m.d.sync += self.answer.valid.eq(0)

        # Words are written a cycle after they are accepted.
        written = self._write(m, host_writes)
        with m.If(host_writes):
            m.d.comb += self.request.ready.eq(1)
            m.d.sync += [
                written.enable.eq(0),
                written.enable.word_select(lane, 4).eq(0b1111),
                written.at.eq(at),
                written.data.eq(Cat(self.request.p.data for _ in range(lanes))),
                self.answer.valid.eq(1),
            ]
        m.d.comb += [
            writes.en.eq(written.enable),
            writes.addr.eq(written.at),
            writes.data.eq(written.data),
        ]

        # Reads: an address, what the memory gives of it, a register; all stall together.
        addresses = stream.Signature(address_layout(self.system)).create(path=("ar",))
        # A machine's choice of its next burst has no time for what burst and host do here.
        skid(m, self.bus.ar, addresses, "ar")
        burst, last, inside = self._bursts(m, "read", addresses)
        word = Signal(range(depth))
        advance, issued = Signal(), Signal()
        m.d.comb += [
            word.eq(Mux(host_reads, at, burst.p.addr[self._shift :])),
            reads.addr.eq(word),
            advance.eq(~self.bus.r.valid | self.bus.r.ready),
            reads.en.eq(advance),
            issued.eq(
                advance
                & (host_reads | burst.valid)
                & ~(written.enable.any() & (written.at == word))
            ),
            self.request.ready.eq(host_writes | (host_reads & issued)),
            burst.ready.eq(issued & ~host_reads),
        ]
        for_host, for_bus, place = Signal(), Signal(), Signal(lane_bits)
        beat = Signal(self.bus.r.p.shape())
        with m.If(advance):
            m.d.sync += [
                for_host.eq(issued & host_reads),
                for_bus.eq(issued & ~host_reads),
                place.eq(lane),
                beat.id.eq(burst.p.id),
                beat.last.eq(last),
                beat.resp.eq(Mux(inside, Response.OKAY, Response.DECERR)),
                self.bus.r.valid.eq(for_bus),
                self.bus.r.p.eq(beat),
                self.bus.r.p.data.eq(reads.data),
            ]
            with m.If(for_host):
                m.d.sync += [
                    self.answer.valid.eq(1),
                    self.answer.p.eq(reads.data.word_select(place, 32)),
                ]
        return m

    @property
    def _shift(self) -> int:
        """Address bits within a word."""
        return (self.system.bus_bytes - 1).bit_length()

    def _bursts(self, m: Module, name: str, addresses: Any) -> tuple[Any, Value, Value]:
        """Return a stream of a burst's words, whether one is the last, and inside the memory.

        Parameters
        ----------
        m : Module
        name : str
            Of the signals.
        addresses : stream interface
            AR or AW.
        """
        word = stream.Signature(address_layout(self.system)).create(path=(name,))
        last = word.p.len == 0
        inside = Signal(name=f"{name}_inside")
        done = word.valid & word.ready & last
        m.d.comb += addresses.ready.eq(~word.valid | done)
        with m.If(word.valid & word.ready):
            m.d.sync += [
                word.p.addr.eq(word.p.addr + (1 << word.p.size)),
                word.p.len.eq(word.p.len - 1),
                word.valid.eq(~last),
            ]
        with m.If(addresses.valid & addresses.ready):
            size_bits = (self.size - 1).bit_length()
            m.d.sync += [
                word.valid.eq(1),
                word.p.eq(addresses.p),
                inside.eq(addresses.p.addr >> size_bits == self.base >> size_bits),
            ]
        return word, last, inside

    def _write(self, m: Module, blocked: Value) -> "_Written":
        """Accept the bus's writes unless they are blocked; return what goes into the memory."""
        written = _Written(self.system, self.size // self.system.bus_bytes)
        bus = self.bus
        answered = Signal()
        offered = stream.Signature(address_layout(self.system)).create(path=("aw_offered",))
        skid(m, bus.aw, offered, "aw")
        addresses = stream.Signature(address_layout(self.system)).create(path=("aw",))
        burst, last, inside = self._bursts(m, "write", addresses)
        taken = Signal()
        m.d.comb += [
            answered.eq(~burst.valid & (~bus.b.valid | bus.b.ready)),
            addresses.valid.eq(offered.valid & answered),
            addresses.p.eq(offered.p),
            offered.ready.eq(addresses.ready & answered),
            bus.w.ready.eq(burst.valid & ~blocked),
            taken.eq(bus.w.valid & bus.w.ready),
            burst.ready.eq(taken),
        ]
        m.d.sync += [
            written.enable.eq(Mux(taken & inside, bus.w.p.strb, 0)),
            written.at.eq(burst.p.addr[self._shift :]),
            written.data.eq(bus.w.p.data),
        ]
        with m.If(bus.b.ready):
            m.d.sync += bus.b.valid.eq(0)
        with m.If(taken & last):
            m.d.sync += [
                bus.b.valid.eq(1),
                bus.b.p.id.eq(burst.p.id),
                bus.b.p.resp.eq(Mux(inside, Response.OKAY, Response.DECERR)),
            ]
        return written


class _Written:
    """What goes into the memory in a cycle.

    Parameters
    ----------
    system : SystemConfig
    depth : int
        Words.
    """

    def __init__(self, system: SystemConfig, depth: int) -> None:
        self.enable = Signal(system.bus_bytes, name="write_enable")
        self.at = Signal(range(depth), name="write_at")
        self.data = Signal(system.bus_bits, name="write_data")
