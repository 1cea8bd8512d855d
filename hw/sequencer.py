"""The tile sequencer: which tile, which pass, which operands, every cycle."""

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.config import BANKS, Config, Schedule
from dtqatten.hw.layout import slot_layout, step_layout, tile_layout
from dtqatten.hw.pipeline import counted, delayed
from dtqatten.hw.score_buffer import tile_fits

__all__ = ["Sequencer"]


class Sequencer(wiring.Component):
    """Issue one step of a tile a cycle, for every row block all tiles of its head's keys.

    A tile takes ``steps`` cycles for 4x4 bit, twice that when one edge has an 8-bit token and four
    times when both have: passes that no row or column needs are skipped. It starts in the cycle
    after the previous one ended, if its queries and all keys of its head are loaded, the score
    buffer has room for ``rows`` more rows, and its end leaves the previous tile time to drain
    (``rows`` cycles; only tiles shorter than that ever wait for it). Tiles start at least two
    cycles apart, as long as a tile's description takes to get here. Once started a tile never
    stalls.

    Query tiles are released after their head's last key tile, keys after their head's last tile.

    Latency: ``step`` is registered; a tile whose last missing bank's ``loaded`` pulses in cycle
    ``t`` has its first step at ``t + 4``.

    Parameters
    ----------
    config : Config

    Members
    -------
    q_loaded, k_loaded : In(1)
        A bank of that edge is complete: a row block's queries, a head's keys.
    q_peek, k_peek : Out
        Slots of the next tile; registered.
    q_tile, k_tile : In(tile_layout)
        What the peeks of the cycle before hold.
    score_row_read : In(1)
        A row left the score buffer.
    step : Out(step_layout(config))
        This cycle's step.
    tile_started, mixed_started : Out(1)
        The step is a tile's first; and precisions are mixed along one of its edges.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "q_loaded": In(1),
                "k_loaded": In(1),
                **{
                    f"{side}_peek": Out(slot_layout(tiles))
                    for side, tiles in config.bank_tiles.items()
                },
                "q_tile": In(tile_layout(config, config.rows)),
                "k_tile": In(tile_layout(config, config.cols)),
                "score_row_read": In(1),
                "step": Out(step_layout(config)),
                "tile_started": Out(1),
                "mixed_started": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config

        def after(index: Value, count: int) -> Value:
            return Mux(index == count - 1, 0, index + 1)

        # All that a start asks for is decided a cycle ahead: a bank of each edge, and room.
        q_ready, k_ready = Signal(), Signal()
        start = Signal()
        final = Signal()
        running = Signal()

        may_drain = Const(1)
        interval = config.drain_interval
        if interval > config.steps:
            # Cycles since the last tile's final step, and those that the next tile would take.
            since = Signal(range(interval + 1), init=interval)
            with m.If(final):
                m.d.sync += since.eq(1)
            with m.Elif(since != interval):
                m.d.sync += since.eq(since + 1)
            length = Signal(range(4 * config.steps + 1))
            passes_log2 = self.q_tile.wide + self.k_tile.wide
            m.d.comb += length.eq(config.steps << passes_log2)
            may_drain = since + length > interval
        fits = tile_fits(m, config, start, self.q_tile.tokens, self.score_row_read)
        m.d.comb += start.eq(~running & q_ready & k_ready & fits & may_drain)

        # Key tiles are used once per row block; a bank is used up with its last use.
        q_used, k_used = Signal(), Signal()
        m.d.comb += [
            q_used.eq(start & self.k_tile.last),
            k_used.eq(q_used & self.q_tile.last),
        ]
        # A bank counts once its first tile is described.
        for loaded, used, ready, name in (
            (self.q_loaded, q_used, q_ready, "row_blocks"),
            (self.k_loaded, k_used, k_ready, "heads"),
        ):
            described = delayed(m, loaded, 2, f"{name}_described", reset_less=False)
            m.d.comb += ready.eq(counted(m, described, used, name, most=BANKS))
        with m.If(start):
            m.d.sync += [
                self.q_peek.bank.eq(self.q_peek.bank ^ q_used),
                self.k_peek.bank.eq(self.k_peek.bank ^ k_used),
                self.k_peek.tile.eq(Mux(self.k_tile.last, 0, self.k_peek.tile + 1)),
            ]

        # The tile being issued, either just started or held from its start.
        held_q, held_k = Signal.like(self.q_tile), Signal.like(self.k_tile)
        held_q_slot, held_k_slot = Signal.like(self.q_peek), Signal.like(self.k_peek)
        q_tile, k_tile = Signal.like(self.q_tile), Signal.like(self.k_tile)
        q_slot, k_slot = Signal.like(self.q_peek), Signal.like(self.k_peek)
        with m.If(running):
            m.d.comb += [
                q_tile.eq(held_q),
                k_tile.eq(held_k),
                q_slot.eq(held_q_slot),
                k_slot.eq(held_k_slot),
            ]
        with m.Else():
            m.d.comb += [
                q_tile.eq(self.q_tile),
                k_tile.eq(self.k_tile),
                q_slot.eq(self.q_peek),
                k_slot.eq(self.k_peek),
            ]
        m.d.sync += [
            held_q.eq(q_tile),
            held_k.eq(k_tile),
            held_q_slot.eq(q_slot),
            held_k_slot.eq(k_slot),
        ]

        # Position inside the tile: all zero between tiles, so that a start needs no multiplexer.
        parts = config.load_nibbles // config.depth
        part = Signal(range(parts))
        word = Signal(range(config.words))
        q_low, k_low = Signal(), Signal()
        final_part, final_word, final_pass = Signal(), Signal(), Signal()
        issue = Signal()
        m.d.comb += [
            issue.eq(start | running),
            final_part.eq(part == parts - 1),
            final_word.eq(word == config.words - 1),
            final_pass.eq((q_low == q_tile.wide) & (k_low == k_tile.wide)),
            final.eq(issue & final_part & final_word & final_pass),
        ]
        m.d.sync += running.eq(issue & ~final)

        def next_pass() -> list[Value]:
            """High-high, high-low, low-high, low-low, as far as the tile has them."""
            return [
                k_low.eq(Mux(final_pass, 0, k_tile.wide & ~k_low)),
                q_low.eq(Mux(final_pass, 0, q_low | k_low | ~k_tile.wide)),
            ]

        def next_operands() -> None:
            m.d.sync += part.eq(after(part, parts))
            with m.If(final_part):
                m.d.sync += word.eq(after(word, config.words))

        control = self.step.control
        drain = self.step.drain
        first_operands = (part == 0) & (word == 0)
        if config.schedule is Schedule.INTERLEAVED:
            with m.If(issue):
                m.d.sync += next_pass()
                with m.If(final_pass):
                    next_operands()
            # Sums are exact as they stand: each product was shifted on its own.
            shift, lift = 2 - (q_low + k_low), Const(0)
        else:
            with m.If(issue):
                next_operands()
                with m.If(final_part & final_word):
                    m.d.sync += next_pass()
            # The weight falls by 16 from high-high to the mixed passes and from those to low-low.
            lighter = Mux(q_low, k_low | ~k_tile.wide, k_low)
            shift, lift = first_operands & lighter, 2 - (q_tile.wide + k_tile.wide)
        first = first_operands & ~q_low & ~k_low
        m.d.sync += [
            self.step.q.valid.eq(issue),
            self.step.q.slot.eq(q_slot),
            self.step.q.plane.eq(q_low),
            self.step.q.word.eq(word),
            self.step.q.part.eq(part),
            self.step.q.release.eq(final & k_tile.last),
            self.step.k.valid.eq(issue),
            self.step.k.slot.eq(k_slot),
            self.step.k.plane.eq(k_low),
            self.step.k.word.eq(word),
            self.step.k.part.eq(part),
            self.step.k.release.eq(final & q_tile.last & k_tile.last),
            control.first.eq(issue & first),
            control.shift.eq(Mux(issue, shift, 0)),
            control.last.eq(final),
            drain.valid.eq(final),
            drain.rows.eq(q_tile.tokens),
            drain.keys.eq(k_tile.tokens),
            drain.lift.eq(lift),
            drain.last_tile.eq(k_tile.last),
            drain.last_block.eq(q_tile.last),
            self.tile_started.eq(start),
            self.mixed_started.eq(start & (self.q_tile.mixed | self.k_tile.mixed)),
        ]
        return m
