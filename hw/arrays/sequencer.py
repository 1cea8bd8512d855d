"""The tile sequencer: which tile, which pass, which operands, every cycle."""

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import BANKS, Config
from dtqatten.hw.arrays.score_buffer import tile_fits
from dtqatten.hw.arrays.tile_order import TileOrder
from dtqatten.hw.base.pipeline import counted, delayed
from dtqatten.hw.payloads.arrays import (
    listed_tile_layout,
    location_layout,
    step_layout,
    tile_layout,
)

__all__ = ["Sequencer"]


class Sequencer(wiring.Component):
    """Issue one step of a tile a cycle: every row block against all key tiles of its head.

    A tile takes ``steps`` cycles for 4x4 bit, twice that when one edge has an 8-bit token and four
    times when both have: passes that no row or column needs are skipped. It starts in the cycle
    after the previous one ended, if its queries and all keys of its head are loaded, the score
    buffer has room for ``rows`` more rows, and its end leaves the previous tile time to drain
    (``rows`` cycles; only tiles shorter than that ever wait for it). Tiles start at least two
    cycles apart, since a tile's description takes that long to arrive. Once started a tile never
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
        Locations of the next tile's queries and keys; registered.
    q_tile, k_tile : In(tile_layout)
        Descriptions of the tiles at the previous cycle's peeks.
    visits : In(stream.Signature(listed_tile_layout(config)))
        With ``skip_tiles``: the tiles that each row block visits. They decide where a row block
        ends, and a tile starts two cycles after it has been taken or later.
    score_row_read : In(1)
        A row left the score buffer.
    step : Out(step_layout(config))
        This cycle's step.
    tile_started, mixed_started : Out(1)
        The step is a tile's first; it is, and one of the tile's edges has both precisions.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "q_loaded": In(1),
                "k_loaded": In(1),
                **{
                    f"{side}_peek": Out(location_layout(tiles))
                    for side, tiles in config.bank_tiles.items()
                },
                "q_tile": In(tile_layout(config, config.rows)),
                "k_tile": In(tile_layout(config, config.cols)),
                **(
                    {"visits": In(stream.Signature(listed_tile_layout(config)))}
                    if config.skip_tiles
                    else {}
                ),
                "score_row_read": In(1),
                "step": Out(step_layout(config)),
                "tile_started": Out(1),
                "mixed_started": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.order = order = TileOrder(config)
        start, running, issue = Signal(), Signal(), Signal()
        q_used, k_used = Signal(), Signal()
        # Start conditions are registered one cycle early: a bank of each edge, and room. A bank
        # counts once its first tile is described.
        q_ready, k_ready = (
            counted(
                m,
                delayed(m, loaded, 2, f"{name}_described", reset_less=False),
                used,
                name,
                most=BANKS,
            )
            for loaded, used, name in (
                (self.q_loaded, q_used, "row_blocks"),
                (self.k_loaded, k_used, "heads"),
            )
        )
        fits = tile_fits(m, config, start, self.q_tile.tokens, self.score_row_read)
        may_drain = self._may_drain(m, order.final)
        known, visit = self._next_tile(m, start)
        m.d.comb += [
            start.eq(~running & q_ready & k_ready & fits & may_drain & known),
            issue.eq(start | running),
            # Key tiles are used once per row block; a bank is used up with its last use.
            q_used.eq(start & visit.last),
            k_used.eq(q_used & self.q_tile.last),
        ]
        m.d.sync += running.eq(issue & ~order.final)
        with m.If(start):
            m.d.sync += [
                self.q_peek.bank.eq(self.q_peek.bank ^ q_used),
                self.k_peek.bank.eq(self.k_peek.bank ^ k_used),
            ]

        # The tile being issued, either just started or held from its start.
        q_tile, k_tile, q_location, k_location = (
            held(m, running, value, name)
            for value, name in (
                (self.q_tile, "q_tile"),
                (self.k_tile, "k_tile"),
                (self.q_peek, "q_location"),
                (self.k_peek, "k_location"),
            )
        )
        last_tile = k_tile.last
        if config.skip_tiles:
            last_tile = held(m, running, visit, "visit").last
            m.d.sync += self.step.drain.tile.eq(k_location.tile)
        m.d.comb += [
            order.issue.eq(issue),
            order.q_wide.eq(q_tile.wide),
            order.k_wide.eq(k_tile.wide),
        ]
        control, drain = self.step.control, self.step.drain
        m.d.sync += [
            self.step.q.valid.eq(issue),
            self.step.q.location.eq(q_location),
            self.step.q.plane.eq(order.q_low),
            self.step.q.word.eq(order.word),
            self.step.q.part.eq(order.part),
            self.step.q.release.eq(order.final & last_tile),
            self.step.k.valid.eq(issue),
            self.step.k.location.eq(k_location),
            self.step.k.plane.eq(order.k_low),
            self.step.k.word.eq(order.word),
            self.step.k.part.eq(order.part),
            self.step.k.release.eq(order.final & q_tile.last & last_tile),
            control.first.eq(issue & order.first),
            control.shift.eq(Mux(issue, order.shift, 0)),
            control.last.eq(order.final),
            drain.valid.eq(order.final),
            drain.rows.eq(q_tile.tokens),
            drain.keys.eq(k_tile.tokens),
            drain.lift.eq(order.lift),
            drain.last_tile.eq(last_tile),
            drain.last_block.eq(q_tile.last),
            self.tile_started.eq(start),
            self.mixed_started.eq(start & (self.q_tile.mixed | self.k_tile.mixed)),
        ]
        return m

    def _next_tile(self, m: Module, start: Value) -> tuple[Value, data.View]:
        """Move on to the next tile of keys; return whether it is described, and what says ``last``.

        Parameters
        ----------
        m : Module
        start : Value
            The current tile starts.
        """
        if not self.config.skip_tiles:
            with m.If(start):
                m.d.sync += self.k_peek.tile.eq(Mux(self.k_tile.last, 0, self.k_peek.tile + 1))
            return Const(1), self.k_tile
        there, known = Signal(), Signal()
        visit = Signal(listed_tile_layout(self.config), name="next_visit")
        m.d.comb += [self.visits.ready.eq(start | ~there), self.k_peek.tile.eq(visit.tile)]
        m.d.sync += known.eq(there & ~start)
        with m.If(self.visits.ready):
            m.d.sync += [there.eq(self.visits.valid), visit.eq(self.visits.p)]
        return known, visit

    def _may_drain(self, m: Module, final: Value) -> Value:
        """Return whether a tile that starts now leaves the previous one time to drain."""
        interval, steps = self.config.drain_interval, self.config.steps
        if interval <= steps:
            return Const(1)
        # Cycles since the previous tile's final step, and the length of the next tile.
        since = Signal(range(interval + 1), init=interval)
        length = Signal(range(4 * steps + 1))
        with m.If(final):
            m.d.sync += since.eq(1)
        with m.Elif(since != interval):
            m.d.sync += since.eq(since + 1)
        m.d.comb += length.eq(steps << (self.q_tile.wide + self.k_tile.wide))
        return since + length > interval


def held(m: Module, running: Value, value: data.View, name: str) -> data.View:
    """Return ``value``, frozen at its last value before ``running``.

    Parameters
    ----------
    m : Module
    running : Value
        Hold the value.
    value : View
    name : str
        Of the result.
    """
    before = Signal(value.shape(), name=f"held_{name}")
    now = Signal(value.shape(), name=name)
    with m.If(running):
        m.d.comb += now.eq(before)
    with m.Else():
        m.d.comb += now.eq(value)
    m.d.sync += before.eq(now)
    return now
