"""The values of one column: written nibble by nibble, read ``depth`` tokens at a time."""

from amaranth.hdl import Cat, Module, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import BANKS, Config
from dtqatten.hw.base.banks import BankedMemory
from dtqatten.hw.base.pipeline import delayed
from dtqatten.hw.payloads.arrays import operand_layout

__all__ = ["ValueLane", "bank_words", "group_number", "value_read_layout"]


def value_read_layout(config: Config) -> data.StructLayout:
    """Read of one operand: the ``address`` of a word in a ``bank``, the nibbles to ``keep``.

    ``channel``: which of the word's channels.

    ``release``: the head in the bank is done with.
    """
    return data.StructLayout(
        {
            "valid": unsigned(1),
            "bank": range(BANKS),
            "address": range(bank_words(config)),
            "channel": range(config.channels_a_beat),
            "keep": config.depth,
            "release": unsigned(1),
        }
    )


def bank_words(config: Config) -> int:
    """Return the words that a head's values take in a lane: both planes of all its channels."""
    passes = config.channel_passes // config.channels_a_beat
    return 2 * passes * config.key_tiles * config.parts


def group_number(config: Config, group: data.View) -> Value:
    """Return the number of a group, or of what has its ``tile`` and ``part``, in its head."""
    return group.tile * config.parts + group.part


class ValueLane(wiring.Component):
    """Values of the channels of one column, of all tokens of two heads, a bank each.

    A word holds one channel's plane of the ``depth`` tokens of a group, or side by side those of
    the ``channels_a_beat`` channels that come together; tokens are written one nibble of each at a
    time. Nibbles outside ``read.keep`` read as zeros; the sender clears ``keep`` while
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
        Word, ``(channel_pass // channels_a_beat * 2 + plane) * groups + group`` of the bank.
    write_nibbles : In(ArrayLayout(unsigned(4), channels_a_beat))
        Of the word's channels.
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
                "write_nibbles": In(data.ArrayLayout(unsigned(4), config.channels_a_beat)),
                "read": In(value_read_layout(config)),
                "read_next": Out(value_read_layout(config)),
                "operand": Out(operand_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, channels = self.config, self.config.channels_a_beat
        m.submodules.banks = words = BankedMemory(
            4 * config.depth * channels,
            bank_words(config),
            granularity=4,
            stages=config.timing.word_stages,
        )
        m.d.comb += [
            words.write.eq(self.write.replicate(channels)),
            words.write_bank.eq(self.write_bank),
            words.write_address.eq(self.write_address),
            words.write_data.eq(Cat(each.replicate(config.depth) for each in self.write_nibbles)),
            words.read.eq(self.read.valid),
            words.read_bank.eq(self.read.bank),
            words.read_address.eq(self.read.address),
        ]
        m.d.sync += self.read_next.eq(self.read)
        keep = delayed(m, self.read_next.keep, config.timing.word_stages, "keep", reset_less=False)
        kept = Cat(place.replicate(4) for place in keep)
        word: Value = words.data
        if channels > 1:
            which = delayed(m, self.read_next.channel, config.timing.word_stages, "channel")
            word = word.word_select(which, 4 * config.depth)
        m.d.comb += self.operand.eq(word & kept)
        return m
