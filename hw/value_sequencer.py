"""The sequencer of the value array: row blocks of weights by the channels of the values."""

from collections.abc import Callable

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.config import Config, Schedule
from dtqatten.hw.layout import (
    group_layout,
    value_head_layout,
    value_step_layout,
    weight_block_layout,
)
from dtqatten.hw.pipeline import counted, delayed
from dtqatten.hw.score_buffer import tile_fits

__all__ = ["ValueSequencer"]


class ValueSequencer(wiring.Component):
    """Issue one step of weighted sums a cycle: every row block against all channels of its head.

    A tile is a row block by ``cols`` channels. Its reduction runs over groups of ``depth`` tokens:
    for each, all ``planes`` of the weights by the high plane of the values, and by their low plane
    where the group is wide; ``planes * (groups + wide groups)`` steps. Where weights follow their
    tokens' precision, a group that is not wide takes the highest plane only: ``groups +
    (2 * planes - 1) * wide groups`` steps. In a narrow row block all weights have it only:
    ``groups + wide groups`` steps. Plane-major, pairs of planes of one total weight come
    together, heaviest first; interleaved, all pairs of a group.

    A tile starts in the cycle after the previous one ended, if its row block and all values of the
    head are loaded, the result buffer has room for ``rows`` more rows and its end leaves the
    previous tile ``drain_interval`` cycles. Once started it never stalls.

    Latency: ``step`` is registered; a tile whose row block's or head's ``loaded`` pulses last, in
    cycle ``t``, has its first step at ``t + 5``: descriptions and how long they ask to wait are in
    registers by then.

    Parameters
    ----------
    config : Config

    Members
    -------
    block_loaded, head_loaded : In(1)
        A row block of weights, or a head's values, is complete.
    block_used, head_used : Out(1)
        The row block, the head has had its last step.
    block_slot, head_slot : In
        Where the current ones are.
    block, block_after : In(weight_block_layout(config))
        The current row block and the one after it, as of
        :class:`~dtqatten.hw.descriptions.Descriptions`.
    head, head_after : In(value_head_layout(config))
    wide_peek : Out
        Index into the head's wide groups, or the group asked about.
    wide_group : In(group_layout(config))
    is_wide : In(1)
    row_read : In(1)
        A row left the result buffer.
    step : Out(value_step_layout(config))
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "block_loaded": In(1),
                "head_loaded": In(1),
                "block_used": Out(1),
                "head_used": Out(1),
                "block_slot": In(range(config.q_slots)),
                "head_slot": In(range(config.value_slots)),
                "block": In(weight_block_layout(config)),
                "block_after": In(weight_block_layout(config)),
                "head": In(value_head_layout(config)),
                "head_after": In(value_head_layout(config)),
                "wide_peek": Out(range(config.key_tiles * config.parts)),
                "wide_group": In(group_layout(config)),
                "is_wide": In(1),
                "row_read": In(1),
                "step": Out(value_step_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, planes = self.config, self.config.planes

        def after(index: Value, count: int) -> Value:
            return Mux(index == count - 1, 0, index + 1)

        channel_pass = Signal(range(config.channel_passes))
        running, start, issue, final = Signal(), Signal(), Signal(), Signal()

        block, head = self.block, self.head
        follows, some_wide, narrow = head.follows, head.some_wide, block.narrow
        block_used, head_used = self.block_used, self.head_used
        # A block or head counts until its last tile starts, which leaves time to count.
        last_pass = channel_pass == config.channel_passes - 1
        begun = start & last_pass
        blocks, heads = (
            counted(
                m,
                delayed(m, loaded, 3, f"{name}_described", reset_less=False),
                begins,
                name,
                most=slots,
            )
            for loaded, begins, name, slots in (
                (self.block_loaded, begun, "blocks", config.q_slots),
                (self.head_loaded, begun & block.last, "heads", config.value_slots),
            )
        )
        fits = tile_fits(m, config, start, block.rows, self.row_read)

        def of_next(of: Callable[[Value, Value], Value]) -> Value:
            """Return what is said ``of`` block and head of the tile after the one that ends."""
            later = Mux(
                block.last, of(self.block_after, self.head_after), of(self.block_after, head)
            )
            return Mux(last_pass, later, of(block, head))

        # Cycles since the last tile's final step; whether they are enough is known a cycle ahead,
        # when the tile that ends chooses who is next.
        interval = config.drain_interval
        since = Signal(range(interval + 1), init=interval)
        waited = Signal()

        def wait(block: Value, head: Value) -> Value:
            return Mux(block.narrow, head.narrow_wait, head.wait)

        m.d.sync += waited.eq(
            Mux(
                final,
                of_next(lambda block, head: wait(block, head) == 0),
                since >= wait(block, head),
            )
        )
        with m.If(final):
            m.d.sync += since.eq(1)
        with m.Elif(since != interval):
            m.d.sync += since.eq(since + 1)
        m.d.comb += [
            start.eq(~running & blocks & heads & fits & waited),
            issue.eq(start | running),
            block_used.eq(final & last_pass),
            head_used.eq(block_used & block.last),
        ]
        with m.If(final):
            m.d.sync += channel_pass.eq(after(channel_pass, config.channel_passes))
        m.d.sync += running.eq(issue & ~final)

        # Position: weight plane, value plane, group; all zero between tiles.
        plane, low = Signal(range(planes)), Signal()
        group = Signal(group_layout(config))
        index = Signal(range(config.key_tiles * config.parts))
        first_group = index == 0
        # What the position means is known a cycle ahead: a tile may start in any.
        moves, pass_end = Signal(), Signal()

        def ahead(name: str, first: Callable[[Value, Value], Value]) -> Signal:
            """Return a register that is ``first`` of block and head wherever a tile may start."""
            known = Signal(name=name)
            with m.If(final):
                m.d.sync += known.eq(of_next(first))
            with m.Elif(~issue):
                m.d.sync += known.eq(first(block, head))
            return known

        def at_last(single: str, before_last: str) -> Signal:
            known = ahead(f"at_{single}", lambda block, head: head[single])
            with m.If(issue & ~final):
                with m.If(pass_end):
                    m.d.sync += known.eq(head[single])
                with m.Elif(moves):
                    m.d.sync += known.eq(index == head[before_last])
            return known

        last_group = at_last("single", "before_last")

        def next_group() -> None:
            m.d.sync += [group.part.eq(group.part + 1), index.eq(index + 1)]
            with m.If(group.part == config.parts - 1):
                m.d.sync += [group.part.eq(0), group.tile.eq(group.tile + 1)]

        def first_group_again() -> None:
            m.d.sync += [group.eq(0), index.eq(0)]

        at = Signal(group_layout(config))
        control = self.step.control
        if config.schedule is Schedule.INTERLEAVED:
            pairs_end = Signal()
            last_plane = narrow | (plane == planes - 1)
            m.d.comb += [
                at.eq(group),
                pairs_end.eq(Mux(self.is_wide, low & last_plane, follows | last_plane)),
                moves.eq(issue & pairs_end),
                pass_end.eq(pairs_end & last_group),
                final.eq(issue & pass_end),
            ]
            with m.If(issue):
                m.d.sync += plane.eq(plane + 1)
                with m.If(last_plane):
                    m.d.sync += [plane.eq(0), low.eq(1)]
                with m.If(pairs_end):
                    m.d.sync += [plane.eq(0), low.eq(0)]
                    next_group()
                    with m.If(last_group):
                        first_group_again()
            shift, lift = planes - plane - low, 0
        else:
            # By total weight: (0,0) (1,0)(0,1) (2,0)(1,1) ... with the low plane last.
            next_plane, next_low = Signal.like(plane), Signal.like(low)
            m.d.comb += [next_plane.eq(plane + 1), next_low.eq(low)]
            with m.If(~low):
                with m.If(narrow):
                    m.d.comb += [next_plane.eq(plane), next_low.eq(1)]
                with m.Elif(some_wide & (plane != 0)):
                    m.d.comb += [next_plane.eq(plane - 1), next_low.eq(1)]
            with m.Elif(plane + 2 <= planes - 1):
                m.d.comb += [next_plane.eq(plane + 2), next_low.eq(0)]

            # Whether a pass is over the listed groups, and the tile's last.
            listed = ahead("listed", lambda block, head: Const(0))
            last_pair = ahead(
                "last_pair", lambda block, head: ~head.some_wide & (head.follows | block.narrow)
            )
            last_wide = at_last("single_wide", "before_last_wide")
            m.d.comb += [
                at.eq(Mux(listed, self.wide_group, group)),
                moves.eq(issue),
                pass_end.eq(Mux(listed, last_wide, last_group)),
                final.eq(issue & pass_end & last_pair),
            ]
            with m.If(issue):
                next_group()
                with m.If(pass_end):
                    first_group_again()
                    m.d.sync += [plane.eq(next_plane), low.eq(next_low)]
            with m.If(issue & pass_end & ~final):
                last_plane = narrow | (next_plane == planes - 1)
                m.d.sync += [
                    listed.eq(next_low | (follows & (next_plane != 0))),
                    last_pair.eq(Mux(some_wide, next_low & last_plane, follows | last_plane)),
                ]
            lighter = Mux(low, narrow | (plane == planes - 1), plane != 0)
            shift = first_group & lighter
            lift = Mux(some_wide, Mux(narrow, planes - 1, 0), Mux(narrow | follows, planes, 1))
        with m.If(final):
            m.d.sync += [plane.eq(0), low.eq(0)]
        m.d.comb += self.wide_peek.eq(index)

        weight, value, drain = self.step.weight, self.step.value, self.step.drain
        # The last channel pass may leave columns without a channel.
        channels = Mux(
            last_pass, config.d_head - (config.channel_passes - 1) * config.cols, config.cols
        )
        m.d.sync += [
            weight.valid.eq(issue),
            weight.slot.eq(self.block_slot),
            weight.tile.eq(at.tile),
            weight.part.eq(at.part),
            weight.plane.eq(plane),
            weight.release.eq(block_used),
            value.valid.eq(issue),
            value.slot.eq(self.head_slot),
            value.channel_pass.eq(channel_pass),
            value.tile.eq(at.tile),
            value.part.eq(at.part),
            value.plane.eq(low),
            value.release.eq(head_used),
            control.first.eq(start),
            control.shift.eq(Mux(issue, shift, 0)),
            control.last.eq(final),
            drain.valid.eq(final),
            drain.rows.eq(block.rows),
            drain.keys.eq(channels),
            drain.lift.eq(lift),
            drain.last_tile.eq(last_pass),
            drain.last_block.eq(block.last),
        ]
        return m
