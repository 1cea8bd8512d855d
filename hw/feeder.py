"""An edge of the array: loads tokens into line buffers, sequences their planes, makes the skew."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.config import BANKS, Config
from dtqatten.hw.export import place
from dtqatten.hw.layout import (
    Precision,
    feed_layout,
    load_layout,
    operand_layout,
    slot_layout,
    tile_layout,
)
from dtqatten.hw.line_buffer import LineBuffer, read_layout, tag_layout
from dtqatten.hw.pipeline import counted, delayed

__all__ = ["Feeder"]


class Feeder(wiring.Component):
    """Edge feeder: ``lanes`` line buffers, filled token by token, read lane after lane.

    Token ``i`` of a head goes to lane ``i % lanes`` of the head's tile ``i // lanes``. Two banks
    take turns, with a tile each for queries and a head of at most ``n_max`` tokens for keys. The
    last tile of a head may be part-filled: its other lanes feed zeros.

    Loading: one beat a cycle while a bank is free; ``loaded`` pulses in the cycle that completes a
    bank. ``tile`` describes what was in the slot ``peek`` in the cycle before, and so a bank's
    first tile from three cycles after ``loaded`` on.
    Reading, of complete banks only: ``operands[l]`` follows ``feed`` by ``l + 2 + word_stages``
    cycles. A feed with ``release`` frees its bank when the last lane has read it, ``lanes + 2``
    cycles later. Reads never stall.

    Parameters
    ----------
    config : Config
    side : str
        ``"q"`` for the rows, ``"k"`` for the columns: selects ``lanes`` and the bank's ``tiles``.

    Members
    -------
    i : In(stream.Signature(load_layout(config)))
        Tokens of head after head.
    loaded : Out(1)
        A bank is complete with this cycle's beat.
    peek : In(slot_layout(tiles))
        Slot to describe in the next cycle.
    tile : Out(tile_layout(config, lanes))
        Description of the tile in that slot.
    feed : In(feed_layout(config, tiles))
        Operand wanted of every lane.
    operands : Out(ArrayLayout(operand_layout(config), lanes))
        Lane ``l`` skewed by ``l`` cycles.
    occupied, active : Out(lanes)
        Of the operands: the lane has a token; its plane exists, so there is work to do.
    """

    def __init__(self, config: Config, side: str) -> None:
        self.config = config
        self.side = side
        self.lanes = {"q": config.rows, "k": config.cols}[side]
        self.tiles = config.bank_tiles[side]
        super().__init__(
            {
                "i": In(stream.Signature(load_layout(config))),
                "loaded": Out(1),
                "peek": In(slot_layout(self.tiles)),
                "tile": Out(tile_layout(config, self.lanes)),
                "feed": In(feed_layout(config, self.tiles)),
                "operands": Out(data.ArrayLayout(operand_layout(config), self.lanes)),
                "occupied": Out(self.lanes),
                "active": Out(self.lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, lanes, tiles = self.config, self.lanes, self.tiles

        # Loader: where the next beat goes.
        word = Signal(range(config.words))
        low = Signal()
        lane = Signal(range(lanes))
        slot = Signal(slot_layout(tiles))
        wide_lanes = Signal(lanes)
        released = Signal()

        beat = Signal()
        plane_end, token_end, tile_end, bank_end = (Signal() for _ in range(4))
        wide = self.i.p.precision == Precision.BIT8
        wide_now = Signal(lanes)
        m.d.comb += [
            beat.eq(self.i.valid & self.i.ready),
            plane_end.eq(beat & (word == config.words - 1)),
            token_end.eq(plane_end & (low | ~wide)),
            tile_end.eq(token_end & ((lane == lanes - 1) | self.i.p.last)),
            wide_now.eq(wide_lanes | (wide << lane)),
            bank_end.eq(tile_end & (self.i.p.last if tiles > 1 else 1)),
            self.loaded.eq(bank_end),
        ]
        with m.If(beat):
            m.d.sync += word.eq(Mux(plane_end, 0, word + 1))
        with m.If(plane_end):
            m.d.sync += low.eq(~token_end)
        with m.If(token_end):
            m.d.sync += [lane.eq(lane + 1), wide_lanes.eq(wide_now)]
        with m.If(tile_end):
            m.d.sync += [
                lane.eq(0),
                wide_lanes.eq(0),
                slot.tile.eq(Mux(bank_end, 0, slot.tile + 1)),
                slot.bank.eq(slot.bank ^ bank_end),
            ]
        free = counted(m, released, bank_end, "free", most=BANKS, init=BANKS)
        m.d.comb += self.i.ready.eq(free)

        occupied_now = Signal(lanes)
        tokens = Signal(range(lanes + 1))
        m.d.comb += [tokens.eq(lane + 1), occupied_now.eq((1 << tokens) - 1)]
        # Reader: the address is computed once and travels from lane to lane.
        read = Signal(read_layout(config, tiles))
        m.d.sync += [
            read.valid.eq(self.feed.valid),
            read.slot.eq(self.feed.slot),
            read.plane.eq(self.feed.plane),
            read.address.eq(
                Cat(self.feed.plane, self.feed.slot.tile) * config.words + self.feed.word
            ),
            read.part.eq(self.feed.part),
            read.release.eq(self.feed.valid & self.feed.release),
        ]
        # Lanes are written a cycle late: a beat has many to reach.
        write_lanes, write_tile = Signal(lanes), Signal()
        m.d.sync += [write_lanes.eq(beat << lane), write_tile.eq(tile_end)]
        write_slot = delayed(m, slot, 1, "write_slot")
        write_address = delayed(m, Cat(low, slot.tile) * config.words + word, 1, "write_address")
        nibbles = delayed(m, self.i.p.nibbles, 1, "nibbles")
        write_occupied = delayed(m, occupied_now, 1, "write_occupied")
        write_wide = delayed(m, wide_now, 1, "write_wide")
        # So are the descriptions of tiles.
        m.submodules.tiles = store = memory.Memory(
            shape=tile_layout(config, lanes), depth=BANKS * tiles, init=[]
        )
        tile_write, tile_read = store.write_port(), store.read_port(domain="comb")
        described = tile_write.data
        m.d.comb += [
            tile_write.en.eq(write_tile),
            tile_write.addr.eq(Cat(write_slot.bank, write_slot.tile)),
            described.tokens.eq(delayed(m, tokens, 1, "write_tokens")),
            described.wide.eq(write_wide.any()),
            described.mixed.eq(write_wide.any() & (write_wide != write_occupied)),
            described.last.eq(delayed(m, self.i.p.last, 1, "write_last")),
            tile_read.addr.eq(Cat(self.peek.bank, self.peek.tile)),
        ]
        m.d.sync += self.tile.eq(tile_read.data)
        buffers = []
        for i in range(lanes):
            buffer = place(m, platform, f"lane_{i}", LineBuffer, config, tiles)
            tag = Signal(tag_layout(), name=f"tag_{i}")
            m.d.comb += [
                buffer.write_valid.eq(write_lanes[i]),
                buffer.write_bank.eq(write_slot.bank),
                buffer.write_address.eq(write_address),
                buffer.write_data.eq(nibbles),
                tag.occupied.eq(write_occupied[i]),
                tag.wide.eq(write_wide[i]),
                buffer.tag_valid.eq(write_tile),
                buffer.tag_slot.eq(write_slot),
                buffer.tag.eq(tag),
                buffer.read.eq(read),
            ]
            buffers.append(buffer)
            read = buffer.read_next
        m.d.comb += [
            released.eq(read.release),
            self.operands.eq(Cat(buffer.operand for buffer in buffers)),
            self.occupied.eq(Cat(buffer.occupied for buffer in buffers)),
            self.active.eq(Cat(buffer.active for buffer in buffers)),
        ]
        return m
