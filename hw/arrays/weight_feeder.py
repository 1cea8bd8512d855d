"""The left edge of the value array: weights of a row block, read plane by plane."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.arrays.group_levels import GroupLevels
from dtqatten.hw.base.descriptions import Descriptions
from dtqatten.hw.base.export import place
from dtqatten.hw.base.pipeline import counted, delayed
from dtqatten.hw.payloads.arrays import (
    exponent_fields,
    weight_block_layout,
    weight_feed_layout,
    weight_operand_layout,
    weight_shape,
)
from dtqatten.hw.payloads.choices import levels_layout, visited_tile_layout
from dtqatten.hw.payloads.softmax import weight_row_layout
from dtqatten.hw.payloads.sums import EXPONENT_BITS

__all__ = ["WeightFeeder", "WeightLane"]


class WeightLane(wiring.Component):
    """Weights of one row of ``weight_banks`` row blocks.

    Codes are cut into nibbles when they are written: unsigned ones as they stand, signed ones into
    balanced nibbles, in [-8, 7] in all planes but the highest. A read of an absent row gives zeros.

    Latency: ``operand`` follows ``feed`` by ``1 + word_stages`` cycles, its ``exponent``
    ``product_stages`` later, ``feed_next`` by one. Never stalls.

    Parameters
    ----------
    config : Config

    Members
    -------
    write_valid, write_bank, write_tile, write_data : In
        One tile's weights, ``cols`` codes of ``4 * planes`` bits.
    write_exponent : In(EXPONENT_BITS)
        Where tiles have exponents: that of these weights.
    tag_valid, tag_bank, tag : In
        Says whether a bank's row is there.
    feed : In(weight_feed_layout(config))
        The operand wanted.
    feed_next : Out
        The same, one cycle later.
    operand : Out(weight_operand_layout(config))
        ``depth`` nibbles.
    exponent : Out(EXPONENT_BITS)
        Of the weights, where tiles have exponents.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        exponent = {"write_exponent": In(EXPONENT_BITS), "exponent": Out(EXPONENT_BITS)}
        super().__init__(
            {
                "write_valid": In(1),
                "write_bank": In(range(config.weight_banks)),
                "write_tile": In(range(config.key_tiles)),
                "write_data": In(data.ArrayLayout(weight_shape(config), config.cols)),
                "tag_valid": In(1),
                "tag_bank": In(range(config.weight_banks)),
                "tag": In(1),
                "feed": In(weight_feed_layout(config)),
                "feed_next": Out(weight_feed_layout(config)),
                "operand": Out(weight_operand_layout(config)),
            }
            | (exponent if config.block_exponents else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, planes = self.config, self.config.planes
        # A word holds a tile's weights plane by plane, highest first; each plane is padded with
        # zeros to whole operands. Behind them is the tile's exponent, if it has one.
        plane_bits = 4 * config.depth * config.parts
        exponent_bits = EXPONENT_BITS if config.block_exponents else 0
        m.submodules.words = words = memory.Memory(
            shape=unsigned(plane_bits * planes + exponent_bits),
            depth=config.weight_banks * config.key_tiles,
            init=[],
        )
        write, read = words.write_port(), words.read_port()
        tags = Signal(config.weight_banks)
        with m.If(self.tag_valid):
            m.d.sync += tags.bit_select(self.tag_bank, 1).eq(self.tag)

        nibbles: list[list[Signal]] = [[] for _ in range(planes)]
        for c in range(config.cols):
            rest = self.write_data[c]
            for plane in reversed(range(planes)):
                nibble = Signal(4, name=f"nibble_{c}_{plane}")
                m.d.comb += nibble.eq(rest)
                nibbles[plane].append(nibble)
                # The rest that higher planes hold, corrected for this nibble's sign if it has one.
                rest = (rest if config.unsigned_weights else rest + 8) >> 4
        filler = unsigned(plane_bits - 4 * config.cols)
        behind = [self.write_exponent] if config.block_exponents else []
        m.d.comb += [
            write.en.eq(self.write_valid),
            write.addr.eq(self.write_bank * config.key_tiles + self.write_tile),
            write.data.eq(Cat(*(Cat(*plane, Signal(filler)) for plane in nibbles), *behind)),
            read.en.eq(self.feed.valid),
            read.addr.eq(self.feed.bank * config.key_tiles + self.feed.tile),
        ]
        m.d.sync += self.feed_next.eq(self.feed)

        now = delayed(m, self.feed_next, config.timing.word_stages, "now", reset_less=False)
        word = delayed(m, read.data, config.timing.word_stages, "word")
        if config.block_exponents:
            exponent = word[-EXPONENT_BITS:]
            m.d.comb += self.exponent.eq(delayed(m, exponent, config.product_stages, "exponent"))
        part = Signal(4 * config.depth)
        m.d.comb += [
            part.eq(word.word_select(now.plane * config.parts + now.part, 4 * config.depth)),
            self.operand.eq(Mux(now.valid & tags.bit_select(now.bank, 1), part, 0)),
        ]
        return m


class WeightFeeder(wiring.Component):
    """Feed a row block's weights, skewed by one cycle a row.

    Loading: one row of a tile per cycle while a bank is free. ``loaded`` pulses in the cycle
    that completes a row block; ``block`` and ``block_after`` are
    :class:`~dtqatten.hw.base.descriptions.Descriptions` written in that cycle. ``operands[r]``
    follows ``feed`` by ``r + 2 + word_stages`` cycles. A feed with ``release`` frees its bank
    ``rows + 2`` cycles later.

    Parameters
    ----------
    config : Config

    Members
    -------
    i : In(stream.Signature(weight_row_layout(config)))
        Row blocks of head after head.
    loaded : Out(1)
    used : In(1)
        The current row block is done with.
    bank : Out(range(weight_banks))
        Where it is.
    block, block_after : Out(weight_block_layout(config))
        Its description, and that of the one after it.
    visited_valid, visited : Out(1), Out(visited_tile_layout(config))
        With ``skip_tiles``, in place of the five: a tile of a row block is complete.
    levels_valid, levels : Out(1), Out(levels_layout(config))
        With ``local_values``: what its groups weigh, ``GroupLevels.latency`` cycles later.
    feed : In(weight_feed_layout(config))
    operands : Out(ArrayLayout(weight_operand_layout(config), rows))
    exponents : Out(ArrayLayout(EXPONENT_BITS, rows))
        Where tiles have exponents: those of the operands of ``product_stages`` cycles before.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        described = {
            "loaded": Out(1),
            "used": In(1),
            "bank": Out(range(config.weight_banks)),
            "block": Out(weight_block_layout(config)),
            "block_after": Out(weight_block_layout(config)),
        }
        visited = {"visited_valid": Out(1), "visited": Out(visited_tile_layout(config))}
        if config.local_values:
            visited |= {"levels_valid": Out(1), "levels": Out(levels_layout(config))}
        exponents = data.ArrayLayout(unsigned(EXPONENT_BITS), config.rows)
        super().__init__(
            {
                "i": In(stream.Signature(weight_row_layout(config))),
                **(visited if config.skip_tiles else described),
                "feed": In(weight_feed_layout(config)),
                "operands": Out(data.ArrayLayout(weight_operand_layout(config), config.rows)),
            }
            | ({"exponents": Out(exponents)} if config.block_exponents else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, banks = self.config, self.config.weight_banks
        # The bank that is being filled.
        filling = Signal(range(banks))
        tile = Signal(range(config.key_tiles))
        row = Signal(range(config.rows))
        released = Signal()
        beat, block_end = Signal(), Signal()
        row_block = self.i.p
        m.d.comb += [
            beat.eq(self.i.valid & self.i.ready),
            block_end.eq(beat & row_block.last_row & row_block.last_tile),
        ]
        # All tiles of a row agree on ``narrow``, so the rows of any tile describe the block.
        wide = Signal()
        with m.If(beat):
            m.d.sync += [row.eq(row + 1), wide.eq(wide | ~row_block.narrow)]
            with m.If(row_block.last_row):
                m.d.sync += [row.eq(0), wide.eq(0)]
                if not config.skip_tiles:
                    m.d.sync += tile.eq(tile + 1)
        with m.If(block_end):
            m.d.sync += filling.eq(Mux(filling == banks - 1, 0, filling + 1))
            if not config.skip_tiles:
                m.d.sync += tile.eq(0)
        free = counted(m, released, block_end, "free", most=banks, init=banks)
        m.d.comb += self.i.ready.eq(free)

        block = Signal(weight_block_layout(config), name="described")
        m.d.comb += [
            block.rows.eq(row + 1),
            block.last.eq(row_block.last_block),
            block.narrow.eq(row_block.narrow & ~wide),
        ]
        if config.skip_tiles:
            m.d.comb += tile.eq(row_block.tile)
            self._visit(m, beat, block)
        else:
            m.submodules.blocks = blocks = Descriptions(block.shape(), banks)
            m.d.comb += [
                self.loaded.eq(block_end),
                blocks.write.eq(block_end),
                blocks.written.eq(block),
                blocks.step.eq(self.used),
                self.bank.eq(blocks.index),
                self.block.eq(blocks.item),
                self.block_after.eq(blocks.after),
            ]

        feed = Signal.like(self.feed)
        m.d.sync += feed.eq(self.feed)
        # Where timing asks for it, writes are registered once: a beat fans out to all lanes.
        late = config.timing.buffered_weights
        written = Cat(beat & (row == r) for r in range(config.rows))
        written = delayed(m, written, late, "written", reset_less=False)
        write_bank = delayed(m, filling, late, "write_bank")
        write_tile = delayed(m, tile, late, "write_tile")
        weights = delayed(m, row_block.weights, late, "weights")
        exponent: Value = Const(0)
        if config.block_exponents:
            exponent = delayed(m, row_block.exponent, late, "exponent")
        # Row-valid tags arrive one cycle late, before any feed.
        here, told, told_bank = Signal(config.rows), Signal(), Signal.like(filling)
        m.d.sync += [here.eq((2 << row) - 1), told.eq(block_end), told_bank.eq(filling)]
        lanes = []
        for r in range(config.rows):
            lane = place(m, platform, f"lane_{r}", WeightLane, config)
            m.d.comb += [
                lane.write_valid.eq(written[r]),
                lane.write_bank.eq(write_bank),
                lane.write_tile.eq(write_tile),
                lane.write_data.eq(weights),
                lane.tag_valid.eq(told),
                lane.tag_bank.eq(told_bank),
                lane.tag.eq(here[r]),
                lane.feed.eq(feed),
            ]
            if config.block_exponents:
                m.d.comb += [
                    lane.write_exponent.eq(exponent),
                    self.exponents[r].eq(lane.exponent),
                ]
            feed = lane.feed_next
            lanes.append(lane)
        m.d.comb += [
            released.eq(feed.valid & feed.release),
            self.operands.eq(Cat(lane.operand for lane in lanes)),
        ]
        return m

    def _visit(self, m: Module, beat: Value, block: data.View) -> None:
        """Tell of each complete tile, and with ``local_values`` of its levels when they are known.

        Parameters
        ----------
        m : Module
        beat : Value
            A row is taken.
        block : View
            Its row block, if it is the last one.
        """
        row, complete = self.i.p, beat & self.i.p.last_row
        m.d.comb += [
            self.visited_valid.eq(complete),
            self.visited.tile.eq(row.tile),
            self.visited.last.eq(row.last_tile),
            self.visited.block.eq(block),
        ]
        if self.config.chosen_values:
            m.d.comb += [self.visited.keys.eq(row.keys), self.visited.share.eq(row.share)]
        if self.config.local_values:
            m.submodules.sums = sums = GroupLevels(self.config)
            late = sums.latency(self.config)
            m.d.comb += [
                sums.valid.eq(beat),
                sums.last_row.eq(row.last_row),
                sums.weights.eq(row.weights),
                *(sums.exponent.eq(row.exponent) for _ in exponent_fields(self.config)),
                self.levels_valid.eq(delayed(m, complete, late, "complete", reset_less=False)),
                self.levels.eq(sums.levels),
            ]
