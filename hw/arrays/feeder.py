"""An edge of the array: loads tokens into line buffers, sequences their planes, makes the skew."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import BANKS, Config
from dtqatten.hw.arrays.edge_loader import EdgeLoader
from dtqatten.hw.arrays.line_buffer import LineBuffer, read_layout, tag_layout
from dtqatten.hw.base.export import place
from dtqatten.hw.payloads.arrays import (
    feed_layout,
    load_layout,
    location_layout,
    operand_layout,
    tile_layout,
)

__all__ = ["Feeder"]


class Feeder(wiring.Component):
    """Edge feeder: ``lanes`` line buffers, filled token by token, read lane after lane.

    Token ``i`` of a head goes to lane ``i % lanes`` of the head's tile ``i // lanes``. Two banks
    take turns; each holds one tile of queries, or a head of at most ``n_max`` keys. The last tile
    of a head may be part-filled: its other lanes feed zeros.

    Loading: one beat a cycle while a bank is free; ``loaded`` pulses in the cycle that completes a
    bank. ``tile`` describes the tile at ``peek`` of the previous cycle; a bank's first tile is
    described from three cycles after ``loaded`` on.
    Reading, of complete banks only: ``operands[l]`` follows ``feed`` by ``l // together + 2 +
    word_stages`` cycles; ``together`` is ``pod_cols`` for the columns and 1 for the rows. A feed
    with ``release`` frees its bank 2 cycles later; tiles of the next tokens there end from ``lanes
    // together + 2`` cycles later on, when the last lane has read it. Reads never stall.

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
    peek : In(location_layout(tiles))
        Location to describe in the next cycle.
    tile : Out(tile_layout(config, lanes))
        Description of the tile there.
    feed : In(feed_layout(config, tiles))
        Operand wanted of every lane.
    operands : Out(ArrayLayout(operand_layout(config), lanes))
        Lane ``l`` skewed by ``l // together`` cycles.
    occupied, active : Out(lanes)
        Of the operands: the lane has a token; its plane exists, so there is work to do.
    """

    def __init__(self, config: Config, side: str) -> None:
        self.config = config
        self.side = side
        self.lanes = {"q": config.rows, "k": config.cols}[side]
        self.together = {"q": 1, "k": config.pod_cols}[side]
        self.tiles = config.bank_tiles[side]
        super().__init__(
            {
                "i": In(stream.Signature(load_layout(config))),
                "loaded": Out(1),
                "peek": In(location_layout(self.tiles)),
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

        m.submodules.loader = loader = EdgeLoader(config, lanes, tiles)
        connect(m, flipped(self.i), loader.i)
        m.d.comb += self.loaded.eq(loader.loaded)
        write = loader.write
        # Reader: the address is computed once and travels from pod to pod.
        read = Signal(read_layout(config, tiles))
        m.d.sync += [
            read.valid.eq(self.feed.valid),
            read.location.eq(self.feed.location),
            read.plane.eq(self.feed.plane),
            read.address.eq(
                Cat(self.feed.plane, self.feed.location.tile) * config.words + self.feed.word
            ),
            read.part.eq(self.feed.part),
            read.release.eq(self.feed.valid & self.feed.release),
        ]
        m.submodules.tiles = store = memory.Memory(
            shape=tile_layout(config, lanes), depth=BANKS * tiles, init=[]
        )
        tile_write, tile_read = store.write_port(), store.read_port(domain="comb")
        described = tile_write.data
        m.d.comb += [
            tile_write.en.eq(write.tile_end),
            tile_write.addr.eq(Cat(write.location.bank, write.location.tile)),
            described.tokens.eq(write.tokens),
            described.wide.eq(write.wide.any()),
            described.mixed.eq(write.wide.any() & (write.wide != write.occupied)),
            described.last.eq(write.last),
            tile_read.addr.eq(Cat(self.peek.bank, self.peek.tile)),
        ]
        m.d.sync += self.tile.eq(tile_read.data)
        m.d.comb += loader.released.eq(read.release)
        buffers = []
        for i in range(lanes):
            buffer = place(m, platform, f"lane_{i}", LineBuffer, config, tiles)
            tag = Signal(tag_layout(), name=f"tag_{i}")
            m.d.comb += [
                buffer.write_valid.eq(write.lanes[i]),
                buffer.write_bank.eq(write.location.bank),
                buffer.write_address.eq(write.address),
                buffer.write_data.eq(write.nibbles),
                tag.occupied.eq(write.occupied[i]),
                tag.wide.eq(write.wide[i]),
                buffer.tag_valid.eq(write.tile_end),
                buffer.tag_location.eq(write.location),
                buffer.tag.eq(tag),
                buffer.read.eq(read),
            ]
            buffers.append(buffer)
            if (i + 1) % self.together == 0:
                read = buffer.read_next
        m.d.comb += [
            loader.settled.eq(read.release),
            self.operands.eq(Cat(buffer.operand for buffer in buffers)),
            self.occupied.eq(Cat(buffer.occupied for buffer in buffers)),
            self.active.eq(Cat(buffer.active for buffer in buffers)),
        ]
        return m
