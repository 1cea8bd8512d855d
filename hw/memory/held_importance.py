"""Importance of a cache by id: read for a layer's keys, and where it is written back."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.bus.bursts import run_layout
from dtqatten.hw.bus.read_channel import ReadChannel, read_port
from dtqatten.hw.memory.walker import PlaneWalker
from dtqatten.hw.memory.writer import results_layout
from dtqatten.hw.payloads.ranking import held_layout

__all__ = ["LOOKUPS", "HeldImportance", "Protection", "lend", "place_members"]

#: Readers of places that the unit has: of what is read, of protection, of what is written.
LOOKUPS = 3


def place_members(config: Config) -> dict[str, wiring.Member]:
    """Members by which the fetcher lends its table, as of the table itself."""
    return {
        "asked": In(LOOKUPS),
        "index": In(range(config.n_max)).array(LOOKUPS),
        "granted": Out(LOOKUPS),
        "entry": Out(range(config.positions)),
    }


def lend(m: Module, fetcher: wiring.PureInterface, table: wiring.PureInterface) -> None:
    """Let the last readers of the fetcher's table be those of :func:`place_members`.

    Parameters
    ----------
    m : Module
    fetcher : Fetcher
    table : TokenTable
    """
    own = len(table.asked) - LOOKUPS
    m.d.comb += [
        table.asked[own:].eq(fetcher.asked),
        *(table.index[own + i].eq(fetcher.index[i]) for i in range(LOOKUPS)),
        fetcher.granted.eq(table.granted[own:]),
        fetcher.entry.eq(table.entry),
    ]


class Protection(wiring.Component):
    """Tell of each key of a layer, in order, whether it is protected.

    ``id < first`` or ``id > latest - last``, with the latest of the keys' ids: the last one of
    either class.

    Latency: of lists up to 2 lookups before the first key. Throughput a key every other cycle, of
    lists every third one.

    Parameters
    ----------
    system : SystemConfig

    Members
    -------
    start : In(1)
        Begin with ``layer``, which stays until ``idle``.
    layer : In(results_layout(system))
        Its keys, and how many positions are protected.
    idle : Out(1)
        All keys have been taken.
    asked, index, granted, entry
        Reading of places, see :class:`~dtqatten.hw.memory.token_table.TokenTable`.
    valid, safe, next : Out(1), Out(1), In(1)
        Whether the next key is protected; it is taken.
    """

    def __init__(self, system: SystemConfig) -> None:
        self.system = system
        core = system.core
        super().__init__(
            {
                "start": In(1),
                "layer": In(results_layout(system)),
                "idle": Out(1, init=1),
                "asked": Out(1),
                "index": Out(range(core.n_max)),
                "granted": In(1),
                "entry": In(range(core.positions)),
                "valid": Out(1),
                "safe": Out(1),
                "next": In(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        core, layer = self.system.core, self.layer
        latest, id_ = Signal(range(core.positions)), Signal(range(core.positions))
        slot, last = Signal(range(core.n_max)), Signal()
        m.d.comb += [
            last.eq(slot == layer.tokens - 1),
            self.index.eq(slot),
            id_.eq(Mux(layer.listed, self.entry, slot)),
        ]

        def look_up() -> None:
            m.next = "ASK"
            with m.If(~layer.listed):
                m.next = "TAKE"

        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [latest.eq(layer.tokens - 1), slot.eq(layer.tokens - 1)]
                with m.If(self.start):
                    m.d.sync += self.idle.eq(0)
                    m.next = "LATEST"
            with m.State("LATEST"):
                m.d.comb += self.asked.eq(layer.listed)
                with m.If(self.granted):
                    m.next = "LATER"
                with m.If(~layer.listed):
                    m.d.sync += slot.eq(0)
                    m.next = "TAKE"
            with m.State("LATER"):
                # The last of all, then that of the 4-bit class, if there are two.
                two = last & (layer.four_bit != 0) & (layer.four_bit != layer.tokens)
                with m.If(last | (self.entry > latest)):
                    m.d.sync += latest.eq(self.entry)
                m.d.sync += slot.eq(0)
                m.next = "ASK"
                with m.If(two):
                    m.d.sync += slot.eq(layer.four_bit - 1)
                    m.next = "LATEST"
            with m.State("ASK"):
                m.d.comb += self.asked.eq(1)
                with m.If(self.granted):
                    m.next = "TAKE"
            with m.State("TAKE"):
                m.d.sync += self.safe.eq(
                    (id_ < layer.protect_first) | (id_ + layer.protect_last > latest)
                )
                m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += self.valid.eq(1)
                with m.If(self.next):
                    m.d.sync += slot.eq(slot + 1)
                    look_up()
                    with m.If(last):
                        m.d.sync += self.idle.eq(1)
                        m.next = "IDLE"
        return m


class HeldImportance(wiring.Component):
    """Read the importance of a layer's keys by id, and tell where their sums are written.

    It begins with the writer, when all that earlier layers write has been answered: so a layer adds
    to what the one before has written. Places are those of the fetcher's table, so the next layer
    is not started before all runs have been given.

    Latency: values are at ``o`` 1 cycle after they came. Throughput a key every third cycle, ahead
    of the core by up to ``n_max`` keys, which it takes one a cycle.

    Parameters
    ----------
    system : SystemConfig
        Whose core has ``held_importance``.

    Members
    -------
    start : In(1)
        The writer begins ``layer``, which stays until it is done. Only while ``idle``.
    layer : In(results_layout(system))
        Its keys and addresses. Nothing happens unless ``held`` is set.
    idle : Out(1)
        Everything has been given.
    too_many : Out(1)
        More keys are protected than are kept; for one cycle.
    asked, index, granted, entry
        Reading of places, see :class:`~dtqatten.hw.memory.token_table.TokenTable`.
    port : Out(read_port(system))
        Read port.
    o : Out(stream.Signature(held_layout()))
        What each key has.
    runs : Out(stream.Signature(run_layout(system)))
        Where sums are written.
    """

    def __init__(self, system: SystemConfig) -> None:
        self.system = system
        core = system.core
        super().__init__(
            {
                "start": In(1),
                "layer": In(results_layout(system)),
                "idle": Out(1),
                "too_many": Out(1),
                "asked": Out(LOOKUPS),
                "index": Out(range(core.n_max)).array(LOOKUPS),
                "granted": In(LOOKUPS),
                "entry": In(range(core.positions)),
                "port": Out(read_port(system)),
                "o": Out(stream.Signature(held_layout())),
                "runs": Out(stream.Signature(run_layout(system))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system, layer = self.system, self.layer
        reads = place(m, platform, "reads", PlaneWalker, system, "importance")
        writes = place(m, platform, "writes", PlaneWalker, system, "importance")
        protection = place(m, platform, "protection", Protection, system)
        channel = place(m, platform, "channel", ReadChannel, system, 8, 4)
        layout = held_layout()
        m.submodules.ready = ready = fifo.SyncFIFOBuffered(
            width=layout.size, depth=max(3, system.core.n_max)
        )
        connect(m, reads.o, channel.runs)
        connect(m, channel.port, flipped(self.port))
        connect(m, writes.o, flipped(self.runs))
        # Its list is in the table from the cycle after ``start`` on.
        begin, both = Signal(), Signal()
        m.d.sync += begin.eq(self.start & layer.held)
        value = Signal(layout)
        m.d.comb += [
            protection.layer.eq(layer),
            protection.start.eq(begin),
            both.eq(channel.o.valid & protection.valid),
            ready.w_en.eq(both),
            ready.w_data.eq(value),
            channel.o.ready.eq(both & ready.w_rdy),
            protection.next.eq(both & ready.w_rdy),
            value.importance.eq(channel.o.p),
            value.protected.eq(protection.safe),
            self.o.valid.eq(ready.r_rdy),
            self.o.p.eq(ready.r_data),
            ready.r_en.eq(self.o.ready),
            self.idle.eq(
                reads.idle & writes.idle & protection.idle & ~begin & ~(self.start & layer.held)
            ),
        ]
        for walker in (reads, writes):
            m.d.comb += [
                walker.start.eq(begin),
                walker.plan.base.eq(layer.held_base),
                walker.plan.heads.eq(1),
                walker.plan.repeats.eq(1),
                walker.plan.capacity.eq(0),
                walker.plan.tokens.eq(layer.tokens),
                walker.plan.listed.eq(layer.listed),
            ]
            if system.core.head_pruning:
                # Importance is all heads' together.
                m.d.comb += walker.plan.kept.eq(1)
        for i, unit in enumerate((reads, protection, writes)):
            m.d.comb += [
                self.asked[i].eq(unit.asked),
                self.index[i].eq(unit.index),
                unit.granted.eq(self.granted[i]),
                unit.entry.eq(self.entry),
            ]
        protected = Signal(range(system.core.n_max + 1))
        with m.If(begin):
            m.d.sync += protected.eq(0)
        with m.Elif(protection.next & protection.safe):
            m.d.sync += protected.eq(protected + 1)
            m.d.comb += self.too_many.eq(protected >= layer.k0)
        return m
