"""The top edge of the value array: values by channel, ``depth`` tokens an operand."""

from amaranth.hdl import Array, Cat, Module, Mux, ShapeLike, Signal, Value, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.config import BANKS, Config, Schedule
from dtqatten.hw.banks import BankedMemory
from dtqatten.hw.descriptions import Descriptions
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


def value_read_layout(config: Config) -> data.StructLayout:
    """Read of one operand: the ``address`` of a word in a ``bank``, the nibbles to ``keep``."""
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "bank": range(BANKS),
            "address": range(bank_words(config)),
            "keep": config.depth,
            "release": unsigned(1),
        }
    )


def bank_words(config: Config) -> int:
    """Return the words that a head's values take in a lane: both planes of all its channels."""
    return 2 * config.channel_passes * config.key_tiles * config.parts


class ValueLane(wiring.Component):
    """Values of the channels of one column, of all tokens of two heads, a bank each.

    A word holds one channel's plane of the ``depth`` tokens of a group; tokens are written one
    nibble at a time. Nibbles that are not to keep are read as zeros, all of them while
    ``read.valid`` is low.

    Latency: ``operand`` follows ``read`` by ``1 + word_stages`` cycles, ``read_next`` by one. Never
    stalls. Writing and reading one bank in the same cycle is undefined.

    Parameters
    ----------
    config : Config

    Members
    -------
    write : In(depth)
        Places in the group to write.
    write_bank, write_address : In
        Word, ``(channel_pass * 2 + plane) * groups + group`` of the bank.
    write_nibble : In(4)
    read : In(value_read_layout(config))
        The operand wanted.
    read_next : Out(value_read_layout(config))
        The same, one cycle later.
    operand : Out(operand_layout(config))
        ``depth`` nibbles.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "write": In(config.depth),
                "write_bank": In(range(BANKS)),
                "write_address": In(range(bank_words(config))),
                "write_nibble": In(4),
                "read": In(value_read_layout(config)),
                "read_next": Out(value_read_layout(config)),
                "operand": Out(operand_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.banks = words = BankedMemory(
            4 * config.depth, bank_words(config), granularity=4, stages=config.word_stages
        )
        m.d.comb += [
            words.write.eq(self.write),
            words.write_bank.eq(self.write_bank),
            words.write_address.eq(self.write_address),
            words.write_data.eq(self.write_nibble.replicate(config.depth)),
            words.read.eq(self.read.valid),
            words.read_bank.eq(self.read.bank),
            words.read_address.eq(self.read.address),
        ]
        m.d.sync += self.read_next.eq(self.read)
        keep = delayed(m, self.read_next.keep, config.word_stages, "keep", reset_less=False)
        kept = Cat(place.replicate(4) for place in keep)
        m.d.comb += self.operand.eq(words.data & kept)
        return m


class ValueFeeder(wiring.Component):
    """Feed a head's values, skewed by one cycle a column.

    Channel ``c`` belongs to column ``c % cols`` in channel pass ``c // cols``. Tokens make groups
    of ``depth``, counted anew in every tile of ``cols`` keys, as the weights are; a group is wide
    if one of its tokens is 8-bit; the low plane of its 4-bit tokens is zero.

    Loading: one beat a cycle while a head is free. ``loaded`` pulses three cycles after the beat
    that completes a head, of which ``head`` and ``head_after`` tell as
    :class:`~dtqatten.hw.descriptions.Descriptions` written in that cycle do. ``wide_group`` says
    which the current head's ``wide_peek``-th wide group is (plane-major), or ``is_wide`` whether
    group ``wide_peek`` is (interleaved). ``operands[c]`` follows ``feed`` by
    ``c + 2 + word_stages`` cycles. A feed with ``release`` frees its slot ``cols + 2`` cycles
    later.

    Parameters
    ----------
    config : Config

    Members
    -------
    i : In(stream.Signature(value_layout(config)))
        Value tokens of head after head.
    loaded : Out(1)
    used : In(1)
        The current head is done with.
    slot : Out(range(value_slots))
        Where it is.
    head, head_after : Out(value_head_layout(config))
        It, and the one after it.
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
                "used": In(1),
                "slot": Out(range(config.value_slots)),
                "head": Out(value_head_layout(config)),
                "head_after": Out(value_head_layout(config)),
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
        wide_places = Signal(config.depth)
        released = Signal()

        # Ends are found whether or not there is a beat, which is known as late.
        beat = self.i.valid & self.i.ready
        plane_last, token_last, group_last, tile_last, head_last = (Signal() for _ in range(5))
        head_end = Signal()
        wide = self.i.p.precision == Precision.BIT8
        wide_now = Signal(config.depth)
        m.d.comb += [
            plane_last.eq(word == beats - 1),
            token_last.eq(plane_last & (low | ~wide)),
            head_last.eq(token_last & self.i.p.last),
            tile_last.eq(token_last & (column == config.cols - 1)),
            group_last.eq(
                (token_last & (place_in_group == config.depth - 1)) | tile_last | head_last
            ),
            wide_now.eq(wide_places | (wide << place_in_group)),
            head_end.eq(beat & head_last),
        ]
        with m.If(beat):
            m.d.sync += word.eq(Mux(plane_last, 0, word + 1))
            with m.If(plane_last):
                m.d.sync += low.eq(~token_last)
            with m.If(token_last):
                m.d.sync += [
                    column.eq(column + 1),
                    place_in_group.eq(place_in_group + 1),
                    wide_places.eq(wide_now),
                ]
            with m.If(group_last):
                m.d.sync += [
                    place_in_group.eq(0),
                    group.part.eq(group.part + 1),
                    wide_places.eq(0),
                ]
            with m.If(tile_last):
                m.d.sync += [column.eq(0), group.part.eq(0), group.tile.eq(group.tile + 1)]
            with m.If(head_last):
                m.d.sync += [
                    column.eq(0),
                    group.eq(0),
                    slot.eq(Mux(slot == slots - 1, 0, slot + 1)),
                ]
        # Of groups that end all is written a cycle late: a beat has many to reach.
        group_ended = delayed(m, beat & group_last, 1, "group_ended", reset_less=False)
        head_ended = delayed(m, head_end, 1, "head_ended", reset_less=False)
        ended_group, ended_slot = (
            delayed(m, group, 1, "ended_group"),
            delayed(m, slot, 1, "ended_slot"),
        )
        ended_wide = delayed(m, wide_now, 1, "ended_wide")
        wide_ended = ended_wide.any()
        with m.If(head_ended):
            m.d.sync += wide_groups.eq(0)
        with m.Elif(group_ended):
            m.d.sync += wide_groups.eq(wide_groups + wide_ended)
        free = counted(m, released, head_end, "free", most=slots, init=slots)
        m.d.comb += self.i.ready.eq(free)

        # A head is described late: cycles for its counts, and for how long its tiles take.
        count = Signal(range(groups + 1))
        wide_count = delayed(m, wide_groups + wide_ended, 1, "wide_count")
        follows = delayed(m, self.i.p.follows, 2, "follows")
        low_planes = config.planes * wide_count
        narrow_length = delayed(m, count + wide_count, 1, "narrow_length")
        length = Signal(range(2 * config.planes * groups + 1))
        m.d.sync += [
            count.eq(number(config, ended_group) + 1),
            length.eq(
                Mux(
                    follows,
                    count + (low_planes << 1) - wide_count,
                    config.planes * count + low_planes,
                )
            ),
        ]
        m.d.comb += self.loaded.eq(delayed(m, head_ended, 2, "described", reset_less=False))

        def lacking(length: Value) -> Value:
            interval = config.drain_interval
            return Mux(length < interval, interval - length, 0)

        counts, wide_counts = delayed(m, count, 1, "counts"), delayed(m, wide_count, 1, "wides")
        m.submodules.heads = heads = Descriptions(value_head_layout(config), slots)
        m.d.comb += [
            heads.write.eq(self.loaded),
            heads.written.single.eq(counts == 1),
            heads.written.before_last.eq(counts - 2),
            heads.written.some_wide.eq(wide_counts != 0),
            heads.written.single_wide.eq(wide_counts == 1),
            heads.written.before_last_wide.eq(wide_counts - 2),
            heads.written.follows.eq(delayed(m, follows, 1, "head_follows")),
            heads.written.wait.eq(lacking(length)),
            heads.written.narrow_wait.eq(lacking(narrow_length)),
            heads.step.eq(self.used),
            self.slot.eq(heads.slot),
            self.head.eq(heads.item),
            self.head_after.eq(heads.after),
        ]
        # What passes over low planes ask of the groups, for the heads of all slots side by side.
        if config.schedule is Schedule.PLANE_MAJOR:
            # A list of the wide groups: these passes visit no other.
            shape: ShapeLike = group_layout(config)
            at, entry, writes = wide_groups, ended_group, group_ended & wide_ended
        else:
            shape, at = unsigned(1), number(config, ended_group)
            entry, writes = wide_ended, group_ended
        m.submodules.wide = wide_memory = memory.Memory(
            shape=data.ArrayLayout(shape, slots), depth=groups, init=[]
        )
        wide_write = wide_memory.write_port(granularity=1)
        wide_read = wide_memory.read_port(domain="comb")
        found = Array(wide_read.data[i] for i in range(slots))[self.slot]
        m.d.comb += [
            wide_write.en.eq(writes << ended_slot),
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
                "bank": range(slots),
                "group": range(groups),
                "places": config.depth,
                "plane": Plane,
                "word": range(beats),
                "nibbles": self.i.p.nibbles.shape(),
            }
        )
        written = Signal(write_layout)
        m.d.sync += [
            written.bank.eq(slot),
            written.group.eq(number(config, group)),
            written.places.eq(beat << place_in_group),
            written.plane.eq(low),
            written.word.eq(word),
            written.nibbles.eq(self.i.p.nibbles),
        ]
        # Which tokens of a group have a low plane is read while its address is made.
        m.submodules.wide_tokens = wide_tokens = BankedMemory(config.depth, groups)
        low_plane = Signal()
        read = Signal(value_read_layout(config))
        feed = self.feed
        m.d.comb += [
            wide_tokens.write.eq(group_ended),
            wide_tokens.write_bank.eq(ended_slot),
            wide_tokens.write_address.eq(number(config, ended_group)),
            wide_tokens.write_data.eq(ended_wide),
            wide_tokens.read.eq(feed.valid & (feed.plane == Plane.LOW)),
            wide_tokens.read_bank.eq(feed.slot),
            wide_tokens.read_address.eq(number(config, feed)),
            read.keep.eq(
                Mux(read.valid, wide_tokens.data | (~low_plane).replicate(config.depth), 0)
            ),
        ]
        m.d.sync += [
            read.valid.eq(feed.valid),
            read.bank.eq(feed.slot),
            read.address.eq(Cat(feed.plane, feed.channel_pass) * groups + number(config, feed)),
            read.release.eq(feed.valid & feed.release),
            low_plane.eq(feed.plane == Plane.LOW),
        ]
        lanes = []
        for c in range(config.cols):
            lane = place(m, platform, f"lane_{c}", ValueLane, config)
            channel_pass = Signal(range(config.channel_passes), name=f"channel_pass_{c}")
            m.d.comb += [
                lane.write_bank.eq(written.bank),
                lane.write_address.eq(Cat(written.plane, channel_pass) * groups + written.group),
                lane.read.eq(read),
            ]
            # Each of the column's channels comes with one beat, at one place in it.
            with m.Switch(written.word):
                for at_pass, channel in enumerate(range(c, config.d_head, config.cols)):
                    with m.Case(channel // config.value_nibbles):
                        m.d.comb += [
                            lane.write.eq(written.places),
                            channel_pass.eq(at_pass),
                            lane.write_nibble.eq(written.nibbles[channel % config.value_nibbles]),
                        ]
            read = lane.read_next
            lanes.append(lane)
        m.d.comb += [
            released.eq(read.release),
            self.operands.eq(Cat(lane.operand for lane in lanes)),
        ]
        return m


def number(config: Config, group: data.View) -> Value:
    """Return a group's number in its head."""
    return group.tile * config.parts + group.part
