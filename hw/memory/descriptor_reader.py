"""Reads a descriptor, or its head, into registers."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.bus.read_channel import ReadChannel, read_port
from dtqatten.hw.memory.descriptor import descriptor_layout
from dtqatten.interface.descriptor import HEAD_BYTES, SIZE

__all__ = ["DescriptorReader"]


class DescriptorReader(wiring.Component):
    """Shift the words of a descriptor into a register, from the top.

    So after the last word of all, ``descriptor`` holds it, and after the last word of the head,
    ``head`` does.

    Latency: a word is in ``descriptor`` and ``head`` from the cycle after ``word`` on. Throughput
    one word of ``HEAD_BYTES`` bytes a cycle; words are always taken.

    Parameters
    ----------
    system : SystemConfig

    Members
    -------
    address : In(64)
        First byte; stays while ``ask``.
    whole : In(1)
        Read all of it, not only the head; stays while ``ask``.
    ask : In(1)
        Request it. Never before the last word of what was asked has come.
    asked : Out(1)
        The request is taken.
    word : Out(1)
        A word has come.
    descriptor : Out(descriptor_layout())
        The descriptor.
    head : Out(descriptor_layout())
        Its head; all other fields are 0.
    flush : In(1)
        Forget requests and the words due.
    port
        Read port.
    """

    def __init__(self, system: SystemConfig) -> None:
        self.system = system
        super().__init__(
            {
                "address": In(64),
                "whole": In(1),
                "ask": In(1),
                "asked": Out(1),
                "word": Out(1),
                "descriptor": Out(descriptor_layout()),
                "head": Out(descriptor_layout()),
                "flush": In(1),
                "port": Out(read_port(system)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        channel = place(
            m,
            platform,
            "channel",
            ReadChannel,
            self.system,
            2 * HEAD_BYTES,
            HEAD_BYTES,
            reset=self.flush,
        )
        connect(m, channel.port, flipped(self.port))
        held = Signal(descriptor_layout())
        with m.If(channel.o.valid):
            m.d.sync += held.eq(Cat(held.as_value()[8 * HEAD_BYTES :], channel.o.p.as_value()))
        rest = Const(0, 8 * (SIZE - HEAD_BYTES))
        head = data.View(descriptor_layout(), Cat(held.as_value()[len(rest) :], rest))
        m.d.comb += [
            channel.runs.p.address.eq(self.address),
            channel.runs.p.size.eq(Mux(self.whole, SIZE, HEAD_BYTES)),
            channel.runs.valid.eq(self.ask),
            self.asked.eq(channel.runs.valid & channel.runs.ready),
            channel.o.ready.eq(1),
            self.word.eq(channel.o.valid),
            self.descriptor.eq(held),
            self.head.eq(head),
        ]
        return m
