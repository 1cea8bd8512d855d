"""A write stream: runs and beats in, bursts out; it requests only complete bursts."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.bus.bursts import (
    BurstBuffer,
    Burster,
    request,
    request_layout,
    run_layout,
)
from dtqatten.hw.bus.gearbox import Packer, written_layout

__all__ = ["WriteChannel", "write_port"]


def write_port(system: SystemConfig) -> wiring.Signature:
    """Return what a write stream shares with the master.

    ``request``: bursts whose words are there; ``more``: another one is behind that on offer.
    ``words``: words of the bursts requested, in order.
    """
    return wiring.Signature(
        {
            "request": Out(stream.Signature(request_layout(system))),
            "more": Out(1),
            "words": Out(stream.Signature(written_layout(system))),
        }
    )


class WriteChannel(wiring.Component):
    """Collect the bytes of runs and request a burst once all its words are there.

    So a burst whose address is out never waits for the core, and can always be completed.

    Latency: 3 cycles from the beat that completes a burst to its request; its words are there from
    the next cycle on. Throughput one beat, and one word, a cycle.

    Parameters
    ----------
    system : SystemConfig
    size : int
        Bytes of a beat.
    unit : int
        Bytes; addresses and sizes of runs, and the bytes of every beat, are multiples of it.

    Members
    -------
    runs : In(stream.Signature(run_layout(system)))
        Where the bytes that follow go.
    i : In(stream.Signature(StructLayout({"data", "count"})))
        ``count`` bytes of ``data``; never more than the run has left.
    port : Out(write_port(system))
        Bursts and words.
    empty : Out(1)
        Nothing waits: all bytes are written or requested.

    Attributes
    ----------
    burster, buffer : Burster, BurstBuffer
        What makes bursts, and where they wait for the bus; for proofs.
    """

    def __init__(self, system: SystemConfig, size: int, unit: int) -> None:
        self.system, self.size, self.unit = system, size, unit
        super().__init__(
            {
                "runs": In(stream.Signature(run_layout(system))),
                "i": In(
                    stream.Signature(
                        data.StructLayout({"data": unsigned(8 * size), "count": range(size + 1)})
                    )
                ),
                "port": Out(write_port(system)),
                "empty": Out(1),
            }
        )
        self.burster = Burster(system, narrow_transfers=False)
        self.buffer = BurstBuffer(system)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system, depth = self.system, self.system.buffer_beats
        m.submodules.burster, m.submodules.buffer = burster, buffer = self.burster, self.buffer
        m.submodules.packer = packer = Packer(system, self.size, self.unit)
        layout = written_layout(system)
        m.submodules.words = words = fifo.SyncFIFOBuffered(width=layout.size, depth=depth)
        # Words for which no burst has been requested yet.
        waiting = Signal(range(depth + 1))
        enough, requested = Signal(), Signal()
        connect(m, packer.i, flipped(self.i))
        connect(m, buffer.o, flipped(self.port.request))
        request(m, buffer.i, burster.o.p)
        m.d.comb += [
            # A run goes to both, or to none.
            burster.i.p.eq(self.runs.p),
            packer.runs.p.skip.eq(self.runs.p.address),
            packer.runs.p.size.eq(self.runs.p.size),
            burster.i.valid.eq(self.runs.valid & packer.runs.ready),
            packer.runs.valid.eq(self.runs.valid & burster.i.ready),
            self.runs.ready.eq(burster.i.ready & packer.runs.ready),
            words.w_data.eq(packer.o.p),
            words.w_en.eq(packer.o.valid),
            packer.o.ready.eq(words.w_rdy),
            enough.eq(waiting >= burster.o.p.beats),
            self.port.more.eq(buffer.more),
            buffer.i.valid.eq(burster.o.valid & enough),
            requested.eq(buffer.i.valid & buffer.i.ready),
            burster.o.ready.eq(buffer.i.ready & enough),
            self.port.words.valid.eq(words.r_rdy),
            self.port.words.p.eq(words.r_data),
            words.r_en.eq(self.port.words.ready),
            self.empty.eq(burster.idle & ~buffer.o.valid),
        ]
        written = packer.o.valid & packer.o.ready
        m.d.sync += waiting.eq(waiting + written - Mux(requested, burster.o.p.beats, 0))
        return m
