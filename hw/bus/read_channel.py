"""A read stream: runs of bytes in, beats out; it requests only what it has room for."""

from math import gcd

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.bus.bursts import (
    BurstBuffer,
    Burster,
    burst_layout,
    request,
    request_layout,
    run_layout,
)
from dtqatten.hw.bus.gearbox import Unpacker, word_layout

__all__ = ["ReadChannel", "read_port"]


def read_port(system: SystemConfig) -> wiring.Signature:
    """Return what a read stream shares with the master.

    ``request``: bursts; ``more``: another one is behind that on offer. ``answer``: a word of the
    oldest burst requested arrives, ``data``.
    ``answered``: address of the first byte requested of the next word to arrive; valid while one is
    due.
    """
    return wiring.Signature(
        {
            "request": Out(stream.Signature(request_layout(system))),
            "more": Out(1),
            "answer": In(1),
            "data": In(system.bus_bits),
            "answered": Out(system.address_bits),
        }
    )


class ReadChannel(wiring.Component):
    """Fetch runs and deliver their bytes, in order, as beats of ``nibbles`` nibbles.

    A burst is requested once its words have room; the answers come in the order of the requests
    and are always taken.

    Latency: 3 cycles from a run to its first request, 3 from a word to its first beat. Throughput
    one burst, and one word or beat, whichever is narrower, a cycle.

    Parameters
    ----------
    system : SystemConfig
    nibbles : int
        Nibbles of a beat.
    unit : int
        Bytes; addresses and sizes of runs are multiples of it.

    Members
    -------
    runs : In(stream.Signature(run_layout(system)))
        What to fetch.
    port : Out(read_port(system))
        Bursts and answers.
    waiting : Out(1)
        A burst of a run that has been taken is not out.
    o : Out(stream.Signature(ArrayLayout(unsigned(4), nibbles)))
        Beats.

    Attributes
    ----------
    burster, buffer : Burster, BurstBuffer
        What makes bursts, and where they wait for the bus; for proofs.
    """

    def __init__(self, system: SystemConfig, nibbles: int, unit: int) -> None:
        self.system, self.nibbles, self.unit = system, nibbles, unit
        super().__init__(
            {
                "runs": In(stream.Signature(run_layout(system))),
                "port": Out(read_port(system)),
                "waiting": Out(1),
                "o": Out(stream.Signature(data.ArrayLayout(unsigned(4), nibbles))),
            }
        )
        self.burster = Burster(system, narrow_transfers=True)
        self.buffer = BurstBuffer(system)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system, depth = self.system, self.system.buffer_beats
        m.submodules.burster, m.submodules.buffer = burster, buffer = self.burster, self.buffer
        m.submodules.unpacker = unpacker = Unpacker(
            system, self.nibbles, gcd(self.unit, system.bus_bytes)
        )
        # Every burst has a word at least, so there are never more of them than words.
        due_layout, words_layout = burst_layout(system), word_layout(system)
        m.submodules.due = due = fifo.SyncFIFO(width=due_layout.size, depth=depth)
        # Behind its output register a buffered FIFO of 2 has one place, free every other cycle.
        m.submodules.words = words = fifo.SyncFIFOBuffered(
            width=words_layout.size, depth=max(depth, 3)
        )

        room = Signal(range(depth + 1), init=depth)
        requested, read = Signal(), Signal()
        enough = room >= burster.o.p.beats
        connect(m, flipped(self.runs), burster.i)
        connect(m, buffer.o, flipped(self.port.request))
        request(m, buffer.i, burster.o.p)
        m.d.comb += [
            self.port.more.eq(buffer.more),
            self.waiting.eq(~burster.idle | buffer.o.valid),
            buffer.i.valid.eq(burster.o.valid & enough),
            requested.eq(buffer.i.valid & buffer.i.ready),
            burster.o.ready.eq(buffer.i.ready & enough),
            due.w_en.eq(requested),
            due.w_data.eq(burster.o.p),
        ]
        m.d.sync += room.eq(room + read - Mux(requested, burster.o.p.beats, 0))

        # Words of the oldest burst: whether they are its first or last one.
        burst = data.View(due_layout, due.r_data)
        index = Signal(range(system.burst_beats))
        word = Signal(words_layout)
        last = index == burst.beats - 1
        m.d.comb += [
            self.port.answered.eq(Cat(burst.offset, (burst.word + index)[: len(burst.word)])),
            word.data.eq(self.port.data),
            word.skip.eq(burst.skip & (index == 0).replicate(len(burst.skip))),
            word.drop.eq(burst.drop & last.replicate(len(burst.drop))),
            words.w_en.eq(self.port.answer),
            words.w_data.eq(word),
            due.r_en.eq(self.port.answer & last),
        ]
        with m.If(self.port.answer):
            m.d.sync += index.eq(index + 1)
            with m.If(last):
                m.d.sync += index.eq(0)

        m.d.comb += [
            unpacker.i.valid.eq(words.r_rdy),
            unpacker.i.p.eq(words.r_data),
            read.eq(unpacker.i.valid & unpacker.i.ready),
            words.r_en.eq(read),
        ]
        connect(m, unpacker.o, flipped(self.o))
        return m
