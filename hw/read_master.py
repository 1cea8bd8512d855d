"""AXI4 read master: streams share one address channel, answers go back by ID."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from dtqatten.hw.axi import Response, address_layout, read_data_layout
from dtqatten.hw.read_channel import read_port, request_layout
from dtqatten.hw.window import PAGE_BITS, contains, window_layout
from dtqatten.system_config import SystemConfig

__all__ = ["ReadMaster", "rotated_choice"]


def rotated_choice(m: Module, wanting: Signal, granted: Signal, name: str) -> Signal:
    """Return the index of the next bit of ``wanting`` after that of ``granted``, in a ring."""
    count = len(wanting)
    choice = Signal(range(count), name=name)
    m.d.comb += choice.eq(granted)
    # Later statements override: the lowest bit above the granted one, else the lowest.
    for i in reversed(range(count)):
        with m.If(wanting[i]):
            m.d.comb += choice.eq(i)
    for i in reversed(range(1, count)):
        with m.If(wanting[i] & (granted < i)):
            m.d.comb += choice.eq(i)
    return choice


class ReadMaster(wiring.Component):
    """Issue the bursts of ``streams`` streams, in turn, and route what comes back.

    The ID of a burst is its stream's number; answers may come interleaved and in any order of the
    IDs. They are always taken, as streams request what they have room for. A burst outside the
    window is never issued: it stays, and is reported.

    Latency: 1 cycle from a request to AR, none from R to the stream. Throughput one burst and one
    word a cycle.

    Parameters
    ----------
    system : SystemConfig
    streams : int

    Members
    -------
    ports : In(read_port(system)).array(streams)
        Bursts and answers of the streams.
    ar, r
        AXI4 channels.
    window : In(window_layout(system))
        Pages that may be read; constant while not ``idle``.
    stop : In(1)
        Issue no burst; one on offer at ``ar`` stays.
    idle : Out(1)
        Nothing is on offer or due.
    outside : Out(1)
        A request is outside the window.
    failed : Out(1)
        A word was answered with an error.
    address : Out(address_bits)
        Of the request outside, else of the word that failed.
    issued, stalled, came : Out(1)
        A burst was accepted, or waited, or a word came.
    """

    def __init__(self, system: SystemConfig, streams: int) -> None:
        self.system, self.streams = system, streams
        super().__init__(
            {
                "ports": In(read_port(system)).array(streams),
                "ar": Out(stream.Signature(address_layout(system))),
                "r": In(stream.Signature(read_data_layout(system))),
                "window": In(window_layout(system)),
                "stop": In(1),
                "idle": Out(1),
                "outside": Out(1),
                "failed": Out(1),
                "address": Out(system.address_bits),
                "issued": Out(1),
                "stalled": Out(1),
                "came": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system = self.system
        byte = ceil_log2(system.bus_bytes)

        granted = Signal(range(self.streams))
        wanting = Cat(port.request.valid for port in self.ports)
        choice = rotated_choice(m, wanting, granted, "choice")
        request = Signal(request_layout(system))
        address = Signal(system.address_bits)
        wanted, allowed, free, taken = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            request.eq(Array(Value.cast(port.request.p) for port in self.ports)[choice]),
            address.eq(request.word << byte),
            wanted.eq(wanting.any()),
            allowed.eq(contains(self.window, address[PAGE_BITS:])),
            free.eq(~self.ar.valid | self.ar.ready),
            taken.eq(wanted & allowed & free & ~self.stop),
            self.outside.eq(wanted & ~allowed),
        ]
        for i, port in enumerate(self.ports):
            m.d.comb += [
                port.request.ready.eq(taken & (choice == i)),
                port.answer.eq(self.r.valid & (self.r.p.id == i)),
                port.data.eq(self.r.p.data),
            ]
        with m.If(free):
            m.d.sync += self.ar.valid.eq(taken)
        with m.If(taken):
            m.d.sync += [
                granted.eq(choice),
                self.ar.p.id.eq(choice),
                self.ar.p.addr.eq(address),
                self.ar.p.len.eq(request.beats - 1),
            ]

        # Words that are still to come, those of the burst on offer included.
        due = Signal(range(self.streams * system.buffer_beats + 1))
        answered = Array(port.answered for port in self.ports)[self.r.p.id]
        m.d.comb += [
            self.r.ready.eq(1),
            self.came.eq(self.r.valid),
            self.failed.eq(
                self.r.valid
                & ((self.r.p.resp == Response.SLVERR) | (self.r.p.resp == Response.DECERR))
            ),
            self.address.eq(Mux(self.outside, address, answered << byte)),
            self.idle.eq(~self.ar.valid & (due == 0)),
            self.issued.eq(self.ar.valid & self.ar.ready),
            self.stalled.eq(self.ar.valid & ~self.ar.ready),
        ]
        m.d.sync += due.eq(due + Mux(taken, request.beats, 0) - self.r.valid)
        return m
