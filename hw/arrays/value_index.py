"""Index of the loaded heads of values: lengths, wide groups, wide tokens of each group."""

from amaranth.hdl import Array, Cat, Module, Mux, ShapeLike, Signal, Value, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import BANKS, Config, Schedule
from dtqatten.hw.arrays.value_lane import group_number, value_read_layout
from dtqatten.hw.arrays.value_loader import group_end_layout
from dtqatten.hw.base.banks import BankedMemory
from dtqatten.hw.base.descriptions import Descriptions
from dtqatten.hw.base.pipeline import delayed
from dtqatten.hw.payloads.arrays import Plane, group_layout, value_feed_layout, value_head_layout

__all__ = ["GroupIndex", "HeadDescriber", "OperandReader"]


class GroupIndex(wiring.Component):
    """Which groups of each loaded head are wide, for the passes over low planes.

    Plane-major, these passes visit wide groups only: the index is a list of them. Interleaved, it
    is a bit a group. A word of its memory holds the entries of all banks.

    Latency: a group counts from the cycle after ``ended`` on; ``wide_group`` and ``is_wide`` follow
    ``bank`` and ``peek`` in the same cycle.

    Parameters
    ----------
    config : Config

    Members
    -------
    ended : In(group_end_layout(config))
        A group is complete.
    wide_groups : Out(range(key_tiles * parts + 1))
        Wide groups of the head before the one that ends.
    bank : In(range(BANKS))
        The head asked about.
    peek : In(range(key_tiles * parts))
        Number of a wide group among the wide ones (plane-major), or of a group (interleaved).
    wide_group : Out(group_layout(config))
        That wide group; plane-major only.
    is_wide : Out(1)
        That group is wide; interleaved only.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        groups = config.key_tiles * config.parts
        super().__init__(
            {
                "ended": In(group_end_layout(config)),
                "wide_groups": Out(range(groups + 1)),
                "bank": In(range(BANKS)),
                "peek": In(range(groups)),
                "wide_group": Out(group_layout(config)),
                "is_wide": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, ended = self.config, self.ended
        is_wide = ended.wide.any()
        with m.If(ended.head):
            m.d.sync += self.wide_groups.eq(0)
        with m.Elif(ended.valid):
            m.d.sync += self.wide_groups.eq(self.wide_groups + is_wide)

        shape: ShapeLike
        if config.schedule is Schedule.PLANE_MAJOR:
            shape, answer = group_layout(config), self.wide_group
            at, entry, writes = self.wide_groups, ended.group, ended.valid & is_wide
        else:
            shape, answer = unsigned(1), self.is_wide
            at, entry, writes = group_number(config, ended.group), is_wide, ended.valid
        m.submodules.entries = entries = memory.Memory(
            shape=data.ArrayLayout(shape, BANKS),
            depth=config.key_tiles * config.parts,
            init=[],
        )
        write, read = entries.write_port(granularity=1), entries.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(writes << ended.bank),
            write.addr.eq(at),
            read.addr.eq(self.peek),
            *(write.data[i].eq(entry) for i in range(BANKS)),
            answer.eq(Array(read.data[i] for i in range(BANKS))[self.bank]),
        ]
        return m


class HeadDescriber(wiring.Component):
    """Describe each head whose last group ends: its groups, and how long its tiles wait.

    Latency: ``loaded`` pulses two cycles after ``ended`` with ``head``: one cycle counts the head's
    groups, one works out how long its tiles take. ``head`` and ``head_after`` are those of
    :class:`~dtqatten.hw.base.descriptions.Descriptions` written in that cycle.

    Parameters
    ----------
    config : Config

    Members
    -------
    ended : In(group_end_layout(config))
        A group is complete.
    wide_groups : In(range(key_tiles * parts + 1))
        Wide groups of its head before it.
    follows : In(1)
        The current beat's, as in :func:`~dtqatten.hw.payloads.arrays.value_layout`, one cycle
        before ``ended``.
    loaded : Out(1)
        A head is described.
    used : In(1)
        The current head is done with.
    bank : Out(range(BANKS))
        Where it is.
    head, head_after : Out(value_head_layout(config))
        Its description, and that of the one after it.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "ended": In(group_end_layout(config)),
                "wide_groups": In(range(config.key_tiles * config.parts + 1)),
                "follows": In(1),
                "loaded": Out(1),
                "used": In(1),
                "bank": Out(range(BANKS)),
                "head": Out(value_head_layout(config)),
                "head_after": Out(value_head_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, ended = self.config, self.ended
        groups, interval = config.key_tiles * config.parts, config.drain_interval

        # Steps of a tile, and of a tile of a narrow row block.
        count = Signal(range(groups + 1))
        wide_count = delayed(m, self.wide_groups + ended.wide.any(), 1, "wide_count")
        follows = delayed(m, self.follows, 2, "follows")
        low_planes = config.planes * wide_count
        length = Signal(range(2 * config.planes * groups + 1))
        narrow_length = delayed(m, count + wide_count, 1, "narrow_length")
        m.d.sync += [
            count.eq(group_number(config, ended.group) + 1),
            length.eq(
                Mux(
                    follows,
                    count + (low_planes << 1) - wide_count,
                    config.planes * count + low_planes,
                )
            ),
        ]

        def wait(length: Value) -> Value:
            return Mux(length < interval, interval - length, 0)

        counts, wide_counts = delayed(m, count, 1, "counts"), delayed(m, wide_count, 1, "wides")
        m.submodules.heads = heads = Descriptions(value_head_layout(config), BANKS)
        m.d.comb += [
            self.loaded.eq(delayed(m, ended.head, 2, "described", reset_less=False)),
            heads.write.eq(self.loaded),
            heads.written.single.eq(counts == 1),
            heads.written.before_last.eq(counts - 2),
            heads.written.some_wide.eq(wide_counts != 0),
            heads.written.single_wide.eq(wide_counts == 1),
            heads.written.before_last_wide.eq(wide_counts - 2),
            heads.written.follows.eq(delayed(m, follows, 1, "head_follows")),
            heads.written.wait.eq(wait(length)),
            heads.written.narrow_wait.eq(wait(narrow_length)),
            heads.step.eq(self.used),
            self.bank.eq(heads.index),
            self.head.eq(heads.item),
            self.head_after.eq(heads.after),
        ]
        return m


class OperandReader(wiring.Component):
    """Turn a feed into a read of the lanes: its word, and which of its nibbles to keep.

    The low plane of a 4-bit token is never written and reads as zero. Which tokens of a group
    have a low plane is looked up while the address is computed.

    Latency: ``read`` follows ``feed`` by one cycle; a group counts from the cycle after ``ended``
    on.

    Parameters
    ----------
    config : Config

    Members
    -------
    ended : In(group_end_layout(config))
        A group is complete.
    feed : In(value_feed_layout(config))
        The operands wanted.
    read : Out(value_read_layout(config))
        The read that goes to the lanes.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "ended": In(group_end_layout(config)),
                "feed": In(value_feed_layout(config)),
                "read": Out(value_read_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, ended, feed, read = self.config, self.ended, self.feed, self.read
        groups = config.key_tiles * config.parts
        m.submodules.wide_tokens = wide_tokens = BankedMemory(config.depth, groups)
        low_plane = Signal()
        m.d.comb += [
            wide_tokens.write.eq(ended.valid),
            wide_tokens.write_bank.eq(ended.bank),
            wide_tokens.write_address.eq(group_number(config, ended.group)),
            wide_tokens.write_data.eq(ended.wide),
            wide_tokens.read.eq(feed.valid & (feed.plane == Plane.LOW)),
            wide_tokens.read_bank.eq(feed.bank),
            wide_tokens.read_address.eq(group_number(config, feed)),
            read.keep.eq(
                Mux(read.valid, wide_tokens.data | (~low_plane).replicate(config.depth), 0)
            ),
        ]
        beat_bits = (config.channels_a_beat - 1).bit_length()
        at_pass = feed.channel_pass[beat_bits:]
        word = Cat(feed.plane, at_pass) * groups + group_number(config, feed)
        m.d.sync += [
            read.valid.eq(feed.valid),
            read.bank.eq(feed.bank),
            read.address.eq(word),
            read.channel.eq(feed.channel_pass[:beat_bits]),
            read.release.eq(feed.valid & feed.release),
            low_plane.eq(feed.plane == Plane.LOW),
        ]
        return m
