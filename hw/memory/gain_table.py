"""Gains of a head's tokens, read once and looked up by slot."""

from amaranth.hdl import Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.bus.read_channel import ReadChannel, read_port
from dtqatten.hw.memory.head_steps import head_steps
from dtqatten.hw.memory.run_table import place_run_layout
from dtqatten.hw.memory.run_walker import RunWalker
from dtqatten.hw.memory.walker import PlaneWalker, plan_layout
from dtqatten.hw.payloads.softmax import GAIN_BITS, GAIN_ONE

__all__ = ["GainTable", "reading_members"]


def reading_members(core: Config, by_run: bool) -> dict[str, wiring.Member]:
    """What is read from the table of tokens: runs, or places."""
    if by_run:
        return {"run": In(place_run_layout(core)), "count": In(range(core.n_max + 1))}
    return {"entry": In(range(core.positions))}


class GainTable(wiring.Component):
    """Hold a head's gains, those of the tokens that the layer computes on.

    They are read once for all query heads that share them, and ahead as far as the read buffer has
    room. Each can be looked up from the cycle after it came.

    Latency: ``loading`` lasts a cycle a token, if the gains are here already; the first head's come
    6 cycles and the memory's latency after the first run of
    :class:`~dtqatten.hw.memory.walker.PlaneWalker`, or of
    :class:`~dtqatten.hw.memory.run_walker.RunWalker`. ``gain`` follows ``slot`` by one cycle.

    Parameters
    ----------
    system : SystemConfig
    by_run : bool
        Places are read run by run: gains of keys.
    signed : bool
        Gains have a sign: bit 7 of the byte, the others are half the gain.

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
    asked, index, granted, and entry, or run and count
        Reading of places, or of runs, see :class:`~dtqatten.hw.memory.token_table.TokenTable`.
    next, known : In(range(n_max)), Out(1)
        A slot; its gain is here.
    slot : In(range(n_max))
        Of a token whose gain is here.
    gain, negative : Out(9), Out(1)
        Its gain, 256 without gains; where gains have a sign, that.
    zero : Out(1)
        It is 0, and so invalid.
    base : Out(address_bits)
        Where the head's gains begin.
    port
        Read port.
    """

    def __init__(self, system: SystemConfig, by_run: bool, signed: bool = False) -> None:
        self.system, self.by_run, self.signed = system, by_run, signed
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
                **reading_members(core, by_run),
                "next": In(range(core.n_max)),
                "known": Out(1),
                "slot": In(range(core.n_max)),
                "gain": Out(GAIN_BITS),
                **({"negative": Out(1)} if signed else {}),
                "zero": Out(1),
                "base": Out(system.address_bits),
                "port": Out(read_port(system)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system, plan = self.system, self.plan
        kind = RunWalker if self.by_run else PlaneWalker
        walker = place(m, platform, "walker", kind, system, "gains")
        channel = place(m, platform, "channel", ReadChannel, system, 2, 1)
        m.submodules.gains = gains = memory.Memory(
            shape=unsigned(8), depth=system.core.n_max, init=[]
        )
        write, read = gains.write_port(), gains.read_port()
        stored: Value = read.data[:7] << 1 if self.signed else read.data
        # Nobody asks which head's gains wait for the bus, so that none of them has to.
        connect(m, walker.o, channel.runs)
        connect(m, channel.port, flipped(self.port))
        used = Signal(16)
        last, loads = Signal(), Signal()
        here = self._follow(m, loads)
        m.d.comb += [
            walker.start.eq(self.start & self.present),
            walker.plan.eq(plan),
            self.asked.eq(walker.asked),
            self.index.eq(walker.index),
            walker.granted.eq(self.granted),
            *(
                getattr(walker, name).eq(getattr(self, name))
                for name in reading_members(system.core, self.by_run)
            ),
            last.eq(write.addr == plan.tokens - 1),
            channel.o.ready.eq(self.loading),
            self.known.eq((~self.loading | (self.next < write.addr)) & here),
            loads.eq(self.load & self.present & (used == 0)),
            write.en.eq(channel.o.valid & self.loading),
            write.data.eq(channel.o.p),
            read.addr.eq(self.slot),
            self.gain.eq(Mux(self.present, stored, GAIN_ONE)),
            self.zero.eq(self.present & (stored == 0)),
        ]
        if self.signed:
            m.d.comb += self.negative.eq(self.present & read.data[7])
        with m.If(self.load & self.present):
            m.d.sync += used.eq(Mux(used + 1 == plan.repeats, 0, used + 1))
        with m.If(loads):
            m.d.sync += self.loading.eq(1)
        with m.If(write.en):
            m.d.sync += write.addr.eq(Mux(last, 0, write.addr + 1))
            with m.If(last):
                m.d.sync += self.loading.eq(0)
        with m.If(self.start):
            m.d.sync += used.eq(0)
        return m

    def _follow(self, m: Module, loads: Value) -> Value:
        """Have ``base`` follow the heads; return whether it is at the one that is loaded.

        Parameters
        ----------
        m : Module
        loads : Value
            The next head is loaded.
        """
        plan = self.plan
        if not self.system.core.head_pruning:
            following = Signal.like(self.base, name="following")
            with m.If(loads):
                m.d.sync += [self.base.eq(following), following.eq(following + plan.capacity)]
            with m.If(self.start):
                m.d.sync += following.eq(plan.base)
            return Const(1)
        # The first head begins the steps, the others go on.
        first = Signal(name="first")
        begins, goes_on = loads & first, loads & ~first
        seeks = head_steps(m, plan, begins, goes_on, self.base, plan.capacity)
        with m.If(begins):
            m.d.sync += [self.base.eq(plan.base), first.eq(0)]
        with m.If(self.start):
            m.d.sync += first.eq(1)
        return ~seeks
