"""The tiles of keys that each row block visits: those that one of its queries may see."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import BANKS, Config
from dtqatten.hw.base.pipeline import counted
from dtqatten.hw.base.skid import buffered
from dtqatten.hw.payloads.arrays import listed_tile_layout
from dtqatten.hw.payloads.softmax import mask_layout, position_layout

__all__ = ["TilePlanner"]


def span_layout(config: Config) -> data.StructLayout:
    """Lowest and highest position of some tokens; ``last``: they are their head's last ones."""
    position = unsigned(config.position_bits)
    return data.StructLayout({"low": position, "high": position, "last": unsigned(1)})


class TilePlanner(wiring.Component):
    """List, row block by row block, the tiles of its head's keys that it visits, in their order.

    Positions ascend in each class only, and a tile may hold the end of one class and the start of
    the other. So a tile is visited if the lowest position in it is not above the row block's
    highest (causal heads), and the highest in it not below what the window leaves of the row
    block's lowest. A tile that is visited may still have nothing that is seen; one that is not
    has nothing.

    The row block of a progressive head is planned twice.

    A head's last row block, and every one that sees no tile, visits the head's last tile: so each
    row block has one, and whoever counts keys gets to know how many there are.

    Latency: a row block of a head of ``t`` tiles is planned in ``t + 1`` cycles, once its last
    query and its head's last key are here; its first tile is offered 5 cycles after these at the
    earliest. A tile leaves when the next one, or the end, is found. Two heads of keys and three row
    blocks of queries are held. A stall of ``visits`` delays and loses nothing.

    Parameters
    ----------
    config : Config

    Members
    -------
    heads : In(stream.Signature(mask_layout(config)))
        Mask of each head; taken when its last row block has been planned.
    queries, keys : In(stream.Signature(position_layout(config)))
        Positions of each head's queries and keys.
    visits : Out(stream.Signature(listed_tile_layout(config)))
        Tiles to visit.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "heads": In(stream.Signature(mask_layout(config))),
                "queries": In(stream.Signature(position_layout(config))),
                "keys": In(stream.Signature(position_layout(config))),
                "visits": Out(stream.Signature(listed_tile_layout(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        block = stream.Signature(span_layout(config)).create(path=("block",))
        self._row_blocks(m, block)
        moves, first, ends, trial = Signal(), Signal(), Signal(), Signal()
        scanning, tile, bank = Signal(), Signal(range(config.key_tiles)), Signal(range(BANKS))
        head_ends = Signal()
        span, keys_here = self._key_tiles(m, Cat(bank, tile), head_ends)

        if config.progressive:
            again = Signal(name="again")
            m.d.comb += trial.eq(self.heads.p.progressive & ~again)
            with m.If(moves & ends):
                m.d.sync += again.eq(trial)

        # What the row block sees lies between these.
        bits = config.position_bits
        low, high = Signal(bits), Signal(bits)
        lowest: Value = Value.cast(0)
        if config.windows:
            beyond = Signal(signed(bits + 2))
            m.d.comb += beyond.eq(block.p.low - (self.heads.p.window - 1))
            lowest = Mux((self.heads.p.window == 0) | (beyond < 0), 0, beyond)
        m.d.comb += [
            first.eq(~scanning & block.valid & self.heads.valid & keys_here),
            ends.eq(scanning & span.last),
            block.ready.eq(moves & ends & ~trial),
            head_ends.eq(block.ready & block.p.last),
            self.heads.ready.eq(head_ends),
        ]
        with m.If(moves):
            m.d.sync += [
                scanning.eq(Mux(scanning, ~ends, first)),
                tile.eq(Mux(scanning & ~ends, tile + 1, 0)),
                bank.eq(bank ^ head_ends),
            ]
            with m.If(first):
                m.d.sync += [
                    low.eq(lowest),
                    high.eq(Mux(self.heads.p.causal, block.p.high, (1 << bits) - 1)),
                ]

        # The tile looked at, a cycle later.
        looked = Signal(span_layout(config))
        there, looked_tile, last_block, found = (
            Signal(),
            Signal.like(tile),
            Signal(),
            Signal(),
        )
        visited = Signal()
        m.d.comb += visited.eq(
            there
            & (
                ((looked.low <= high) & (looked.high >= low))
                | (looked.last & (last_block | ~found))
            )
        )
        with m.If(moves):
            m.d.sync += [
                there.eq(scanning),
                looked.eq(span),
                looked_tile.eq(tile),
                last_block.eq(block.p.last),
                found.eq(~(there & looked.last) & (found | visited)),
            ]
        self._give(m, visited, there & looked.last, looked_tile, moves)
        return m

    def _row_blocks(self, m: Module, block: stream.Interface) -> None:
        """Give the span of each row block's queries to ``block``, which its consumer sees."""
        rows, query = self.config.rows, self.queries.p
        row = Signal(range(rows))
        low, high = Signal.like(query.id), Signal.like(query.id)
        end = Signal()
        spans = stream.Signature(block.p.shape()).create(path=("spans",))
        m.d.comb += [
            end.eq((row == rows - 1) | query.last),
            spans.valid.eq(self.queries.valid & end),
            self.queries.ready.eq(spans.ready),
            spans.p.low.eq(Mux((row == 0) | (query.id < low), query.id, low)),
            spans.p.high.eq(Mux((row == 0) | (query.id > high), query.id, high)),
            spans.p.last.eq(query.last),
        ]
        with m.If(self.queries.valid & self.queries.ready):
            m.d.sync += [low.eq(spans.p.low), high.eq(spans.p.high), row.eq(Mux(end, 0, row + 1))]
        buffered(m, spans, block, "row_block")

    def _key_tiles(self, m: Module, place: Value, head_ends: Value) -> tuple[data.View, Value]:
        """Keep the spans of key tiles; return that at a place, and whether its head is complete.

        Parameters
        ----------
        m : Module
        place : Value
            Bank, then tile.
        head_ends : Value
            The oldest head is done with.
        """
        config, key = self.config, self.keys.p
        m.submodules.spans = spans = memory.Memory(
            shape=span_layout(config), depth=BANKS * config.key_tiles, init=[]
        )
        write, read = spans.write_port(), spans.read_port(domain="comb")
        lane, tile = Signal(range(config.cols)), Signal(range(config.key_tiles))
        bank = Signal(range(BANKS))
        low, high = Signal.like(key.id), Signal.like(key.id)
        beat, end = Signal(), Signal()
        m.d.comb += [
            beat.eq(self.keys.valid & self.keys.ready),
            end.eq(beat & ((lane == config.cols - 1) | key.last)),
            write.en.eq(end),
            write.addr.eq(Cat(bank, tile)),
            write.data.low.eq(Mux((lane == 0) | (key.id < low), key.id, low)),
            write.data.high.eq(Mux((lane == 0) | (key.id > high), key.id, high)),
            write.data.last.eq(key.last),
            read.addr.eq(place),
        ]
        with m.If(beat):
            m.d.sync += [
                low.eq(write.data.low),
                high.eq(write.data.high),
                lane.eq(Mux(end, 0, lane + 1)),
            ]
            with m.If(end):
                m.d.sync += [tile.eq(Mux(key.last, 0, tile + 1)), bank.eq(bank ^ key.last)]
        complete = beat & key.last
        room = counted(m, head_ends, complete, "free_heads", most=BANKS, init=BANKS)
        m.d.comb += self.keys.ready.eq(room)
        return read.data, counted(m, complete, head_ends, "heads_held", most=BANKS)

    def _give(self, m: Module, visited: Value, end: Value, tile: Value, moves: Signal) -> None:
        """Offer tiles one behind the search, since the last one is known only at the end.

        Parameters
        ----------
        m : Module
        visited, end : Value
            The tile looked at is visited; it is the head's last.
        tile : Value
            It.
        moves : Signal
            To be driven: the search goes on.
        """
        held, kept = Signal(), Signal(listed_tile_layout(self.config))
        o = stream.Signature(self.visits.p.shape()).create(path=("found",))
        m.d.comb += [
            o.valid.eq(held & (visited | kept.last)),
            o.p.eq(kept),
            moves.eq(~o.valid | o.ready),
        ]
        with m.If(moves):
            m.d.sync += held.eq(visited | (held & ~o.valid))
            with m.If(visited):
                m.d.sync += [kept.tile.eq(tile), kept.last.eq(end)]
            with m.Elif(end):
                m.d.sync += kept.last.eq(1)
        buffered(m, o, self.visits, "tile")
