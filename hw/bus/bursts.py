"""From runs of bytes to bursts of bus words."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from dtqatten.configuration.system import SystemConfig

__all__ = ["RUN_BITS", "Burster", "burst_layout", "run_layout"]

#: Bits of a run's length: all outputs of a layer of 1024 tokens, 256 channels, 16 bits, 64 heads.
RUN_BITS = 26


def run_layout(system: SystemConfig) -> data.StructLayout:
    """Run of ``size`` > 0 bytes from ``address`` on."""
    return data.StructLayout({"address": unsigned(system.address_bits), "size": unsigned(RUN_BITS)})


def burst_layout(system: SystemConfig) -> data.StructLayout:
    """Burst of ``beats`` words; ``skip`` first and ``drop`` last bytes are not of the run.

    ``word`` is the index of the first word in memory. A beat carries ``2**width`` bytes, from byte
    ``offset`` of the word on: a whole word, unless a single beat needs less. ``last``: the run ends
    with this burst.
    """
    byte = ceil_log2(system.bus_bytes)
    return data.StructLayout(
        {
            "word": unsigned(system.address_bits - byte),
            "beats": range(system.burst_beats + 1),
            "offset": unsigned(byte),
            "width": range(byte + 1),
            "skip": unsigned(byte),
            "drop": unsigned(byte),
            "last": unsigned(1),
        }
    )


class Burster(wiring.Component):
    """Cut runs into bursts that end at multiples of ``burst_beats`` words.

    Those multiples divide a page of 4 KiB, so no burst crosses a page. With ``narrow_transfers``, a
    first or last word of which the run has half or less is a burst of its own, with no more bytes
    than needed: vectors shorter than a word of the bus do not move their neighbours. Equal to
    :func:`dtqatten.golden.memory.bursts`.

    Latency: a run accepted in cycle ``t`` is at ``o`` from ``t + 1`` on. Throughput one burst a
    cycle; a run is accepted while the burst before it leaves.

    Parameters
    ----------
    system : SystemConfig
    narrow_transfers : bool
        Whether a single beat may carry less than a word; else all beats are whole words.

    Members
    -------
    i : In(stream.Signature(run_layout(system)))
        Runs.
    o : Out(stream.Signature(burst_layout(system)))
        Bursts.
    """

    def __init__(self, system: SystemConfig, narrow_transfers: bool) -> None:
        self.system, self.narrow_transfers = system, narrow_transfers
        super().__init__(
            {
                "i": In(stream.Signature(run_layout(system))),
                "o": Out(stream.Signature(burst_layout(system))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system = self.system
        byte, place = ceil_log2(system.bus_bytes), ceil_log2(system.burst_beats)

        # ``left`` words of the run begin at ``word``.
        word = Signal(system.address_bits - byte)
        left = Signal(RUN_BITS + 1 - byte)
        skip, drop = Signal(byte), Signal(byte)
        room = Signal(range(system.burst_beats + 1))
        end = Signal(RUN_BITS + 1)
        # The first and the last word are bursts of their own.
        first_alone, last_alone = Signal(), Signal()
        if self.narrow_transfers:
            m.d.comb += [
                first_alone.eq(skip[-1] & (left != 1)),
                last_alone.eq(drop[-1] & (left != 1)),
            ]
        most = Signal.like(left)
        m.d.comb += [
            room.eq(system.burst_beats - word[:place]),
            most.eq(Mux(first_alone, 1, left - last_alone)),
            self.o.p.word.eq(word),
            self.o.p.beats.eq(Mux(most <= room, most, room)),
            self.o.p.last.eq(left == self.o.p.beats),
            self.o.p.skip.eq(skip),
            self.o.p.drop.eq(Mux(self.o.p.last, drop, 0)),
            self.o.p.width.eq(byte),
            self.o.valid.eq(left != 0),
            self.i.ready.eq(~self.o.valid | (self.o.ready & self.o.p.last)),
            end.eq(self.i.p.address[:byte] + self.i.p.size),
        ]
        if self.narrow_transfers:
            # The smallest aligned part of a word that contains both ends.
            differ = Signal(byte)
            m.d.comb += differ.eq(self.o.p.skip ^ ~self.o.p.drop)
            with m.If(self.o.p.beats == 1):
                for width in reversed(range(byte)):
                    with m.If(differ[width:] == 0):
                        m.d.comb += [
                            self.o.p.width.eq(width),
                            self.o.p.offset.eq(skip[width:] << width),
                        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += [word.eq(word + self.o.p.beats), left.eq(left - self.o.p.beats), skip.eq(0)]
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                word.eq(self.i.p.address >> byte),
                left.eq((end + system.bus_bytes - 1) >> byte),
                skip.eq(self.i.p.address[:byte]),
                drop.eq(-end[:byte]),
            ]
        return m
