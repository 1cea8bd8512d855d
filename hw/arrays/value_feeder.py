"""The top edge of the value array: values by channel, ``depth`` tokens an operand."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import BANKS, Config
from dtqatten.hw.arrays.value_index import GroupIndex, HeadDescriber, OperandReader
from dtqatten.hw.arrays.value_lane import ValueLane
from dtqatten.hw.arrays.value_loader import ValueLoader, group_end_layout
from dtqatten.hw.base.export import place
from dtqatten.hw.base.pipeline import delayed
from dtqatten.hw.payloads.arrays import (
    group_layout,
    head_options_layout,
    operand_layout,
    value_feed_layout,
    value_head_layout,
    value_layout,
)
from dtqatten.hw.payloads.choices import choice_stream

__all__ = ["ValueFeeder"]


class ValueFeeder(wiring.Component):
    """Feed a head's values, skewed by one cycle a pod of columns.

    Channel ``c`` belongs to column ``c % cols`` in channel pass ``c // cols``. Tokens make groups
    of ``depth``, counted anew in every tile of ``cols`` keys, as the weights are; a group is wide
    if one of its tokens is 8-bit; the low plane of its 4-bit tokens is zero, and so is a column
    without a channel in the last pass.

    Loading: one beat a cycle while a bank is free. ``loaded`` pulses three cycles after the beat
    that completes a head; ``head`` and ``head_after`` are
    :class:`~dtqatten.hw.base.descriptions.Descriptions` written in that cycle. ``wide_group`` is
    the current head's ``wide_peek``-th wide group (plane-major); ``is_wide`` says whether group
    ``wide_peek`` is wide (interleaved). ``operands[c]`` follows ``feed`` by ``c //
    pod_cols + 2 + word_stages`` cycles. A feed with ``release`` frees its bank ``hops + 2`` cycles
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
    bank : Out(range(BANKS))
        Where it is.
    head, head_after : Out(value_head_layout(config))
        Its description, and that of the one after it.
    wide_peek : In(range(key_tiles * parts))
    wide_group : Out(group_layout(config))
    is_wide : Out(1)
    ended, options : Out(group_end_layout(config)), Out(head_options_layout(config))
        With ``skip_tiles``, in place of all these: a group is complete, of a head with these
        options.
    choices : In(choice_stream(config))
        With ``chosen_values``: groups whose values come.
    feed : In(value_feed_layout(config))
    operands : Out(ArrayLayout(operand_layout(config), cols))
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        described = {
            "loaded": Out(1),
            "used": In(1),
            "bank": Out(range(BANKS)),
            "head": Out(value_head_layout(config)),
            "head_after": Out(value_head_layout(config)),
            "wide_peek": In(range(config.key_tiles * config.parts)),
            "wide_group": Out(group_layout(config)),
            "is_wide": Out(1),
        }
        ended = {
            "ended": Out(group_end_layout(config)),
            "options": Out(head_options_layout(config)),
        }
        super().__init__(
            {
                "i": In(stream.Signature(value_layout(config))),
                **(ended if config.skip_tiles else described),
                **({"choices": In(choice_stream(config))} if config.chosen_values else {}),
                "feed": In(value_feed_layout(config)),
                "operands": Out(data.ArrayLayout(operand_layout(config), config.cols)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        m.submodules.loader = loader = ValueLoader(config)
        m.submodules.reader = reader = OperandReader(config)
        connect(m, flipped(self.i), loader.i)
        if config.chosen_values:
            connect(m, flipped(self.choices), loader.choices)
        m.d.comb += [reader.ended.eq(loader.ended), reader.feed.eq(self.feed)]
        if config.skip_tiles:
            m.d.comb += self.ended.eq(loader.ended)
            for name, _ in self.options.shape():
                m.d.comb += self.options[name].eq(delayed(m, self.i.p[name], 1, name))
        else:
            self._describe(m, loader)
        self._lanes(m, platform, loader, reader)
        return m

    def _describe(self, m: Module, loader: ValueLoader) -> None:
        """Describe heads and their wide groups."""
        config = self.config
        m.submodules.index = index = GroupIndex(config)
        m.submodules.heads = heads = HeadDescriber(config)
        m.d.comb += [
            index.ended.eq(loader.ended),
            index.bank.eq(heads.bank),
            index.peek.eq(self.wide_peek),
            self.wide_group.eq(index.wide_group),
            self.is_wide.eq(index.is_wide),
            heads.ended.eq(loader.ended),
            heads.wide_groups.eq(index.wide_groups),
            heads.follows.eq(self.i.p.follows),
            heads.used.eq(self.used),
            self.loaded.eq(heads.loaded),
            self.bank.eq(heads.bank),
            self.head.eq(heads.head),
            self.head_after.eq(heads.head_after),
        ]

    def _lanes(
        self, m: Module, platform: object, loader: ValueLoader, reader: OperandReader
    ) -> None:
        """Add a lane a column.

        Parameters
        ----------
        m, platform
            As in ``elaborate``.
        loader : ValueLoader
            Writes to the lanes.
        reader : OperandReader
            Reads from them.
        """
        config = self.config
        groups, together = config.key_tiles * config.parts, config.channels_a_beat
        write, read = loader.write, reader.read
        last_pass = config.channel_passes - 1
        operands = []
        for c in range(config.cols):
            if c == config.d_head - last_pass * config.cols:
                # From here on columns have no channel in the last pass. Its words are never
                # written, so they are masked: a RAM starts unknown.
                present = Signal.like(read, name="read_present")
                m.d.comb += present.eq(read)
                with m.If(read.address >= last_pass * 2 * groups if last_pass else 1):
                    m.d.comb += present.keep.eq(0)
                read = present
            lane = place(m, platform, f"lane_{c}", ValueLane, config)
            channel_pass = Signal(
                range(config.channel_passes // together), name=f"channel_pass_{c}"
            )
            m.d.comb += [
                lane.write_bank.eq(write.bank),
                lane.write_address.eq(Cat(write.plane, channel_pass) * groups + write.group),
                lane.read.eq(read),
            ]
            # Each of the column's channels is at one place of one beat.
            channels = range(c, config.d_head, config.cols)
            with m.Switch(write.word):
                for at_pass, channel in enumerate(channels[::together]):
                    first = channel % config.value_nibbles
                    with m.Case(channel // config.value_nibbles):
                        m.d.comb += [
                            lane.write.eq(write.places),
                            channel_pass.eq(at_pass),
                            *(
                                lane.write_nibbles[i].eq(write.nibbles[first + i * config.cols])
                                for i in range(together)
                            ),
                        ]
            if (c + 1) % config.pod_cols == 0:
                read = lane.read_next
            operands.append(lane.operand)
        m.d.comb += [loader.released.eq(read.release), self.operands.eq(Cat(operands))]
