"""The top edge of the value array: values by channel, ``depth`` tokens an operand."""

from amaranth.hdl import Array, Cat, Const, Module, Mux, ShapeLike, Signal, Value, unsigned
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
from dtqatten.hw.pipeline import counted, delayed

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

    Loading: one beat a cycle while a head is free. ``loaded`` pulses a cycle after the beat that
    completes a head; from the next cycle on ``head`` describes the one in slot ``peek``, and
    ``wide_group`` says which its ``wide_peek``-th wide group is (plane-major), or ``is_wide``
    whether group ``wide_peek`` is (interleaved). ``operands[c]`` follows ``feed`` by ``c + 2``
    cycles. A feed with ``release`` frees its slot ``cols + 2`` cycles later.

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
        wide_groups = Signal(range(groups + 1))
        group_wide = Signal()
        released = Signal()

        beat = Signal()
        plane_end, token_end, group_end, tile_end, head_end = (Signal() for _ in range(5))
        wide = self.i.p.precision == Precision.BIT8
        wide_now = Signal()
        m.d.comb += [
            beat.eq(self.i.valid & self.i.ready),
            plane_end.eq(beat & (word == beats - 1)),
            token_end.eq(plane_end & (low | ~wide)),
            head_end.eq(token_end & self.i.p.last),
            tile_end.eq(token_end & (column == config.cols - 1)),
            group_end.eq(token_end & ((place_in_group == config.depth - 1) | tile_end | head_end)),
            wide_now.eq(group_wide | wide),
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
        free = counted(m, released, head_end, "free", most=slots, init=slots)
        m.d.comb += self.i.ready.eq(free)

        # A head is described a cycle late: how long its tiles take are some sums.
        ended = Signal(value_head_layout(config))
        ended_slot = delayed(m, slot, 1, "ended_slot")
        wide_count = delayed(m, wide_groups + wide_now, 1, "wide_count")
        count = ended.tile * config.parts + ended.part + 1
        length = Mux(
            ended.follows,
            count + (2 * config.planes - 1) * wide_count,
            config.planes * (count + wide_count),
        )
        narrow = count + wide_count
        m.d.sync += [
            self.loaded.eq(head_end),
            ended.tile.eq(group.tile),
            ended.part.eq(group.part),
            ended.follows.eq(self.i.p.follows),
        ]
        m.d.comb += [
            ended.some_wide.eq(wide_count != 0),
            ended.wide_last.eq(wide_count - 1),
            ended.wait.eq(Mux(length < config.rows, config.rows - length, 0)),
            ended.narrow_wait.eq(Mux(narrow < config.rows, config.rows - narrow, 0)),
        ]
        m.submodules.heads = heads = memory.Memory(
            shape=value_head_layout(config), depth=slots, init=[]
        )
        head_write, head_read = heads.write_port(), heads.read_port(domain="comb")
        m.d.comb += [
            head_write.en.eq(self.loaded),
            head_write.addr.eq(ended_slot),
            head_write.data.eq(ended),
            head_read.addr.eq(self.peek),
            self.head.eq(head_read.data),
        ]
        # What passes over low planes ask of the groups, for the heads of all slots side by side.
        if config.schedule is Schedule.PLANE_MAJOR:
            # A list of the wide groups: these passes visit no other.
            shape: ShapeLike = group_layout(config)
            at, entry, writes = wide_groups, group, group_end & wide_now
        else:
            shape, at = unsigned(1), group.tile * config.parts + group.part
            entry, writes = wide_now, group_end
        m.submodules.wide = wide_memory = memory.Memory(
            shape=data.ArrayLayout(shape, slots), depth=groups, init=[]
        )
        wide_write = wide_memory.write_port(granularity=1)
        wide_read = wide_memory.read_port(domain="comb")
        found = Array(wide_read.data[i] for i in range(slots))[self.peek]
        m.d.comb += [
            wide_write.en.eq(writes << slot),
            wide_write.addr.eq(at),
            wide_read.addr.eq(self.wide_peek),
            *(wide_write.data[i].eq(entry) for i in range(slots)),
            (self.wide_group if config.schedule is Schedule.PLANE_MAJOR else self.is_wide).eq(
                found
            ),
        ]

        # Columns are written a cycle late: a beat has many to reach.
        write_layout = data.StructLayout(
            {
                "valid": unsigned(1),
                "slot": range(slots),
                "group": group_layout(config),
                "place": range(max(2, config.depth)),
                "plane": Plane,
                "word": range(beats),
                "nibbles": self.i.p.nibbles.shape(),
            }
        )
        written = Signal(write_layout)
        m.d.sync += [
            written.valid.eq(beat),
            written.slot.eq(slot),
            written.group.eq(group),
            written.place.eq(place_in_group),
            written.plane.eq(low),
            written.word.eq(word),
            written.nibbles.eq(self.i.p.nibbles),
        ]
        feed = Signal.like(self.feed)
        m.d.sync += feed.eq(self.feed)
        lanes = []
        for c in range(config.cols):
            lane = place(m, platform, f"lane_{c}", ValueLane, config)
            target = Signal(value_feed_layout(config), name=f"target_{c}")
            m.d.comb += [
                target.slot.eq(written.slot),
                target.tile.eq(written.group.tile),
                target.part.eq(written.group.part),
                lane.write_address.eq(address(config, target)),
                lane.write_place.eq(written.place),
                lane.write_plane.eq(written.plane),
                lane.feed.eq(feed),
            ]
            # Each of the column's channels comes with one beat, at one place in it.
            with m.Switch(written.word):
                for channel_pass, channel in enumerate(range(c, config.d_head, config.cols)):
                    with m.Case(channel // config.value_nibbles):
                        m.d.comb += [
                            lane.write_valid.eq(written.valid),
                            target.channel_pass.eq(channel_pass),
                            lane.write_nibble.eq(written.nibbles[channel % config.value_nibbles]),
                        ]
            feed = lane.feed_next
            lanes.append(lane)
        m.d.comb += [
            released.eq(feed.valid & feed.release),
            self.operands.eq(Cat(lane.operand for lane in lanes)),
        ]
        return m
