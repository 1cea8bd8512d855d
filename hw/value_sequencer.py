"""The sequencer of the value array: row blocks of weights by the channels of the values."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.config import Config, Schedule
from dtqatten.hw.layout import (
    group_layout,
    value_head_layout,
    value_step_layout,
    weight_block_layout,
)
from dtqatten.hw.pipeline import counted
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
    previous tile ``rows`` cycles to drain. Once started it never stalls.

    Latency: ``step`` is registered.

    Parameters
    ----------
    config : Config

    Members
    -------
    block_loaded, head_loaded : In(1)
        A row block of weights, or a head's values, is complete.
    block_peek, head_peek : Out
        Slots of the next tile.
    block : In(weight_block_layout(config))
    head : In(value_head_layout(config))
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
                "block_peek": Out(range(config.q_slots)),
                "head_peek": Out(range(config.value_slots)),
                "block": In(weight_block_layout(config)),
                "head": In(value_head_layout(config)),
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

        # Cycles since the last tile's final step.
        since = Signal(range(config.rows + 1), init=config.rows)
        follows, some_wide = self.head.follows, self.head.some_wide
        narrow = self.block.narrow
        waited = Mux(narrow, since > self.head.narrow_wait, since > self.head.wait)
        with m.If(final):
            m.d.sync += since.eq(1)
        with m.Elif(since != config.rows):
            m.d.sync += since.eq(since + 1)
        block_used, head_used = Signal(), Signal()
        blocks = counted(m, self.block_loaded, block_used, "blocks", most=config.q_slots)
        heads = counted(m, self.head_loaded, head_used, "heads", most=config.value_slots)
        fits = tile_fits(m, config, start, self.block.rows, self.row_read)
        m.d.comb += [
            start.eq(~running & blocks & heads & fits & waited),
            issue.eq(start | running),
        ]

        # Slots move on with the tile's end: while it runs, peeks describe it.
        last_pass = channel_pass == config.channel_passes - 1
        m.d.comb += [
            block_used.eq(final & last_pass),
            head_used.eq(block_used & self.block.last),
        ]
        with m.If(final):
            m.d.sync += channel_pass.eq(after(channel_pass, config.channel_passes))
        with m.If(block_used):
            m.d.sync += self.block_peek.eq(after(self.block_peek, config.q_slots))
        with m.If(head_used):
            m.d.sync += self.head_peek.eq(after(self.head_peek, config.value_slots))
        m.d.sync += running.eq(issue & ~final)

        # Position: weight plane, value plane, group; all zero between tiles.
        plane, low = Signal(range(planes)), Signal()
        group = Signal(group_layout(config))
        index = Signal(range(config.key_tiles * config.parts))
        last_plane = narrow | (plane == planes - 1)
        last_group = (group.tile == self.head.tile) & (group.part == self.head.part)
        first_group = index == 0

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
            m.d.comb += [
                at.eq(group),
                pairs_end.eq(Mux(self.is_wide, low & last_plane, follows | last_plane)),
                final.eq(issue & pairs_end & last_group),
            ]
            with m.If(issue):
                m.d.sync += plane.eq(plane + 1)
                with m.If(last_plane):
                    m.d.sync += [plane.eq(0), low.eq(1)]
                with m.If(pairs_end):
                    m.d.sync += [plane.eq(0), low.eq(0)]
                    next_group()
            shift, lift = planes - plane - low, 0
        else:
            pass_end, listed, last_pair = (Signal() for _ in range(3))
            last_wide = index == self.head.wide_last
            m.d.comb += [
                listed.eq(low | (follows & (plane != 0))),
                at.eq(Mux(listed, self.wide_group, group)),
                pass_end.eq(Mux(listed, last_wide, last_group)),
                last_pair.eq(Mux(some_wide, low & last_plane, follows | last_plane)),
                final.eq(issue & pass_end & last_pair),
            ]
            with m.If(issue):
                next_group()
                with m.If(pass_end):
                    first_group_again()
                    # By total weight: (0,0) (1,0)(0,1) (2,0)(1,1) ... with the low plane last.
                    with m.If(~low):
                        with m.If(narrow):
                            m.d.sync += low.eq(1)
                        with m.Elif(some_wide & (plane != 0)):
                            m.d.sync += [low.eq(1), plane.eq(plane - 1)]
                        with m.Else():
                            m.d.sync += plane.eq(plane + 1)
                    with m.Elif(plane + 2 <= planes - 1):
                        m.d.sync += [low.eq(0), plane.eq(plane + 2)]
                    with m.Else():
                        m.d.sync += plane.eq(plane + 1)
            lighter = Mux(low, last_plane, plane != 0)
            shift = first_group & lighter
            lift = Mux(some_wide, Mux(narrow, planes - 1, 0), Mux(narrow | follows, planes, 1))
        with m.If(final):
            first_group_again()
            m.d.sync += [plane.eq(0), low.eq(0)]
        m.d.comb += self.wide_peek.eq(index)

        weight, value, drain = self.step.weight, self.step.value, self.step.drain
        # The last channel pass may leave columns without a channel.
        channels = Mux(
            last_pass, config.d_head - (config.channel_passes - 1) * config.cols, config.cols
        )
        m.d.sync += [
            weight.valid.eq(issue),
            weight.slot.eq(self.block_peek),
            weight.tile.eq(at.tile),
            weight.part.eq(at.part),
            weight.plane.eq(plane),
            weight.release.eq(block_used),
            value.valid.eq(issue),
            value.slot.eq(self.head_peek),
            value.channel_pass.eq(channel_pass),
            value.tile.eq(at.tile),
            value.part.eq(at.part),
            value.plane.eq(low),
            value.release.eq(head_used),
            control.first.eq(start),
            control.shift.eq(Mux(issue, shift, 0)),
            control.last.eq(final),
            drain.valid.eq(final),
            drain.rows.eq(self.block.rows),
            drain.keys.eq(channels),
            drain.lift.eq(lift),
            drain.last_tile.eq(last_pass),
            drain.last_block.eq(self.block.last),
        ]
        return m
