"""The groups of values that each row block visits, where tiles are skipped."""

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import BANKS, Config
from dtqatten.hw.arrays.group_chooser import GroupChooser
from dtqatten.hw.arrays.value_lane import group_number
from dtqatten.hw.arrays.value_loader import group_end_layout
from dtqatten.hw.base.descriptions import Descriptions
from dtqatten.hw.base.pipeline import counted, delayed
from dtqatten.hw.payloads.arrays import (
    group_layout,
    head_options_layout,
    levels_layout,
    listed_block_layout,
    visited_tile_layout,
    walked_group_layout,
)

__all__ = ["GroupLister"]


class GroupLister(wiring.Component):
    """List the groups of the tiles that a row block visits, and those of them that are wide.

    Stands for :class:`~dtqatten.hw.arrays.value_index.GroupIndex` and
    :class:`~dtqatten.hw.arrays.value_index.HeadDescriber` where row blocks of a head visit tiles of
    their own. Tiles wait until their head's values are here; then a group is listed a cycle.

    With ``local_values`` only groups that a
    :class:`~dtqatten.hw.arrays.group_chooser.GroupChooser` keeps are listed, in the cycle after
    they went by.

    Latency: ``loaded`` pulses two cycles after the row block's last group has been listed, with
    ``block`` and ``block_after``, which are :class:`~dtqatten.hw.base.descriptions.Descriptions`
    written in that cycle. ``group``, ``wide_group`` and ``is_wide`` follow ``index`` in the same
    cycle. Throughput one group a cycle: a row block computes for at least as long.

    Parameters
    ----------
    config : Config

    Members
    -------
    ended : In(group_end_layout(config))
        A group of values is complete.
    options : In(head_options_layout(config))
        With the head's last group: those of the head.
    visited_valid, visited : In(1), In(visited_tile_layout(config))
        A tile of weights is complete; no more than ``weight_banks`` row blocks are.
    levels_valid, levels : In(1), In(levels_layout(config))
        With ``local_values``: what the groups of a tile weigh, of the tiles in their order.
    loaded : Out(1)
        A row block is described.
    used : In(1)
        The current row block is done with.
    bank : Out(range(weight_banks))
        Where its weights are.
    block, block_after : Out(listed_block_layout(config))
        Its description, and that of the one after it.
    index : In(range(key_tiles * parts))
        Number among the row block's groups, or among the wide ones of them.
    group, wide_group : Out(group_layout(config))
        The group of that number; the wide group of that number.
    is_wide : Out(1)
        Whether ``group`` is wide.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        levels = {"levels_valid": In(1), "levels": In(levels_layout(config))}
        super().__init__(
            {
                "ended": In(group_end_layout(config)),
                "options": In(head_options_layout(config)),
                "visited_valid": In(1),
                "visited": In(visited_tile_layout(config)),
                "loaded": Out(1),
                "used": In(1),
                "bank": Out(range(config.weight_banks)),
                "block": Out(listed_block_layout(config)),
                "block_after": Out(listed_block_layout(config)),
                "index": In(range(config.key_tiles * config.parts)),
                "group": Out(group_layout(config)),
                "wide_group": Out(group_layout(config)),
                "is_wide": Out(1),
                **(levels if config.local_values else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        groups, banks = config.key_tiles * config.parts, config.weight_banks
        walked, valid = Signal(walked_group_layout(config)), Signal()
        active = Signal() if config.local_values else valid
        if config.local_values:
            m.submodules.chooser = chooser = GroupChooser(config)
            self._walk(m, chooser.i, chooser.i_valid, chooser.i_ready)
            # Registers between the memories that are read and the lists.
            m.d.sync += [
                walked.eq(chooser.o),
                valid.eq(chooser.o_valid),
                active.eq(chooser.kept),
            ]
        else:
            self._walk(m, walked, valid, Const(1))
        group, wide = walked.group, walked.wide
        # Where what is listed is kept: a bank a row block.
        filling = Signal(range(banks))
        count, wide_count = Signal(range(groups + 1)), Signal(range(groups + 1))
        block_end = valid & walked.last
        ended = delayed(m, block_end, 1, "block_ended", reset_less=False)
        with m.If(active | ended):
            m.d.sync += [
                count.eq(Mux(ended, 0, count) + active),
                wide_count.eq(Mux(ended, 0, wide_count) + (active & wide)),
            ]
        if banks == BANKS:
            m.d.sync += filling.eq(filling ^ block_end)
        else:
            with m.If(block_end):
                m.d.sync += filling.eq(Mux(filling == banks - 1, 0, filling + 1))

        at, wide_at = Mux(ended, 0, count), Mux(ended, 0, wide_count)
        for name, writes, place, answer in (
            ("groups", active, at, self.group),
            ("wide_groups", active & wide, wide_at, self.wide_group),
        ):
            entry = data.StructLayout({"group": group.shape(), "wide": 1})
            m.submodules[name] = listed = memory.Memory(shape=entry, depth=banks * groups, init=[])
            write, read = listed.write_port(), listed.read_port(domain="comb")
            m.d.comb += [
                write.en.eq(writes),
                write.addr.eq(filling * groups + place),
                write.data.group.eq(group),
                write.data.wide.eq(wide),
                read.addr.eq(self.bank * groups + self.index),
                answer.eq(read.data.group),
            ]
            if name == "groups":
                m.d.comb += self.is_wide.eq(read.data.wide)
        block = delayed(m, walked.block, 1, "block_of")
        follows = delayed(m, walked.follows, 1, "follows")
        self._describe(m, ended, block, follows, count, wide_count)
        return m

    def _walk(self, m: Module, walked: data.View, valid: Value, ready: Value) -> None:
        """Go through the groups of the tiles that row blocks visit.

        Parameters
        ----------
        m : Module
        walked : View of walked_group_layout()
            The group at hand.
        valid, ready : Value
            There is one; it is taken.
        """
        config = self.config
        tile_end, block_end, head_end = (
            Signal(name=name) for name in ("tile_end", "block_end", "head_end")
        )
        part = Signal(range(config.parts))
        group = walked.group
        head = Signal(range(BANKS))
        active, weighed = valid & ready, Signal(init=1)
        tile, waits = self._tiles(m, active & tile_end)
        wide, told, known = self._heads(m, group, head, head_end)
        m.d.comb += [
            group.part.eq(part),
            group.tile.eq(tile.tile),
            walked.wide.eq(wide),
            walked.last.eq(tile_end & tile.last),
            walked.follows.eq(told.options.follows),
            walked.block.eq(tile.block),
            valid.eq(waits & known & weighed),
            tile_end.eq((part == config.parts - 1) | (group.as_value() == told.last.as_value())),
            block_end.eq(active & walked.last),
            head_end.eq(block_end & tile.block.last),
        ]
        if config.local_values:
            level, here = self._level(m, part, active & tile_end)
            share = told.options.share
            m.d.comb += [
                walked.level.eq(level),
                walked.share.eq(share),
                weighed.eq(here | (share == 0)),
            ]
        with m.If(active):
            m.d.sync += part.eq(Mux(tile_end, 0, part + 1))
        m.d.sync += head.eq(head ^ head_end)

    def _tiles(self, m: Module, done: Value) -> tuple[data.View, Value]:
        """Queue the tiles that are complete; return the oldest, and whether there is one."""
        most = self.config.weight_banks * self.config.key_tiles
        m.submodules.tiles = tiles = memory.Memory(shape=self.visited.shape(), depth=most, init=[])
        write, read = tiles.write_port(), tiles.read_port(domain="comb")
        m.d.comb += [write.en.eq(self.visited_valid), write.data.eq(self.visited)]
        for port, moves in ((write, self.visited_valid), (read, done)):
            with m.If(moves):
                m.d.sync += port.addr.eq(Mux(port.addr == most - 1, 0, port.addr + 1))
        return read.data, counted(m, self.visited_valid, done, "tiles_here", most=most)

    def _level(self, m: Module, part: Value, done: Value) -> tuple[Value, Value]:
        """Keep the levels of tiles; return that of the oldest tile's ``part``, and if it is there.

        A tile that needs no levels may be ``done`` before they are here.
        """
        most = self.config.weight_banks * self.config.key_tiles
        m.submodules.levels = levels = memory.Memory(shape=self.levels.shape(), depth=most, init=[])
        write, read = levels.write_port(), levels.read_port(domain="comb")
        m.d.comb += [write.en.eq(self.levels_valid), write.data.eq(self.levels)]
        for port, moves in ((write, self.levels_valid), (read, done)):
            with m.If(moves):
                m.d.sync += port.addr.eq(Mux(port.addr == most - 1, 0, port.addr + 1))
        ahead = Signal(range(-most, most + 1))
        m.d.sync += ahead.eq(ahead + self.levels_valid - done)
        return read.data[part], ahead > 0

    def _heads(
        self, m: Module, group: data.View, head: Value, head_end: Value
    ) -> tuple[Value, data.View, Value]:
        """Keep what is known of two heads of values.

        Parameters
        ----------
        m : Module
        group : View
            The group asked about.
        head : Value
            Bank of its head.
        head_end : Value
            That head has been listed.

        Returns
        -------
        wide : Value
            The group is wide.
        told : View
            Its ``last`` group and its ``options``.
        here : Value
            Whether it is complete.
        """
        config, ended = self.config, self.ended
        m.submodules.wide = wide = memory.Memory(
            shape=data.ArrayLayout(1, BANKS), depth=config.key_tiles * config.parts, init=[]
        )
        write, read = wide.write_port(granularity=1), wide.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(ended.valid << ended.bank),
            write.addr.eq(group_number(config, ended.group)),
            write.data.eq(ended.wide.any().replicate(BANKS)),
            read.addr.eq(group_number(config, group)),
        ]
        layout = data.StructLayout({"last": group.shape(), "options": self.options.shape()})
        known = [Signal(layout, name=f"told_{i}") for i in range(BANKS)]
        for i, told in enumerate(known):
            with m.If(ended.head & (ended.bank == i)):
                m.d.sync += [told.last.eq(ended.group), told.options.eq(self.options)]
        chosen = Signal(layout, name="told")
        m.d.comb += chosen.eq(Array(told.as_value() for told in known)[head])
        here = counted(m, ended.head, head_end, "heads_here", most=BANKS)
        return read.data.as_value().bit_select(head, 1), chosen, here

    def _describe(
        self,
        m: Module,
        ended: Value,
        block: data.View,
        follows: Value,
        count: Value,
        wide_count: Value,
    ) -> None:
        """Describe the row block that has ended: its groups, and how long its tiles wait.

        Parameters
        ----------
        m : Module
        ended : Value
            Its groups have been counted.
        block : View
            The row block.
        follows : Value
            Its weights follow their tokens.
        count, wide_count : Value
            Its groups, and those that are wide.
        """
        config, banks = self.config, self.config.weight_banks
        planes, interval = config.planes, config.drain_interval
        most = 2 * planes * config.key_tiles * config.parts
        length, narrow_length = Signal(range(most + 1)), Signal(range(most + 1))
        low_planes = planes * wide_count
        m.d.sync += [
            length.eq(
                Mux(
                    follows,
                    count + (low_planes << 1) - wide_count,
                    planes * count + low_planes,
                )
            ),
            narrow_length.eq(count + wide_count),
        ]

        def wait(length: Value) -> Value:
            return Mux(length < interval, interval - length, 0)

        counts, wide_counts = delayed(m, count, 1, "counts"), delayed(m, wide_count, 1, "wides")
        described = delayed(m, block, 1, "described")
        m.submodules.blocks = blocks = Descriptions(listed_block_layout(config), banks)
        written = blocks.written
        m.d.comb += [
            self.loaded.eq(delayed(m, ended, 1, "loads", reset_less=False)),
            blocks.write.eq(self.loaded),
            *(written[name].eq(described[name]) for name, _ in described.shape()),
            written.single.eq(counts == 1),
            written.before_last.eq(counts - 2),
            written.some_wide.eq(wide_counts != 0),
            written.single_wide.eq(wide_counts == 1),
            written.before_last_wide.eq(wide_counts - 2),
            written.follows.eq(delayed(m, follows, 1, "block_follows")),
            written.wait.eq(wait(length)),
            written.narrow_wait.eq(wait(narrow_length)),
            blocks.step.eq(self.used),
            self.bank.eq(blocks.index),
            self.block.eq(blocks.item),
            self.block_after.eq(blocks.after),
        ]
