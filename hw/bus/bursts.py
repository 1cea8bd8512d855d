"""From runs of bytes to bursts of bus words."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from dtqatten.configuration.system import SystemConfig

__all__ = [
    "RUN_BITS",
    "BurstBuffer",
    "Burster",
    "burst_layout",
    "request",
    "request_layout",
    "run_layout",
]

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


def request_layout(system: SystemConfig) -> data.StructLayout:
    """Burst of ``beats`` words from ``word`` on: the part of :func:`burst_layout` for the bus."""
    fields = dict(burst_layout(system))
    names = ("word", "beats", "offset", "width")
    return data.StructLayout({name: fields[name].shape for name in names})


def request(m: Module, to: wiring.PureInterface, burst: data.View) -> None:
    """Ask for a burst of :func:`burst_layout`."""
    m.d.comb += [to.p[name].eq(burst[name]) for name, _ in to.p.shape()]


class Burster(wiring.Component):
    """Cut runs into bursts that end at multiples of ``burst_beats`` words.

    Those multiples divide a page of 4 KiB, so no burst crosses a page. With ``narrow_transfers``, a
    first or last word of which the run has half or less is a burst of its own, with no more bytes
    than needed: vectors shorter than a word of the bus do not move their neighbours. Equal to
    :func:`dtqatten.golden.memory.bursts`.

    A run is counted in blocks of ``burst_beats`` words, so that within a block short numbers do:
    the words of a burst, and where the next one begins.

    Latency: a run accepted in cycle ``t`` is at ``o`` from ``t + 2`` on. Throughput one burst a
    cycle; a run is accepted while the last burst of the one before goes into the register of ``o``.

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
    idle : Out(1)
        No run is here, and no burst is at ``o``.

    Attributes
    ----------
    sound : Value
        Holds in every state that can be reached, for proofs.
    """

    def __init__(self, system: SystemConfig, narrow_transfers: bool) -> None:
        self.system, self.narrow_transfers = system, narrow_transfers
        super().__init__(
            {
                "i": In(stream.Signature(run_layout(system))),
                "o": Out(stream.Signature(burst_layout(system))),
                "idle": Out(1),
            }
        )
        place = ceil_log2(system.burst_beats)
        # Word of the block that comes next, and the run's last word in its last block.
        self._at, self._end = Signal(place, name="at"), Signal(place, name="end")
        self._active, self._last_block = Signal(name="active"), Signal(name="last_block")
        self._at_end = Signal(name="at_end")
        self.sound: Value = ~self._active | (
            (self._at_end == (self._at == self._end))
            & (~self._last_block | (self._at <= self._end))
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system = self.system
        byte, place = ceil_log2(system.bus_bytes), ceil_log2(system.burst_beats)
        at, end, last_block, at_end = self._at, self._end, self._last_block, self._at_end
        # ``more`` blocks of the run follow this one; it is the last if there are none.
        block = Signal(system.address_bits - byte - place)
        more = Signal(RUN_BITS + 1 - byte - place)
        skip, drop, single = Signal(byte), Signal(byte), Signal()
        active, free, advance = self._active, Signal(), Signal()
        # The first and the last word are bursts of their own.
        first_alone, last_alone = Signal(), Signal()
        m.d.comb += single.eq(last_block & at_end)
        if self.narrow_transfers:
            m.d.comb += [
                first_alone.eq(skip[-1] & ~single),
                last_alone.eq(drop[-1] & last_block & ~single),
            ]
        to, following, last = Signal(place), Signal(place), Signal()
        with m.If(first_alone):
            m.d.comb += to.eq(at)
        with m.Elif(last_block):
            m.d.comb += to.eq(end - last_alone)
        with m.Else():
            m.d.comb += to.eq(system.burst_beats - 1)
        m.d.comb += [
            following.eq(to + 1),
            last.eq(last_block & ~first_alone & ~last_alone),
            free.eq(~self.o.valid | self.o.ready),
            advance.eq(active & free),
            self.i.ready.eq(~active | (free & last)),
            self.idle.eq(~active & ~self.o.valid),
        ]
        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(active),
                self.o.p.word.eq(Cat(at, block)),
                self.o.p.beats.eq(to - at + 1),
                self.o.p.skip.eq(skip),
                self.o.p.drop.eq(Mux(last, drop, 0)),
                self.o.p.last.eq(last),
            ]
        with m.If(advance):
            m.d.sync += [at.eq(following), at_end.eq(following == end)]
            m.d.sync += [skip.eq(0), active.eq(~last)]
            with m.If(to == system.burst_beats - 1):
                m.d.sync += [block.eq(block + 1), more.eq(more - 1), last_block.eq(more == 1)]
        span = Signal(RUN_BITS + 1)
        m.d.comb += span.eq(self.i.p.address[: byte + place] + self.i.p.size - 1)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [
                active.eq(1),
                at.eq(self.i.p.address[byte:]),
                block.eq(self.i.p.address >> byte + place),
                end.eq(span[byte:]),
                at_end.eq(span[byte : byte + place] == self.i.p.address[byte : byte + place]),
                more.eq(span >> byte + place),
                last_block.eq(span >> byte + place == 0),
                skip.eq(self.i.p.address[:byte]),
                drop.eq(~span[:byte]),
            ]
        self._part(m)
        return m

    def _part(self, m: Module) -> None:
        """Tell how much of a word a beat carries: all, or its smallest aligned part that does."""
        byte = ceil_log2(self.system.bus_bytes)
        burst = self.o.p
        m.d.comb += burst.width.eq(byte)
        if self.narrow_transfers:
            differ = Signal(byte)
            m.d.comb += differ.eq(burst.skip ^ ~burst.drop)
            with m.If(burst.beats == 1):
                for width in reversed(range(byte)):
                    with m.If(differ[width:] == 0):
                        m.d.comb += [
                            burst.width.eq(width),
                            burst.offset.eq(burst.skip[width:] << width),
                        ]


class BurstBuffer(wiring.Component):
    """Three bursts on their way to the bus, so that neither side waits for the other's logic.

    The bus decides a cycle ahead whose burst it takes, so it has to know of the next one; that
    needs a third place, since ``i.ready`` is a register, too.

    Latency one cycle, throughput one burst a cycle; all outputs are registers.

    Parameters
    ----------
    system : SystemConfig

    Members
    -------
    i, o
        Bursts, streams of :func:`request_layout`.
    more : Out(1)
        Another burst is behind that at ``o``.

    Attributes
    ----------
    full, behind : list of Signal
        Whether there is a second and a third burst; they. For proofs.
    """

    def __init__(self, system: SystemConfig) -> None:
        layout = request_layout(system)
        super().__init__(
            {
                "i": In(stream.Signature(layout)),
                "o": Out(stream.Signature(layout)),
                "more": Out(1),
            }
        )
        self.full = [Signal(name=f"full_{i}") for i in (2, 3)]
        self.behind = [Signal(layout, name=f"burst_{i}") for i in (2, 3)]

    def elaborate(self, platform: object) -> Module:
        m = Module()
        (second, third), (next_burst, last_burst) = self.full, self.behind
        free = Signal()
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            self.i.ready.eq(~third),
            self.more.eq(second),
        ]
        with m.If(~third):
            m.d.sync += last_burst.eq(self.i.p)
        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(second | self.i.valid),
                self.o.p.eq(Mux(second, next_burst.as_value(), self.i.p.as_value())),
                second.eq(third | (second & self.i.valid)),
                next_burst.eq(Mux(third, last_burst.as_value(), self.i.p.as_value())),
                third.eq(0),
            ]
        with m.Elif(self.i.valid & ~third):
            m.d.sync += [second.eq(1), third.eq(second)]
            with m.If(~second):
                m.d.sync += next_burst.eq(self.i.p)
        return m
