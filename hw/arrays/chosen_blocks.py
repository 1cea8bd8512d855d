"""Row blocks of chosen heads, whose groups are listed as their values come."""

from amaranth.hdl import Module
from amaranth.lib import fifo, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.arrays.value_loader import group_end_layout
from dtqatten.hw.payloads.arrays import head_options_layout, weight_block_layout
from dtqatten.hw.payloads.choices import walked_group_layout

__all__ = ["ChosenBlocks"]


class ChosenBlocks(wiring.Component):
    """Keep row blocks that have chosen their groups until the values of these are here.

    What comes of a chosen head is what its row block multiplies, in the order of the list. Each row
    block has a bank of weights, so there are ``weight_banks`` at most.

    Latency 0; throughput one group a cycle.

    Parameters
    ----------
    config : Config
        With the value array's depth.

    Members
    -------
    decided, block : In(1), In(weight_block_layout(config))
        A row block that has chosen.
    ended, options : In(group_end_layout(config)), In(head_options_layout(config))
        A group of values is complete, of a head with these options.
    o_valid, o : Out(1), Out(walked_group_layout(config))
        It is one of a chosen head; what is to be listed.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "decided": In(1),
                "block": In(weight_block_layout(config)),
                "ended": In(group_end_layout(config)),
                "options": In(head_options_layout(config)),
                "o_valid": Out(1),
                "o": Out(walked_group_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.waiting = waiting = fifo.SyncFIFO(
            width=self.block.shape().size, depth=self.config.weight_banks
        )
        m.d.comb += [
            waiting.w_en.eq(self.decided),
            waiting.w_data.eq(self.block),
            waiting.r_en.eq(self.o_valid & self.ended.head),
            self.o_valid.eq(self.ended.valid & self.options.chosen),
            self.o.group.eq(self.ended.group),
            self.o.wide.eq(self.ended.wide.any()),
            self.o.last.eq(self.ended.head),
            self.o.follows.eq(self.options.follows),
            self.o.block.eq(waiting.r_data),
        ]
        return m
