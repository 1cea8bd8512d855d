"""The slots of values that are fetched where row blocks choose groups of them."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config

__all__ = ["ChosenSlots", "chosen_slots", "group_fifo", "slots_layout", "slots_stream"]


def slots_layout(config: Config) -> data.StructLayout:
    """A chosen group: ``tokens`` slots from ``first`` on, less behind the head's last key.

    ``last``: it is the last one of its head.
    """
    return data.StructLayout(
        {"first": range(config.n_max), "tokens": range(config.group + 1), "last": 1}
    )


def slots_stream(config: Config) -> stream.Signature:
    """Chosen groups, ascending in each head, in the order of the heads."""
    return stream.Signature(slots_layout(config))


def group_fifo(m: Module, config: Config, groups: stream.Interface) -> fifo.SyncFIFO:
    """Queue as many chosen groups as a head has, so that no reader keeps the others from a head."""
    layout = slots_layout(config)
    m.submodules.groups = queue = fifo.SyncFIFO(
        width=layout.size, depth=config.key_tiles * config.parts
    )
    m.d.comb += [
        queue.w_data.eq(groups.p),
        queue.w_en.eq(groups.valid),
        groups.ready.eq(queue.w_rdy),
    ]
    return queue


def chosen_slots(
    m: Module, config: Config, choices: stream.Interface, groups: stream.Interface
) -> None:
    """Give the slots of the groups that the core chooses.

    Parameters
    ----------
    m : Module
    config : Config
    choices : stream of choice_layout(config)
    groups : stream of slots_stream(config), as seen by its producer
    """
    group, depth = choices.p.group, config.group
    rest = config.cols - (config.parts - 1) * depth
    m.d.comb += [
        groups.valid.eq(choices.valid),
        choices.ready.eq(groups.ready),
        groups.p.first.eq(group.tile * config.cols + group.part * depth),
        groups.p.tokens.eq(Mux(group.part == config.parts - 1, rest, depth)),
        groups.p.last.eq(choices.p.last),
    ]


class ChosenSlots(wiring.Component):
    """Slots of chosen groups one after the other, head after head.

    Latency: a slot is there in the cycle after its group was taken. Throughput one slot a cycle.

    Parameters
    ----------
    config : Config

    Members
    -------
    groups : In(slots_stream(config))
        Chosen groups.
    tokens : In(range(n_max + 1))
        Slots of a head.
    next : In(1)
        Go on to the next slot; only while there is one.
    valid, slot : Out(1), Out(range(n_max))
        There is a slot.
    last : Out(1)
        It is the last one of its head that is fetched.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "groups": In(slots_stream(config)),
                "tokens": In(range(config.n_max + 1)),
                "next": In(1),
                "valid": Out(1),
                "slot": Out(range(config.n_max)),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        queue = group_fifo(m, self.config, self.groups)
        group = Signal(self.groups.p.shape())
        offset, end = Signal.like(group.tokens), Signal()
        m.d.comb += [
            group.eq(queue.r_data),
            self.valid.eq(queue.r_rdy),
            self.slot.eq(group.first + offset),
            end.eq((offset == group.tokens - 1) | (self.slot == self.tokens - 1)),
            self.last.eq(end & group.last),
            queue.r_en.eq(self.next & end),
        ]
        with m.If(self.next):
            m.d.sync += offset.eq(Mux(end, 0, offset + 1))
        return m
