"""The top edge of the value array: values by channel, ``depth`` tokens an operand."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.config import Config, Schedule
from dtqatten.hw.export import place
from dtqatten.hw.layout import (
    Plane,
    Precision,
    group_layout,
    operand_layout,
    value_feed_layout,
    value_head_layout,
    value_layout,
)

__all__ = ["ValueFeeder", "ValueLane"]


class ValueLane(wiring.Component):
    """Values of the channels of one column, of all tokens of two heads.

    A word holds one channel's plane of the ``depth`` tokens of a group; tokens are written one
    nibble at a time. Writing a high nibble zeroes the low one, so that a 4-bit token has a low
    plane of zeros. Reads give zeros while ``feed.valid`` is low.

    Latency: ``operand`` and ``feed_next`` follow ``feed`` by one cycle. Never stalls.

    Parameters
    ----------
    config : Config

    Members
    -------
    write_valid : In(1)
    write_address : In
        Word, ``(slot * channel_passes + channel_pass) * groups + group``.
    write_place : In(range(depth))
        The token's place in the group.
    write_plane : In(Plane)
    write_nibble : In(4)
    feed : In(value_feed_layout(config))
        The operand wanted.
    feed_next : Out(value_feed_layout(config))
        The same, one cycle later.
    operand : Out(operand_layout(config))
        ``depth`` nibbles.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.words = config.value_slots * config.channel_passes * config.key_tiles * config.parts
        super().__init__(
            {
                "write_valid": In(1),
                "write_address": In(range(self.words)),
                # Never of no bits, which Verilog cannot express.
                "write_place": In(range(max(2, config.depth))),
                "write_plane": In(Plane),
                "write_nibble": In(4),
                "feed": In(value_feed_layout(config)),
                "feed_next": Out(value_feed_layout(config)),
                "operand": Out(operand_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        now = self.feed_next
        m.d.sync += self.feed_next.eq(self.feed)
        operands = []
        for is_low in (False, True):
            words = memory.Memory(shape=4 * config.depth, depth=self.words, init=[])
            m.submodules["words_low" if is_low else "words_high"] = words
            write, read = words.write_port(granularity=4), words.read_port()
            writes_low = self.write_plane == Plane.LOW
            writes = Const(1) if is_low else ~writes_low
            nibble = Mux(writes_low, self.write_nibble, 0) if is_low else self.write_nibble
            m.d.comb += [
                write.en.eq((self.write_valid & writes) << self.write_place),
                write.addr.eq(self.write_address),
                write.data.eq(nibble.replicate(config.depth)),
                read.en.eq(self.feed.valid),
                read.addr.eq(address(config, self.feed)),
            ]
            operands.append(read.data)
        chosen = Mux(now.plane == Plane.LOW, operands[True], operands[False])
        m.d.comb += self.operand.eq(Mux(now.valid, chosen, 0))
        return m


def address(config: Config, at: data.View) -> Value:
    """Return the word of a slot, channel pass and group."""
    block = at.slot * config.channel_passes + at.channel_pass
    return (block * config.key_tiles + at.tile) * config.parts + at.part


class ValueFeeder(wiring.Component):
    """Feed a head's values, skewed by one cycle a column.

    Channel ``c`` belongs to column ``c % cols`` in channel pass ``c // cols``. Tokens make groups
    of ``depth``, counted anew in every tile of ``cols`` keys, as the weights are; a group is wide
    if one of its tokens is 8-bit.

    Loading: one beat a cycle while a head is free. ``loaded`` pulses in the cycle that completes a
    head; from the next cycle on ``head`` describes the one in slot ``peek``, and ``wide_group``
    says which its ``wide_peek``-th wide group is (plane-major) or whether group ``wide_peek`` is
    wide (interleaved). ``operands[c]`` follows ``feed`` by ``c + 2`` cycles. A feed with
    ``release`` frees its slot ``cols + 2`` cycles later.

    Parameters
    ----------
    config : Config

    Members
    -------
    i : In(stream.Signature(value_layout(config)))
        Value tokens of head after head.
    loaded : Out(1)
    peek : In(range(value_slots))
    head : Out(value_head_layout(config))
    wide_peek : In(range(key_tiles * parts))
    wide_group : Out(group_layout(config))
    is_wide : Out(1)
    feed : In(value_feed_layout(config))
    operands : Out(ArrayLayout(operand_layout(config), cols))
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(value_layout(config))),
                "loaded": Out(1),
                "peek": In(range(config.value_slots)),
                "head": Out(value_head_layout(config)),
                "wide_peek": In(range(config.key_tiles * config.parts)),
                "wide_group": Out(group_layout(config)),
                "is_wide": Out(1),
                "feed": In(value_feed_layout(config)),
                "operands": Out(data.ArrayLayout(operand_layout(config), config.cols)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        slots, groups = config.value_slots, config.key_tiles * config.parts
        beats = config.d_head // config.value_nibbles

        # Loader: the token's group and place, and the beat within its plane.
        slot = Signal(range(slots))
        group = Signal(group_layout(config))
        column = Signal(range(config.cols))
        place_in_group = Signal(range(config.depth))
        word = Signal(range(beats))
        low = Signal()
        used = Signal(range(slots + 1))
        wide_groups = Signal(range(groups + 1))
        group_wide = Signal()
        released = Signal()

        beat = Signal()
        plane_end, token_end, group_end, tile_end, head_end = (Signal() for _ in range(5))
        wide = self.i.p.precision == Precision.BIT8
        wide_now = Signal()
        m.d.comb += [
            self.i.ready.eq(used != slots),
            beat.eq(self.i.valid & self.i.ready),
            plane_end.eq(beat & (word == beats - 1)),
            token_end.eq(plane_end & (low | ~wide)),
            head_end.eq(token_end & self.i.p.last),
            tile_end.eq(token_end & (column == config.cols - 1)),
            group_end.eq(token_end & ((place_in_group == config.depth - 1) | tile_end | head_end)),
            wide_now.eq(group_wide | wide),
            self.loaded.eq(head_end),
        ]
        with m.If(beat):
            m.d.sync += word.eq(Mux(plane_end, 0, word + 1))
        with m.If(plane_end):
            m.d.sync += low.eq(~token_end)
        with m.If(token_end):
            m.d.sync += [
                column.eq(column + 1),
                place_in_group.eq(place_in_group + 1),
                group_wide.eq(wide_now),
            ]
        with m.If(group_end):
            m.d.sync += [
                place_in_group.eq(0),
                group.part.eq(group.part + 1),
                group_wide.eq(0),
                wide_groups.eq(wide_groups + wide_now),
            ]
        with m.If(tile_end):
            m.d.sync += [column.eq(0), group.part.eq(0), group.tile.eq(group.tile + 1)]
        with m.If(head_end):
            m.d.sync += [
                column.eq(0),
                group.eq(0),
                wide_groups.eq(0),
                slot.eq(Mux(slot == slots - 1, 0, slot + 1)),
            ]
        m.d.sync += used.eq(used + head_end - released)

        m.submodules.heads = heads = memory.Memory(
            shape=value_head_layout(config), depth=slots, init=[]
        )
        head_write, head_read = heads.write_port(), heads.read_port(domain="comb")
        m.d.comb += [
            head_write.en.eq(head_end),
            head_write.addr.eq(slot),
            head_write.data.tile.eq(group.tile),
            head_write.data.part.eq(group.part),
            head_write.data.wide_groups.eq(wide_groups + wide_now),
            head_write.data.follows.eq(self.i.p.follows),
            head_read.addr.eq(self.peek),
            self.head.eq(head_read.data),
        ]
        if config.schedule is Schedule.PLANE_MAJOR:
            # A list of the wide groups: passes over low planes visit no other.
            m.submodules.wide_list = wide_list = memory.Memory(
                shape=group_layout(config), depth=slots * groups, init=[]
            )
            list_write, list_read = wide_list.write_port(), wide_list.read_port(domain="comb")
            m.d.comb += [
                list_write.en.eq(group_end & wide_now),
                list_write.addr.eq(slot * groups + wide_groups),
                list_write.data.eq(group),
                self.wide_group.eq(list_read.data),
            ]
        else:
            m.submodules.wide_flags = wide_flags = memory.Memory(
                shape=1, depth=slots * groups, init=[]
            )
            list_write, list_read = wide_flags.write_port(), wide_flags.read_port(domain="comb")
            m.d.comb += [
                list_write.en.eq(group_end),
                list_write.addr.eq(slot * groups + group.tile * config.parts + group.part),
                list_write.data.eq(wide_now),
                self.is_wide.eq(list_read.data),
            ]
        m.d.comb += list_read.addr.eq(self.peek * groups + self.wide_peek)

        feed = Signal.like(self.feed)
        m.d.sync += feed.eq(self.feed)
        lanes = []
        for c in range(config.cols):
            lane = place(m, platform, f"lane_{c}", ValueLane, config)
            target = Signal(value_feed_layout(config), name=f"target_{c}")
            m.d.comb += [
                target.slot.eq(slot),
                target.tile.eq(group.tile),
                target.part.eq(group.part),
                lane.write_address.eq(address(config, target)),
                lane.write_place.eq(place_in_group),
                lane.write_plane.eq(low),
                lane.feed.eq(feed),
            ]
            # Each of the column's channels comes with one beat, at one place in it.
            with m.Switch(word):
                for channel_pass, channel in enumerate(range(c, config.d_head, config.cols)):
                    with m.Case(channel // config.value_nibbles):
                        m.d.comb += [
                            lane.write_valid.eq(beat),
                            target.channel_pass.eq(channel_pass),
                            lane.write_nibble.eq(self.i.p.nibbles[channel % config.value_nibbles]),
                        ]
            feed = lane.feed_next
            lanes.append(lane)
        m.d.comb += [
            released.eq(feed.valid & feed.release),
            self.operands.eq(Cat(lane.operand for lane in lanes)),
        ]
        return m
