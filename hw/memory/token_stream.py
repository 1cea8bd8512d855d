"""Positions and gains of tokens for the core."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.bus.read_channel import ReadChannel, read_port
from dtqatten.hw.memory.slots import Slots
from dtqatten.hw.memory.token_table import token_layout
from dtqatten.hw.memory.walker import PlaneWalker, plan_layout
from dtqatten.hw.payloads.softmax import GAIN_BITS, GAIN_ONE

__all__ = ["GainTable", "TokenStream", "item_layout"]


def item_layout(config: Config, tables: int) -> data.StructLayout:
    """A token's position, and its gain from each table; ``last`` of the head."""
    return data.StructLayout(
        {
            "position": token_layout(config)["position"].shape,
            "gains": data.ArrayLayout(unsigned(GAIN_BITS), tables),
            "slot": range(config.n_max),
            "last": unsigned(1),
        }
    )


class GainTable(wiring.Component):
    """Hold a head's gains, those of the tokens that the layer computes on.

    They are read once for all query heads that share them, and ahead as far as the read buffer has
    room.

    Latency: ``loading`` lasts a cycle a token, if the gains are here already; the first head's come
    4 cycles and the memory's latency after the first run of
    :class:`~dtqatten.hw.memory.walker.PlaneWalker`. ``gain`` follows ``slot`` by one cycle.

    Parameters
    ----------
    system : SystemConfig

    Members
    -------
    start : In(1)
        A layer begins with ``plan`` and ``present``, which stay for it.
    plan : In(plan_layout(system))
        Where the gains are; ``repeats`` query heads use the same ones.
    present : In(1)
        There are any.
    load : In(1)
        Load the next query head's; not while ``loading``.
    loading : Out(1)
        They are not complete yet.
    asked, index, granted, entry
        Reading of places, see :class:`~dtqatten.hw.memory.token_table.TokenTable`.
    slot : In(range(n_max))
        Of a token.
    gain : Out(9)
        Its gain, 256 without gains.
    zero : Out(1)
        It is 0, and so invalid.
    base : Out(address_bits)
        Where the head's gains begin.
    port
        Read port.
    """

    def __init__(self, system: SystemConfig) -> None:
        self.system = system
        core = system.core
        super().__init__(
            {
                "start": In(1),
                "plan": In(plan_layout(system)),
                "present": In(1),
                "load": In(1),
                "loading": Out(1),
                "asked": Out(1),
                "index": Out(range(core.n_max)),
                "granted": In(1),
                "entry": In(range(core.positions)),
                "slot": In(range(core.n_max)),
                "gain": Out(GAIN_BITS),
                "zero": Out(1),
                "base": Out(system.address_bits),
                "port": Out(read_port(system)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system, plan = self.system, self.plan
        walker = place(m, platform, "walker", PlaneWalker, system, "gains")
        channel = place(m, platform, "channel", ReadChannel, system, 2, 1)
        m.submodules.gains = gains = memory.Memory(
            shape=unsigned(8), depth=system.core.n_max, init=[]
        )
        write, read = gains.write_port(), gains.read_port()
        connect(m, walker.o, channel.runs)
        connect(m, channel.port, flipped(self.port))
        following = Signal(system.address_bits)
        used = Signal(16)
        last = Signal()
        m.d.comb += [
            walker.start.eq(self.start & self.present),
            walker.plan.eq(plan),
            self.asked.eq(walker.asked),
            self.index.eq(walker.index),
            walker.granted.eq(self.granted),
            walker.entry.eq(self.entry),
            last.eq(write.addr == plan.tokens - 1),
            channel.o.ready.eq(self.loading),
            write.en.eq(channel.o.valid & self.loading),
            write.data.eq(channel.o.p),
            read.addr.eq(self.slot),
            self.gain.eq(Mux(self.present, read.data, GAIN_ONE)),
            self.zero.eq(self.present & (read.data == 0)),
        ]
        with m.If(self.load & self.present):
            m.d.sync += used.eq(Mux(used + 1 == plan.repeats, 0, used + 1))
            with m.If(used == 0):
                m.d.sync += [
                    self.loading.eq(1),
                    self.base.eq(following),
                    following.eq(following + plan.capacity),
                ]
        with m.If(write.en):
            m.d.sync += write.addr.eq(Mux(last, 0, write.addr + 1))
            with m.If(last):
                m.d.sync += self.loading.eq(0)
        with m.If(self.start):
            m.d.sync += [following.eq(plan.base), used.eq(0)]
        return m


class TokenStream(wiring.Component):
    """Stream a layer's tokens once a head, with position and gains.

    Latency: 4 cycles from ``start`` to the first token, and the loading of gains. Throughput one
    token every other cycle, with 2 cycles and the loading before each head.

    Parameters
    ----------
    system : SystemConfig
    tables : int
        Tables of gains: 1 for queries, whose row blocks of both classes alternate; 2 for keys and
        their values.

    Members
    -------
    start : In(1)
        Begin with ``heads``, ``tokens``, ``four_bit``, ``plans`` and ``present``, which stay until
        ``idle``.
    heads, tokens, four_bit : In(16), In(range(n_max + 1)), In(range(n_max + 1))
        Query heads, tokens of each, and slots of the 4-bit class.
    plans : In(plan_layout(system)).array(tables)
        Where gains are.
    present : In(tables)
        Which gains there are.
    asked, index, granted, entry
        Reading of places by the tables, see :class:`~dtqatten.hw.memory.token_table.TokenTable`.
    idle : Out(1)
        All tokens are out.
    slot : Out(range(n_max))
        Slot to look up.
    token : In(token_layout(config))
        Its token, one cycle later.
    zero, zero_address : Out(1), Out(address_bits)
        The gain of the token at ``o`` is 0; its address.
    ports
        Read ports of the tables.
    o : Out(stream.Signature(item_layout(config, tables)))
        Tokens.
    """

    def __init__(self, system: SystemConfig, tables: int) -> None:
        self.system, self.tables = system, tables
        core = system.core
        super().__init__(
            {
                "start": In(1),
                "heads": In(16),
                "tokens": In(range(core.n_max + 1)),
                "four_bit": In(range(core.n_max + 1)),
                "plans": In(plan_layout(system)).array(tables),
                "present": In(tables),
                "asked": Out(tables),
                "index": Out(range(core.n_max)).array(tables),
                "granted": In(tables),
                "entry": In(range(core.positions)),
                "idle": Out(1, init=1),
                "slot": Out(range(core.n_max)),
                "token": In(token_layout(core)),
                "zero": Out(1),
                "zero_address": Out(system.address_bits),
                "ports": Out(read_port(system)).array(tables),
                "o": Out(stream.Signature(item_layout(core, tables))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        head = Signal(16)
        load, loading = Signal(), Signal()
        slots = place(m, platform, "slots", Slots, self.system.core, self.tables == 1)
        m.d.comb += [
            slots.restart.eq(self.start),
            slots.tokens.eq(self.tokens),
            slots.four_bit.eq(self.four_bit),
            self.slot.eq(slots.slot),
        ]
        for i in range(self.tables):
            table = place(m, platform, f"gains_{i}", GainTable, self.system)
            connect(m, table.port, flipped(self.ports[i]))
            m.d.comb += [
                table.start.eq(self.start),
                table.plan.eq(self.plans[i]),
                table.present.eq(self.present[i]),
                table.load.eq(load),
                self.asked[i].eq(table.asked),
                self.index[i].eq(table.index),
                table.granted.eq(self.granted[i]),
                table.entry.eq(self.entry),
                table.slot.eq(self.slot),
                self.o.p.gains[i].eq(table.gain),
            ]
            with m.If(table.loading):
                m.d.comb += loading.eq(1)
            with m.If(table.zero):
                m.d.comb += [
                    self.zero.eq(self.o.valid),
                    self.zero_address.eq(table.base + self.token.id),
                ]
        m.d.comb += [
            self.o.p.position.eq(self.token.position),
            self.o.p.slot.eq(self.slot),
            self.o.p.last.eq(slots.last),
        ]
        with m.FSM():
            with m.State("IDLE"), m.If(self.start):
                m.d.sync += [head.eq(0), self.idle.eq(0)]
                m.next = "LOAD"
            with m.State("LOAD"):
                m.d.comb += load.eq(1)
                m.next = "WAIT"
            with m.State("WAIT"), m.If(~loading):
                m.next = "LOOK"
            with m.State("LOOK"):
                # The tables have the slot's token and gain in the next cycle.
                m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.comb += slots.next.eq(1)
                    m.next = "LOOK"
                    with m.If(slots.last):
                        m.d.sync += head.eq(head + 1)
                        m.next = "LOAD"
                        with m.If(head + 1 == self.heads):
                            m.d.sync += self.idle.eq(1)
                            m.next = "IDLE"
        return m
