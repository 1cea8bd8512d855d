"""Chooses the groups of values that a row block multiplies: those that weigh most in it."""

from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import BANKS, SHARE_BITS, Config
from dtqatten.hw.base.pipeline import delayed
from dtqatten.hw.payloads.arrays import group_layout, weight_block_layout
from dtqatten.hw.payloads.choices import choice_stream, level_max, walked_group_layout

__all__ = ["GroupChooser", "LeastLevel"]


class LeastLevel(wiring.Component):
    """Find the lowest level that a row block keeps, and how many groups of it.

    A counter for each level counts the groups of that level or more. The least level is the highest
    one of which there are as many as are kept. A row block without a weight keeps one group of
    level 0.

    Latency: ``level`` and ``room`` are valid from two cycles after the last group on, until the
    next row block's first group. Throughput one group a cycle.

    Parameters
    ----------
    config : Config
        With the value array's depth.

    Members
    -------
    valid, first : In(1)
        A group; it is its row block's first one.
    group_level : In(range(level_max + 1))
    share : In(SHARE_BITS)
        Of the groups with a weight so many in 256 are kept, rounded up; at least 1.
    level : Out(range(level_max + 1))
    room : Out(range(groups + 1))
        Groups of that level that are kept.
    kept : Out(range(groups + 1))
        Groups that are kept, all told.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        groups = range(config.key_tiles * config.parts + 1)
        levels = range(level_max(config) + 1)
        super().__init__(
            {
                "valid": In(1),
                "first": In(1),
                "group_level": In(levels),
                "share": In(SHARE_BITS),
                "level": Out(levels),
                "room": Out(groups),
                "kept": Out(groups),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        most = level_max(self.config)
        groups = self.room.shape()
        # In 1/256 of a group.
        wanted = Signal(len(self.room) + SHARE_BITS)
        counters = [Signal(groups, name=f"at_least_{level}") for level in range(1, most + 1)]
        with m.If(self.valid):
            m.d.sync += wanted.eq(
                Mux(self.first, 0, wanted) + Mux(self.group_level == 0, 0, self.share)
            )
            for level, counter in enumerate(counters, 1):
                m.d.sync += counter.eq(Mux(self.first, 0, counter) + (self.group_level >= level))
        kept = Signal(groups)
        m.d.comb += kept.eq((wanted + (1 << SHARE_BITS) - 1) >> SHARE_BITS)
        m.d.comb += [self.room.eq(1), self.kept.eq(Mux(kept == 0, 1, kept))]
        above: Sequence[Value] = (*counters[1:], Signal(groups, name="none"))
        for level, (counter, more) in enumerate(zip(counters, above, strict=True), 1):
            enough = Signal(name=f"enough_{level}")
            m.d.sync += enough.eq((counter >= kept) & (kept != 0))
            with m.If(enough):
                m.d.comb += [self.level.eq(level), self.room.eq(kept - more)]
        return m


class GroupChooser(wiring.Component):
    """Of a row block's groups with a weight, keep a share: those of the highest levels.

    Equal to :func:`dtqatten.golden.numerics.local_values.chosen_groups`; a row block without a
    weight keeps its first group, since it has results. When all groups have come, they go by again
    and leave if they are kept: those above the least level, and the first ones of it. Row blocks of
    heads whose share is 0 keep all groups, which pass at once.

    Of a ``chosen`` head, whose V comes after the choice, groups that go by do not leave: those that
    are kept are told at ``choices``, and the next one goes by when that has been taken.

    Latency: a row block's groups begin to go by 4 cycles after its last one came, or in the cycle
    after the previous row block's last one. Until then none is taken. Groups that
    pass at once wait until none goes by. Throughput one group a cycle in and out: of one row block,
    while the next one's come.

    Parameters
    ----------
    config : Config
        With the value array's depth.

    Members
    -------
    i_valid, i : In(1), In(walked_group_layout(config))
        A group, taken if ``i_ready``.
    i_ready : Out(1)
    o_valid, o : Out(1), Out(walked_group_layout(config))
        A group goes by; ``o.last``: the row block's last one, kept or not.
    kept : Out(1)
        It is kept.
    choices : Out(choice_stream(config))
        With ``chosen_values``: chosen groups.
    decided, block : Out(1), Out(weight_block_layout(config))
        With ``chosen_values``: a chosen head's groups go by from the next cycle on; its row block.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        layout = walked_group_layout(config)
        chosen = {
            "choices": Out(choice_stream(config)),
            "decided": Out(1),
            "block": Out(weight_block_layout(config)),
        }
        super().__init__(
            (chosen if config.chosen_values else {})
            | {
                "i_valid": In(1),
                "i": In(layout),
                "i_ready": Out(1),
                "o_valid": Out(1),
                "o": Out(layout),
                "kept": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        groups = config.key_tiles * config.parts
        m.submodules.least = least = LeastLevel(config)
        open_, going = Signal(init=1), Signal()
        passes = self.i.share == 0
        taken = self.i_valid & open_ & ~passes
        came = delayed(m, taken, 1, "came", reset_less=False)
        item = Signal(self.i.shape())
        with m.If(taken):
            m.d.sync += item.eq(self.i)
        first, number = Signal(init=1), Signal(range(groups + 1))
        bank = Signal(range(BANKS))
        with m.If(came):
            m.d.sync += [first.eq(item.last), number.eq(Mux(item.last, 0, number + 1))]
        m.d.comb += [
            least.valid.eq(came),
            least.first.eq(first),
            least.group_level.eq(item.level),
            least.share.eq(item.share),
        ]
        shape = data.StructLayout(
            {"group": group_layout(config), "wide": 1, "level": least.level.shape()}
        )
        m.submodules.held = held = memory.Memory(shape=shape, depth=BANKS * groups, init=[])
        write, read = held.write_port(), held.read_port(domain="comb")
        index, final = Signal(range(groups)), Signal(range(groups))
        # What goes by, and whether it goes on.
        whole, leaves = Signal(self.i.shape(), name="row_block"), Signal()
        end, moves, keeps = Signal(), Signal(), Signal()
        m.d.comb += [
            write.en.eq(came),
            write.addr.eq(bank * groups + number),
            *(write.data[name].eq(item[name]) for name, _ in shape),
            read.addr.eq((bank ^ 1) * groups + index),
            end.eq(moves & (index == final)),
        ]

        # What has come is complete, its least level is known, it is handed on.
        complete = delayed(m, came & item.last, 1, "complete", reset_less=False)
        known, handed = Signal(), Signal()
        m.d.comb += handed.eq(known & (~going | end))
        m.d.sync += known.eq(complete | (known & ~handed))
        with m.If(taken & self.i.last):
            m.d.sync += open_.eq(0)
        with m.Elif(handed):
            m.d.sync += open_.eq(1)
        level, room = Signal.like(least.level), Signal.like(least.room)
        count = Signal(range(groups))
        with m.If(came & item.last):
            m.d.sync += count.eq(number)
        with m.If(moves):
            m.d.sync += index.eq(index + 1)
        of_least = read.data.level == level
        m.d.comb += keeps.eq(going & ((read.data.level > level) | (of_least & (room != 0))))
        with m.If(moves & of_least & (room != 0)):
            m.d.sync += room.eq(room - 1)
        with m.If(handed):
            m.d.sync += [
                bank.eq(bank ^ 1),
                level.eq(least.level),
                room.eq(least.room),
                final.eq(count),
                index.eq(0),
                whole.eq(item),
            ]
        m.d.sync += going.eq(handed | (going & ~end))

        m.d.comb += [
            self.o.eq(whole),
            *(self.o[name].eq(read.data[name]) for name, _ in shape),
            self.o.last.eq(end),
            self.o_valid.eq(going & leaves),
            self.kept.eq(keeps & leaves),
            self.i_ready.eq(open_ & (~passes | ~going)),
        ]
        with m.If(passes & ~going):
            valid = self.i_valid & open_
            m.d.comb += [self.o.eq(self.i), self.o_valid.eq(valid), self.kept.eq(valid)]
        if config.chosen_values:
            self._tell(m, item, handed, least.kept, read.data.group)
            m.d.comb += [
                leaves.eq(~whole.chosen),
                self.choices.valid.eq(keeps & whole.chosen),
                moves.eq(going & (~self.choices.valid | self.choices.ready)),
            ]
        else:
            m.d.comb += [leaves.eq(1), moves.eq(going)]
        return m

    def _tell(
        self, m: Module, item: data.View, handed: Value, kept: Value, group: data.View
    ) -> None:
        """Tell of the row blocks of chosen heads, and of their groups.

        Parameters
        ----------
        m : Module
        item : View
            A row block's last group.
        handed, kept : Value
            Its groups go by from the next cycle on; so many of them are kept.
        group : View
            The one that goes by.
        """
        left = Signal(kept.shape(), name="kept_left")
        with m.If(handed):
            m.d.sync += left.eq(kept)
        with m.Elif(self.choices.valid & self.choices.ready):
            m.d.sync += left.eq(left - 1)
        m.d.comb += [
            self.choices.p.group.eq(group),
            self.choices.p.last.eq(left == 1),
            self.decided.eq(handed & item.chosen),
            self.block.eq(item.block),
        ]
