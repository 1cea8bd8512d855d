"""Descriptions of row blocks whose groups are listed, for the sequencer of the value array."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data

from dtqatten.configuration.core import Config
from dtqatten.hw.base.descriptions import Descriptions
from dtqatten.hw.base.pipeline import delayed
from dtqatten.hw.payloads.arrays import listed_block_layout

__all__ = ["described"]


def described(
    m: Module,
    config: Config,
    ended: Value,
    block: data.View,
    follows: Value,
    count: Value,
    wide_count: Value,
) -> tuple[Value, Descriptions]:
    """Describe each row block that has ended: its groups, and how long its tiles wait.

    Parameters
    ----------
    m : Module
    config : Config
        With the value array's depth.
    ended : Value
        A row block's groups have been counted.
    block : View
        The row block.
    follows : Value
        Its weights follow their tokens.
    count, wide_count : Value
        Its groups, and those that are wide.

    Returns
    -------
    loaded : Value
        It is described, a cycle after ``ended``.
    blocks : Descriptions
        Those of ``weight_banks`` row blocks, ``written`` then.
    """
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
    now = delayed(m, block, 1, "described")
    loaded = delayed(m, ended, 1, "loads", reset_less=False)
    m.submodules.blocks = blocks = Descriptions(listed_block_layout(config), config.weight_banks)
    written = blocks.written
    m.d.comb += [
        blocks.write.eq(loaded),
        *(written[name].eq(now[name]) for name, _ in now.shape()),
        written.single.eq(counts == 1),
        written.before_last.eq(counts - 2),
        written.some_wide.eq(wide_counts != 0),
        written.single_wide.eq(wide_counts == 1),
        written.before_last_wide.eq(wide_counts - 2),
        written.follows.eq(delayed(m, follows, 1, "block_follows")),
        written.wait.eq(wait(length)),
        written.narrow_wait.eq(wait(narrow_length)),
    ]
    return loaded, blocks
