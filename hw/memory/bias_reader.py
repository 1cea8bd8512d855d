"""Reads the biases of keys, for each query head, and streams them to the core."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.system import ReadStream, SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.bus.read_channel import ReadChannel, read_port
from dtqatten.hw.memory.descriptor import flag
from dtqatten.hw.memory.gain_table import reading_members
from dtqatten.hw.memory.layer_plans import LayerShape
from dtqatten.hw.memory.run_walker import RunWalker
from dtqatten.hw.memory.token_table import TokenTable, look_up
from dtqatten.hw.memory.walker import plan_layout
from dtqatten.hw.payloads.octaves import bias_layout
from dtqatten.interface.descriptor import BIAS_BYTES, Flag

__all__ = ["BiasReader", "read_biases"]


def read_biases(
    m: Module,
    platform: object,
    fetcher: wiring.PureInterface,
    table: TokenTable,
    start: Value,
    shape: LayerShape,
) -> Value:
    """Add what reads biases to a fetcher; return whether that is idle.

    Parameters
    ----------
    m, platform
        Of the fetcher's ``elaborate``.
    fetcher : Fetcher
    table : TokenTable
        Tokens of the layer.
    start : Value
        The units start.
    shape : LayerShape
    """
    reader = place(m, platform, "bias_reader", BiasReader, fetcher.system)
    shape.plan(m, reader.plan, "bias", shape.layer.key_bias)
    look_up(m, table, ReadStream.KEY_BIAS, reader, 0)
    connect(m, reader.port, flipped(fetcher.ports[ReadStream.KEY_BIAS]))
    connect(m, reader.o, flipped(fetcher.biases))
    m.d.comb += [
        reader.start.eq(start),
        reader.present.eq(flag(shape.layer, Flag.KEY_BIAS)),
        reader.group.eq(shape.group),
    ]
    return reader.idle


class BiasReader(wiring.Component):
    """Stream the biases of a layer's keys: query head by query head, in the order of the keys.

    Latency: 6 cycles and the memory's from the first run of
    :class:`~dtqatten.hw.memory.run_walker.RunWalker`. Throughput one bias a cycle, as far ahead as
    the read buffer and the core have room.

    Parameters
    ----------
    system : SystemConfig
        Of a core with ``bias_heads``.

    Members
    -------
    start : In(1)
        A layer begins with ``plan``, ``present`` and ``group``, which stay until ``idle``.
    plan : In(plan_layout(system))
        Where biases are: its heads are query heads.
    present : In(1)
        There are any.
    group : In(16)
        Query heads of a head of the core.
    idle : Out(1)
        All have been given.
    asked, index, granted, run, count
        Reading of runs, see :class:`~dtqatten.hw.memory.token_table.TokenTable`.
    port
        Read port.
    o : Out(stream.Signature(bias_layout()))
        Biases.
    """

    def __init__(self, system: SystemConfig) -> None:
        self.system = system
        core = system.core
        super().__init__(
            {
                "start": In(1),
                "plan": In(plan_layout(system)),
                "present": In(1),
                "group": In(16),
                "idle": Out(1),
                "asked": Out(1),
                "index": Out(range(core.n_max)).array(1),
                "granted": In(1),
                **reading_members(core, by_run=True),
                "port": Out(read_port(system)),
                "o": Out(stream.Signature(bias_layout())),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system, plan = self.system, self.plan
        walker = place(m, platform, "walker", RunWalker, system, "biases")
        channel = place(m, platform, "channel", ReadChannel, system, 2 * BIAS_BYTES, BIAS_BYTES)
        # Nobody asks which head's biases wait for the bus, so that none of them has to.
        connect(m, walker.o, channel.runs)
        connect(m, channel.port, flipped(self.port))
        token, member, left = Signal.like(plan.tokens), Signal(16), Signal(16)
        m.d.comb += [
            walker.start.eq(self.start & self.present),
            walker.plan.eq(plan),
            walker.run.eq(self.run),
            walker.count.eq(self.count),
            self.asked.eq(walker.asked),
            self.index[0].eq(walker.index),
            walker.granted.eq(self.granted),
            self.o.valid.eq(channel.o.valid),
            channel.o.ready.eq(self.o.ready),
            self.o.p.bias.eq(channel.o.p.as_value()),
            self.o.p.last.eq(token == plan.tokens - 1),
            self.o.p.head.eq(member == self.group - 1),
            self.idle.eq(left == 0),
        ]
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += token.eq(token + 1)
            with m.If(self.o.p.last):
                m.d.sync += [
                    token.eq(0),
                    member.eq(Mux(self.o.p.head, 0, member + 1)),
                    left.eq(left - 1),
                ]
        with m.If(self.start):
            m.d.sync += left.eq(Mux(self.present, plan.heads, 0))
        return m
