"""The groups of values that each row block visits, where tiles are skipped."""

from typing import Any

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import BANKS, Config
from dtqatten.hw.arrays.chosen_blocks import ChosenBlocks
from dtqatten.hw.arrays.group_chooser import GroupChooser
from dtqatten.hw.arrays.listed_blocks import described
from dtqatten.hw.arrays.value_lane import group_number
from dtqatten.hw.arrays.value_loader import group_end_layout
from dtqatten.hw.base.pipeline import counted, delayed
from dtqatten.hw.payloads.arrays import group_layout, head_options_layout, listed_block_layout
from dtqatten.hw.payloads.choices import (
    choice_stream,
    levels_layout,
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
    they went by. Of a ``chosen`` head tiles do not wait for values: what it keeps is told at
    ``choices``, and :class:`~dtqatten.hw.arrays.chosen_blocks.ChosenBlocks` list it as it comes.

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
    choices : Out(choice_stream(config))
        With ``chosen_values``: what row blocks of chosen heads keep.
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
                **({"choices": Out(choice_stream(config))} if config.chosen_values else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        groups, banks = config.key_tiles * config.parts, config.weight_banks
        walked, valid, active = self._walked(m)
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
            ("all_groups", active, at, self.group),
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
            if name == "all_groups":
                m.d.comb += self.is_wide.eq(read.data.wide)
        block = delayed(m, walked.block, 1, "block_of")
        follows = delayed(m, walked.follows, 1, "follows")
        loaded, blocks = described(m, config, ended, block, follows, count, wide_count)
        m.d.comb += [
            self.loaded.eq(loaded),
            blocks.step.eq(self.used),
            self.bank.eq(blocks.index),
            self.block.eq(blocks.item),
            self.block_after.eq(blocks.after),
        ]
        return m

    def _walked(self, m: Module) -> tuple[data.View, Value, Value]:
        """Return the group at hand, whether there is one, and whether it is listed."""
        config = self.config
        walked, valid = Signal(walked_group_layout(config), name="walked"), Signal(name="valid")
        if not config.local_values:
            self._walk(m, walked, valid, Const(1))
            return walked, valid, valid
        active = Signal(name="active")
        m.submodules.chooser = chooser = GroupChooser(config)
        self._walk(m, chooser.i, chooser.i_valid, chooser.i_ready)
        # Registers between the memories that are read and the lists.
        m.d.sync += [
            walked.eq(chooser.o),
            valid.eq(chooser.o_valid),
            active.eq(chooser.kept),
        ]
        if not config.chosen_values:
            return walked, valid, active
        m.submodules.chosen = chosen = ChosenBlocks(config)
        connect(m, chooser.choices, flipped(self.choices))
        m.d.comb += [
            chosen.decided.eq(chooser.decided),
            chosen.block.eq(chooser.block),
            chosen.ended.eq(self.ended),
            chosen.options.eq(self.options),
        ]
        # The other one has nothing then: heads come one after the other.
        item = Signal.like(walked, name="item")
        m.d.comb += item.eq(Mux(chosen.o_valid, chosen.o, walked))
        return item, valid | chosen.o_valid, active | chosen.o_valid

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
        chosen = tile.share != 0 if config.chosen_values else Const(0)
        wide, told, known = self._heads(m, group, head, head_end & ~chosen)
        m.d.comb += [
            group.part.eq(part),
            group.tile.eq(tile.tile),
            walked.wide.eq(wide),
            walked.last.eq(tile_end & tile.last),
            walked.follows.eq(told.options.follows),
            walked.block.eq(tile.block),
            valid.eq(waits & (known | chosen) & weighed),
            block_end.eq(active & walked.last),
            head_end.eq(block_end & tile.block.last),
        ]
        ends = group.as_value() == told.last.as_value()
        if config.chosen_values:
            m.d.comb += walked.chosen.eq(chosen)
            ends = Mux(chosen, (part + 1) * config.depth >= tile["keys"], ends)
        m.d.comb += tile_end.eq((part == config.parts - 1) | ends)
        if config.local_values:
            level, here = self._level(m, part, active & tile_end)
            share = told.options.share
            if config.chosen_values:
                share = Mux(chosen, tile.share, share)
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
        tile = self._oldest(m, "tiles", self.visited_valid, self.visited, done)
        return tile, counted(m, self.visited_valid, done, "tiles_here", most=self._most_tiles)

    def _level(self, m: Module, part: Value, done: Value) -> tuple[Value, Value]:
        """Keep the levels of tiles; return that of the oldest tile's ``part``, and if it is there.

        A tile that needs no levels may be ``done`` before they are here.
        """
        levels = self._oldest(m, "levels", self.levels_valid, self.levels, done)
        ahead = Signal(range(-self._most_tiles, self._most_tiles + 1))
        m.d.sync += ahead.eq(ahead + self.levels_valid - done)
        return levels[part], ahead > 0

    @property
    def _most_tiles(self) -> int:
        """Tiles of weights that are held."""
        return self.config.weight_banks * self.config.key_tiles

    def _oldest(self, m: Module, name: str, valid: Value, item: data.View, done: Value) -> Any:
        """Queue what comes of each tile, and return that of the oldest one."""
        most = self._most_tiles
        m.submodules[name] = queue = memory.Memory(shape=item.shape(), depth=most, init=[])
        write, read = queue.write_port(), queue.read_port(domain="comb")
        m.d.comb += [write.en.eq(valid), write.data.eq(item)]
        for port, moves in ((write, valid), (read, done)):
            with m.If(moves):
                m.d.sync += port.addr.eq(Mux(port.addr == most - 1, 0, port.addr + 1))
        return read.data

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
        waits = ended.head & ~self.options.chosen if config.chosen_values else ended.head
        here = counted(m, waits, head_end, "heads_here", most=BANKS)
        return read.data.as_value().bit_select(head, 1), chosen, here
