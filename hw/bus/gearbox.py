"""Width converters between bus words and the beats of the core."""

from math import gcd

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.bus.bursts import RUN_BITS

__all__ = ["Packer", "Unpacker", "word_layout", "written_layout"]


def word_layout(system: SystemConfig) -> data.StructLayout:
    """Word read, without its ``skip`` first and ``drop`` last bytes, which were not requested."""
    byte = ceil_log2(system.bus_bytes)
    return data.StructLayout(
        {"data": unsigned(system.bus_bits), "skip": unsigned(byte), "drop": unsigned(byte)}
    )


def written_layout(system: SystemConfig) -> data.StructLayout:
    """Word to be written, in the bytes that ``strb`` marks."""
    return data.StructLayout(
        {"data": unsigned(system.bus_bits), "strb": unsigned(system.bus_bytes)}
    )


def _multiple(value: Value, granule: int) -> Value:
    """Return a value known to be a multiple of ``granule``, its low bits as constants."""
    low = ceil_log2(granule)
    return Cat(Const(0, low), value[low:])


class Unpacker(wiring.Component):
    """Cut the bytes of words, without gaps, into beats of ``nibbles`` nibbles.

    Latency 1 cycle from a word to its first beat. Throughput one beat a cycle, and one word a
    cycle where a beat is at least as wide.

    Parameters
    ----------
    system : SystemConfig
    nibbles : int
        Nibbles of a beat.
    granule : int
        Bytes; ``skip``, ``drop`` and with them the bytes of every word are multiples of it.

    Members
    -------
    i : In(stream.Signature(word_layout(system)))
        Words.
    o : Out(stream.Signature(ArrayLayout(unsigned(4), nibbles)))
        Beats. The bytes of all words together must make whole beats.
    """

    def __init__(self, system: SystemConfig, nibbles: int, granule: int) -> None:
        self.system, self.nibbles = system, nibbles
        self.granule = gcd(granule, system.bus_bytes)
        super().__init__(
            {
                "i": In(stream.Signature(word_layout(system))),
                "o": Out(stream.Signature(data.ArrayLayout(unsigned(4), nibbles))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        nibbles, word_nibbles = self.nibbles, 2 * self.system.bus_bytes
        # Fewer than a beat's nibbles are left when a word is taken.
        held = Signal(4 * (nibbles - 1 + word_nibbles))
        fill = Signal(range(nibbles + word_nibbles))
        rest, rest_fill = Signal.like(held), Signal.like(fill)
        leaves = Signal()
        skip = _multiple(self.i.p.skip, self.granule)
        drop = _multiple(self.i.p.drop, self.granule)
        m.d.comb += [
            self.o.valid.eq(fill >= nibbles),
            self.o.p.eq(held[: 4 * nibbles]),
            leaves.eq(self.o.valid & self.o.ready),
            rest.eq(Mux(leaves, held >> 4 * nibbles, held)),
            rest_fill.eq(Mux(leaves, fill - nibbles, fill)),
            self.i.ready.eq(rest_fill < nibbles),
        ]
        m.d.sync += [held.eq(rest), fill.eq(rest_fill)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += fill.eq(rest_fill + word_nibbles - 2 * skip - 2 * drop)
            # Only multiples of the common divisor of beats and words can be left.
            with m.Switch(rest_fill):
                for left in range(0, nibbles, gcd(nibbles, 2 * self.granule)):
                    with m.Case(left):
                        m.d.sync += held.eq(
                            Cat(rest[: 4 * left], self.i.p.data >> Cat(Const(0, 3), skip))
                        )
        return m


class Packer(wiring.Component):
    """Collect beats of up to ``size`` bytes into words with strobes, run by run.

    A run says where the following bytes go; it ends after its last byte, and its last word may be
    part-filled. No beat has bytes of two runs.

    Latency 1 cycle from the beat that fills a word, or ends a run, to the word. Throughput one
    beat a cycle as long as words are not wider, and one word a cycle.

    Parameters
    ----------
    system : SystemConfig
    size : int
        Bytes of a beat.
    granule : int
        Bytes; addresses and lengths of runs and the bytes of every beat are multiples of it.

    Members
    -------
    runs : In(stream.Signature(StructLayout({"skip", "size"})))
        First byte of the run in its first word, and the run's bytes.
    i : In(stream.Signature(StructLayout({"data", "count"})))
        Beats: ``count`` bytes of ``data``.
    o : Out(stream.Signature(written_layout(system)))
        Words.
    """

    def __init__(self, system: SystemConfig, size: int, granule: int) -> None:
        self.system, self.size = system, size
        self.granule = gcd(granule, system.bus_bytes)
        byte = ceil_log2(system.bus_bytes)
        super().__init__(
            {
                "runs": In(
                    stream.Signature(
                        data.StructLayout({"skip": unsigned(byte), "size": unsigned(RUN_BITS)})
                    )
                ),
                "i": In(
                    stream.Signature(
                        data.StructLayout({"data": unsigned(8 * size), "count": range(size + 1)})
                    )
                ),
                "o": Out(stream.Signature(written_layout(system))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width = self.system.bus_bytes
        # Fewer than a word's bytes are held when a beat is taken.
        held = Signal(8 * (width - 1 + self.size))
        strobes = Signal(width - 1 + self.size)
        fill = Signal(range(width + self.size))
        left, done = Signal.like(self.runs.p.size), Signal(init=1)
        rest, rest_strobes, rest_fill = Signal.like(held), Signal.like(strobes), Signal.like(fill)
        leaves = Signal()
        m.d.comb += [
            self.o.valid.eq((fill >= width) | (done & (fill != 0))),
            self.o.p.data.eq(held),
            self.o.p.strb.eq(strobes),
            leaves.eq(self.o.valid & self.o.ready),
            rest.eq(Mux(leaves, held >> 8 * width, held)),
            rest_strobes.eq(Mux(leaves, strobes >> width, strobes)),
            rest_fill.eq(Mux(leaves, Mux(fill > width, fill - width, 0), fill)),
            self.i.ready.eq(~done & (rest_fill < width)),
            self.runs.ready.eq(done & (rest_fill == 0)),
        ]
        m.d.sync += [held.eq(rest), strobes.eq(rest_strobes), fill.eq(rest_fill)]
        with m.If(self.runs.valid & self.runs.ready):
            m.d.sync += [left.eq(self.runs.p.size), done.eq(0)]
            m.d.sync += [fill.eq(self.runs.p.skip), strobes.eq(0)]
        with m.If(self.i.valid & self.i.ready):
            count = self.i.p.count
            m.d.sync += [left.eq(left - count), done.eq(left == count)]
            m.d.sync += fill.eq(rest_fill + count)
            marks = Signal(self.size)
            m.d.comb += marks.eq((Const(1, self.size + 1) << count) - 1)
            with m.Switch(rest_fill):
                for at in range(0, width, self.granule):
                    with m.Case(at):
                        m.d.sync += [
                            held[8 * at : 8 * (at + self.size)].eq(self.i.p.data),
                            strobes[at:].eq(marks),
                        ]
        return m
