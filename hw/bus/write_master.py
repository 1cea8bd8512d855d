"""AXI4 write master: streams share the address and data channels, burst by burst."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.bus.arbiter import BurstChooser
from dtqatten.hw.bus.axi import address_layout, is_error, response_layout, write_data_layout
from dtqatten.hw.bus.gearbox import written_layout
from dtqatten.hw.bus.window import window_layout
from dtqatten.hw.bus.write_channel import write_port

__all__ = ["WriteMaster"]


class WriteMaster(wiring.Component):
    """Issue the bursts of ``streams`` streams, round robin, all with ID 0, and count the answers.

    Address and data of a burst are sent in parallel; the next burst follows when both are out. A
    burst outside the window is never issued: it stays until ``stop``, and is reported.

    Latency: 3 cycles from a request to AW and W. Throughput one word a cycle, with one extra cycle
    for each burst.

    Parameters
    ----------
    system : SystemConfig
    streams : int

    Members
    -------
    ports : In(write_port(system)).array(streams)
        Bursts whose words are complete, and words.
    aw, w, b
        AXI4 channels.
    window : In(window_layout(system))
        Pages that may be written; constant while not ``idle``.
    stop : In(1)
        Issue no further burst; one that has begun is completed, one that is chosen is forgotten:
        streams are reset before it ends.
    idle : Out(1)
        Every burst is out and answered, and none is chosen.
    outside : Out(1)
        A burst is outside the window.
    failed : Out(1)
        A burst was answered with an error.
    address : Out(address_bits)
        Address of the burst that failed, else of the burst outside the window.
    issued, sent, stalled : Out(1)
        A burst was accepted, a word went out, a word waited.
    sent_bytes : Out(range(bus_bytes + 1))
        Bytes of the word that went out in the cycle before, 0 if none did.

    Attributes
    ----------
    chooser : BurstChooser
        What decides whose burst is next; for proofs.
    """

    #: Bursts that may wait for their answer.
    OUTSTANDING = 64

    def __init__(self, system: SystemConfig, streams: int) -> None:
        self.system, self.streams = system, streams
        super().__init__(
            {
                "ports": In(write_port(system)).array(streams),
                "aw": Out(stream.Signature(address_layout(system))),
                "w": Out(stream.Signature(write_data_layout(system))),
                "b": In(stream.Signature(response_layout())),
                "window": In(window_layout(system)),
                "stop": In(1),
                "idle": Out(1),
                "outside": Out(1),
                "failed": Out(1),
                "address": Out(system.address_bits),
                "issued": Out(1),
                "sent": Out(1),
                "stalled": Out(1),
                "sent_bytes": Out(range(system.bus_bytes + 1)),
            }
        )
        self.chooser = BurstChooser(system, streams)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system = self.system
        # Addresses of the bursts that are not answered yet.
        m.submodules.due = due = fifo.SyncFIFOBuffered(
            width=system.address_bits, depth=self.OUTSTANDING
        )
        m.submodules.chooser = chooser = self.chooser
        burst = chooser.o.p
        chosen = Signal(range(self.streams))
        left = Signal(range(system.burst_beats + 1))
        unanswered = Signal(range(self.OUTSTANDING + 1))
        free, taken = Signal(), Signal()
        word, strobes = Signal(written_layout(system)), Signal(system.bus_bytes)
        m.d.sync += strobes.eq(Mux(self.sent, word.strb, 0))
        m.d.comb += [
            free.eq((left == 0) & ~self.aw.valid & (unanswered != self.OUTSTANDING)),
            chooser.window.eq(self.window),
            chooser.stop.eq(self.stop),
            chooser.more.eq(Cat(port.more for port in self.ports)),
            chooser.o.ready.eq(free),
            taken.eq(chooser.o.valid & free),
            self.outside.eq(chooser.outside),
            due.w_en.eq(taken),
            due.w_data.eq(burst.address),
            self.aw.p.id.eq(0),
            word.eq(Array(Value.cast(port.words.p) for port in self.ports)[chosen]),
            self.w.valid.eq((left != 0) & Array(port.words.valid for port in self.ports)[chosen]),
            self.w.p.data.eq(word.data),
            self.w.p.strb.eq(word.strb),
            self.w.p.last.eq(left == 1),
            self.sent.eq(self.w.valid & self.w.ready),
            self.stalled.eq(self.w.valid & ~self.w.ready),
            self.sent_bytes.eq(sum(strobes)),
            self.issued.eq(self.aw.valid & self.aw.ready),
        ]
        for i, port in enumerate(self.ports):
            connect(m, flipped(port.request), chooser.requests[i])
            m.d.comb += port.words.ready.eq((left != 0) & self.w.ready & (chosen == i))
        with m.If(self.aw.ready):
            m.d.sync += self.aw.valid.eq(0)
        with m.If(self.sent):
            m.d.sync += left.eq(left - 1)
        with m.If(taken):
            m.d.sync += [
                chosen.eq(burst.stream),
                left.eq(burst.beats),
                self.aw.valid.eq(1),
                self.aw.p.addr.eq(burst.address),
                self.aw.p.len.eq(burst.beats - 1),
                self.aw.p.size.eq(burst.width),
            ]

        answered = Signal()
        m.d.comb += [
            self.b.ready.eq(due.r_rdy),
            answered.eq(self.b.valid & self.b.ready),
            due.r_en.eq(answered),
            self.failed.eq(answered & is_error(self.b.p.resp)),
            self.address.eq(Mux(self.outside & ~self.failed, burst.address, due.r_data)),
            self.idle.eq(chooser.idle & (unanswered == 0)),
        ]
        m.d.sync += unanswered.eq(unanswered + taken - answered)
        return m
