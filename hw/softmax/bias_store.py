"""Biases of keys: loaded once a head, read for every tile and query head that needs them."""

from amaranth.hdl import Const, Module, Mux, Signal, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.base.pipeline import counted, delayed
from dtqatten.hw.payloads.octaves import BIAS_BITS, bias_layout
from dtqatten.hw.payloads.softmax import tiles

__all__ = ["BiasStore"]


class BiasStore(wiring.Component):
    """Two heads of the core: one is read while the other comes.

    A head has a bank of tiles for each of its query heads, ``cols`` biases a word. They come query
    head by query head, the keys of each in their order. Rows ask for the words of their own query
    head, tile by tile.

    Latency: a head whose last bias is accepted in cycle ``t`` is ``ready`` from ``t + 1`` on;
    ``biases`` follow ``tile`` by 11 cycles, when scores need them. Throughput one bias and one word
    a cycle. A head that is released has room again 11 cycles later, when its last row has been
    read.

    Parameters
    ----------
    config : Config
        With ``bias_heads``.

    Members
    -------
    i : In(stream.Signature(bias_layout()))
        Biases.
    ready : Out(1)
        All of a head are here.
    tile : In(range(tiles(config)))
        Of a row of the oldest head.
    member : In(range(bias_heads))
        Its query head, two cycles later.
    release : In(1)
        With ``tile``: the head is done with. Never while ``ready`` is low.
    biases : Out(ArrayLayout(signed(16), cols))
        Those of the row.
    """

    #: Cycles from ``tile`` to ``member``, to the word being read, and to ``biases``.
    MEMBER, READ, LATENCY = 2, 10, 11

    def __init__(self, config: Config) -> None:
        self.config = config
        #: Words of a head.
        self.words = config.bias_heads * tiles(config)
        super().__init__(
            {
                "i": In(stream.Signature(bias_layout())),
                "ready": Out(1),
                "tile": In(range(tiles(config))),
                "member": In(range(config.bias_heads)),
                "release": In(1),
                "biases": Out(data.ArrayLayout(signed(BIAS_BITS), config.cols)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        cols, words, bank = self.config.cols, self.words, tiles(self.config)
        m.submodules.words = store = memory.Memory(
            shape=data.ArrayLayout(signed(BIAS_BITS), cols), depth=2 * words, init=[]
        )
        write, read = store.write_port(granularity=1), store.read_port()

        # Where the bank being filled begins, and the half it is in.
        lane, begin, filled = Signal(range(cols)), Signal(range(words)), Signal()
        offset = Signal(range(bank))
        beat, closes = Signal(), Signal()
        m.d.comb += [
            beat.eq(self.i.valid & self.i.ready),
            closes.eq(beat & self.i.p.last & self.i.p.head),
            write.addr.eq(Mux(filled, words, 0) + begin + offset),
            # Lanes past a word's last key take its bias too, so that every lane is written.
            write.en.eq(beat.replicate(cols) << lane),
            *(write.data[i].eq(self.i.p.bias) for i in range(cols)),
        ]
        with m.If(beat):
            m.d.sync += lane.eq(lane + 1)
            with m.If(lane == cols - 1):
                m.d.sync += [lane.eq(0), offset.eq(offset + 1)]
            with m.If(self.i.p.last):
                m.d.sync += [lane.eq(0), offset.eq(0), begin.eq(begin + bank)]
        with m.If(closes):
            m.d.sync += [begin.eq(0), filled.eq(~filled)]

        # Heads here, and those that have no room yet; the half of the oldest one.
        held, holds, oldest = Signal(range(3)), Signal(range(3)), Signal()
        room = Signal(init=1)
        freed = delayed(m, self.release, self.READ, "freed", reset_less=False)
        m.d.comb += [
            holds.eq(held + closes - freed),
            self.i.ready.eq(room),
            self.ready.eq(counted(m, closes, self.release, "heads", most=2)),
        ]
        m.d.sync += [held.eq(holds), room.eq(holds != 2)]
        with m.If(self.release):
            m.d.sync += oldest.eq(~oldest)

        half = delayed(m, oldest, self.MEMBER, "half")
        tile = delayed(m, self.tile, self.MEMBER, "tile")
        at = Signal(range(2 * words))
        member = self.member if self.config.bias_heads > 1 else Const(0)
        m.d.comb += at.eq(Mux(half, words, 0) + member * bank + tile)
        m.d.comb += [
            read.addr.eq(delayed(m, at, self.READ - self.MEMBER, "at")),
            self.biases.eq(read.data),
        ]
        return m
