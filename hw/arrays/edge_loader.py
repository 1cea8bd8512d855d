"""Loads the tokens of one edge of the score array into its lanes."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import BANKS, Config
from dtqatten.hw.base.pipeline import counted, delayed
from dtqatten.hw.payloads.arrays import Precision, load_layout, location_layout

__all__ = ["EdgeLoader", "edge_write_layout"]


def edge_write_layout(config: Config, lanes: int, tiles: int) -> data.StructLayout:
    """Write of one beat: ``nibbles`` at the ``address`` of a bank, in the lane set in ``lanes``.

    No lane is set where there is no beat. ``tile_end`` completes the tile at ``location``, the
    head's last one if ``last``: it holds ``tokens``, in its ``occupied`` lanes, 8-bit ones in its
    ``wide`` lanes.
    """
    return data.StructLayout(
        {
            "lanes": lanes,
            "location": location_layout(tiles),
            "address": range(2 * tiles * config.words),
            "nibbles": load_layout(config)["nibbles"].shape,
            "tile_end": unsigned(1),
            "tokens": range(lanes + 1),
            "occupied": lanes,
            "wide": lanes,
            "last": unsigned(1),
        }
    )


class EdgeLoader(wiring.Component):
    """Follow the tokens of head after head: bank, tile, lane, and word of a plane.

    A token's high plane comes first, then its low plane if it has one. A tile ends when its last
    lane is filled or its head ends; a bank of several tiles ends with its head.

    Lanes are written in the order in which they are read, so a bank is loaded again as soon as its
    first lane has been read for the last time. The end of a tile concerns all lanes at once: it
    waits until the last one has been read, and beats wait for it.

    Latency: ``write`` follows a beat by one cycle, since it reaches all lanes. Throughput one beat
    a cycle while a bank is free.

    Parameters
    ----------
    config : Config
    lanes : int
        Tokens of a tile.
    tiles : int
        Tiles of a bank.

    Members
    -------
    i : In(stream.Signature(load_layout(config)))
        Tokens of head after head.
    released, settled : In(1)
        The first lane, the last lane has read a bank for the last time; in this order, banks in
        turn.
    loaded : Out(1)
        A bank is complete: its last tile ends in the next cycle.
    write : Out(edge_write_layout(config, lanes, tiles))
        Write that a beat causes, and the end of a tile.
    """

    def __init__(self, config: Config, lanes: int, tiles: int) -> None:
        self.config, self.lanes, self.tiles = config, lanes, tiles
        super().__init__(
            {
                "i": In(stream.Signature(load_layout(config))),
                "released": In(1),
                "settled": In(1),
                "loaded": Out(1),
                "write": Out(edge_write_layout(config, lanes, tiles)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, lanes, tiles = self.config, self.lanes, self.tiles
        word = Signal(range(config.words))
        low = Signal()
        lane = Signal(range(lanes))
        location = Signal(location_layout(tiles))
        wide_lanes = Signal(lanes)

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
                location.tile.eq(Mux(bank_end, 0, location.tile + 1)),
                location.bank.eq(location.bank ^ bank_end),
            ]
        # A tile that is complete may still wait for its end.
        waits, waits_bank, ends = Signal(), Signal(), Signal()
        free = counted(m, self.released, bank_end, "free", most=BANKS, init=BANKS)
        unread = counted(m, self.settled, self.loaded, "unread", most=BANKS, init=BANKS)
        m.d.comb += [
            self.i.ready.eq(free & ~waits),
            ends.eq((tile_end | waits) & unread),
            self.loaded.eq((bank_end | waits_bank) & unread),
        ]
        m.d.sync += [
            waits.eq((tile_end | waits) & ~unread),
            waits_bank.eq((bank_end | waits_bank) & ~unread),
        ]

        tokens = Signal(range(lanes + 1))
        write = self.write
        m.d.comb += tokens.eq(lane + 1)
        m.d.sync += [write.lanes.eq(beat << lane), write.tile_end.eq(ends)]
        m.d.comb += [
            write.address.eq(
                delayed(m, Cat(low, location.tile) * config.words + word, 1, "address")
            ),
            write.nibbles.eq(delayed(m, self.i.p.nibbles, 1, "nibbles")),
        ]
        with m.If(~waits):
            m.d.sync += [
                write.location.eq(location),
                write.tokens.eq(tokens),
                write.occupied.eq((1 << tokens) - 1),
                write.wide.eq(wide_now),
                write.last.eq(self.i.p.last),
            ]
        return m
