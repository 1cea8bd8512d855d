"""AXI4 read master: streams share one address channel; answers return by ID."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.bus.arbiter import BurstChooser
from dtqatten.hw.bus.axi import address_layout, is_error, read_data_layout
from dtqatten.hw.bus.read_channel import read_port
from dtqatten.hw.bus.window import window_layout

__all__ = ["ReadMaster"]


class ReadMaster(wiring.Component):
    """Issue the bursts of ``streams`` streams, and route the answers.

    Streams take turns. Those that are ``late`` have what the others leave: they request a word for
    each cycle in which none came, of up to two bursts, and up to a burst in advance. To request
    more would make the words of the others come later, since a bus that is busy answers in the
    order of the requests.

    The ID of a burst is its stream's number; answers of different IDs may be interleaved and
    reordered. They are always taken, as streams request only what they have room for. A burst
    outside the window is never issued: it stays until ``stop``, and is reported.

    Latency: 3 cycles from a request to AR, none from R to the stream. Throughput one burst and one
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
    late : In(streams)
        Streams that let others go first.
    window : In(window_layout(system))
        Pages that may be read; constant while not ``idle``.
    stop : In(1)
        Issue no burst; one on offer at ``ar`` stays, one that is chosen is forgotten: streams are
        reset before it ends.
    idle : Out(1)
        Nothing is chosen, on offer or due.
    outside : Out(1)
        A burst is outside the window.
    failed : Out(1)
        A word was answered with an error.
    stream : Out(range(streams))
        The stream whose word arrives.
    address : Out(address_bits)
        First byte requested of the word that failed, else of the burst outside the window.
    issued, stalled, came : Out(1)
        A burst was accepted; a burst waited; a word arrived.
    asked_bytes : Out(range(burst_beats * bus_bytes + 1))
        Bytes of the burst accepted.

    Attributes
    ----------
    chooser : BurstChooser
        What decides whose burst is next; for proofs.
    """

    def __init__(self, system: SystemConfig, streams: int) -> None:
        self.system, self.streams = system, streams
        super().__init__(
            {
                "ports": In(read_port(system)).array(streams),
                "ar": Out(stream.Signature(address_layout(system))),
                "r": In(stream.Signature(read_data_layout(system))),
                "late": In(streams),
                "window": In(window_layout(system)),
                "stop": In(1),
                "idle": Out(1),
                "outside": Out(1),
                "failed": Out(1),
                "stream": Out(range(streams)),
                "address": Out(system.address_bits),
                "issued": Out(1),
                "stalled": Out(1),
                "came": Out(1),
                "asked_bytes": Out(range(system.burst_beats * system.bus_bytes + 1)),
            }
        )
        self.chooser = BurstChooser(system, streams)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system = self.system
        m.submodules.chooser = chooser = self.chooser
        burst = chooser.o.p
        # Cycles without a word, less the words that late streams have requested.
        spare = Signal(range(-system.burst_beats, 2 * system.burst_beats))
        taken, late_turn, is_late = Signal(), Signal(), Signal()
        m.d.comb += [
            chooser.window.eq(self.window),
            chooser.stop.eq(self.stop),
            chooser.late.eq(self.late),
            chooser.left.eq(spare > 0),
            chooser.left_then.eq(spare > Mux(late_turn, system.burst_beats, 0)),
            chooser.more.eq(Cat(port.more for port in self.ports)),
            chooser.o.ready.eq(~self.ar.valid | self.ar.ready),
            taken.eq(chooser.o.valid & chooser.o.ready),
            self.outside.eq(chooser.outside),
        ]
        for i, port in enumerate(self.ports):
            connect(m, flipped(port.request), chooser.requests[i])
            m.d.comb += [
                port.answer.eq(self.r.valid & (self.r.p.id == i)),
                port.data.eq(self.r.p.data),
            ]
        with m.If(chooser.o.ready):
            m.d.sync += self.ar.valid.eq(taken)
        with m.If(taken):
            m.d.sync += [
                self.ar.p.id.eq(burst.stream),
                self.ar.p.addr.eq(burst.address),
                self.ar.p.len.eq(burst.beats - 1),
                self.ar.p.size.eq(burst.width),
            ]

        m.d.comb += [
            late_turn.eq((chooser.turn & self.late).any()),
            is_late.eq(chooser.taken & late_turn),
        ]
        with m.If(is_late):
            m.d.sync += spare.eq(spare - chooser.beats)
        with m.Elif(~self.r.valid & (spare != 2 * system.burst_beats - 1)):
            m.d.sync += spare.eq(spare + 1)

        # Words that are due, including those of the burst on offer.
        due = Signal(range(self.streams * system.buffer_beats + 1))
        answered = Array(port.answered for port in self.ports)[self.r.p.id]
        m.d.comb += [
            self.r.ready.eq(1),
            self.came.eq(self.r.valid),
            self.failed.eq(self.r.valid & is_error(self.r.p.resp)),
            self.stream.eq(self.r.p.id),
            self.address.eq(Mux(self.outside & ~self.failed, burst.address, answered)),
            self.idle.eq(chooser.idle & ~self.ar.valid & (due == 0)),
            self.issued.eq(self.ar.valid & self.ar.ready),
            self.stalled.eq(self.ar.valid & ~self.ar.ready),
            self.asked_bytes.eq((self.ar.p.len + 1) << self.ar.p.size),
        ]
        m.d.sync += due.eq(due + Mux(taken, burst.beats, 0) - self.r.valid)
        return m
