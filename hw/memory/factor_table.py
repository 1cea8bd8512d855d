"""Factors of query heads that share rows: read once, looked up row by row."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import ReadStream, SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.memory.head_table import EntryReader, HeadTable, core_head, table_members
from dtqatten.hw.payloads.softmax import factor_layout, head_layout

__all__ = ["FactorTable", "read_heads"]


def read_heads(
    m: Module, platform: object, fetcher: wiring.PureInterface, start: Value
) -> "HeadTable | FactorTable":
    """Add what reads the table of heads to a fetcher; return it.

    Parameters
    ----------
    m, platform
        Of the fetcher's ``elaborate``.
    fetcher : Fetcher
    start : Value
        The units start.
    """
    core = fetcher.system.core
    kind = FactorTable if core.grouped else HeadTable
    table = place(m, platform, "head_table", kind, fetcher.system)
    if core.grouped:
        m.d.comb += table.heads.eq(fetcher.rows.heads)
    if core.head_pruning:
        connect(m, table.weights, flipped(fetcher.weights))
        m.d.comb += table.kept.eq(fetcher.kept)
    connect(m, table.port, flipped(fetcher.ports[ReadStream.HEAD_TABLE]))
    connect(m, table.o, flipped(fetcher.heads))
    m.d.comb += [table.start.eq(start), table.layer.eq(fetcher.layer)]
    return table


class FactorTable(wiring.Component):
    """Give the core a layer's heads, and each of its queries the factor of its query head.

    The head table is read as by :class:`~dtqatten.hw.memory.head_table.HeadTable`, into a memory.
    Heads of the core have mask and output only, and wait for nothing.

    Latency: the first entry is ``known`` 7 cycles and the memory's latency after ``start``, then
    one a cycle, or a word of the bus. ``factor`` follows ``index`` by one cycle. The first head
    comes 1 cycle after ``start``, then one a cycle.

    Parameters
    ----------
    system : SystemConfig

    Members
    -------
    start : In(1)
        Begin with ``layer`` and ``heads``, which stay until ``idle``.
    layer : In(descriptor_layout())
        Of the heads: where their table is, how many there are, and what all have in common.
    heads : In(16)
        Heads of the core.
    idle : Out(1)
        All entries are here, and all heads are out.
    fault, fault_address : Out(1), Out(address_bits)
        An entry has a shift that is too large, or a byte that should be 0; its address.
    next, known : In(range(heads)), Out(1)
        A query head; its entry is here.
    index : In(range(heads))
        A query head whose entry is known.
    factor : Out(factor_layout(config))
        Its factor.
    port
        Read port.
    o : Out(stream.Signature(head_layout(config)))
        Heads of the core.
    """

    def __init__(self, system: SystemConfig) -> None:
        self.system = system
        core = system.core
        super().__init__(
            {
                **table_members(system),
                "heads": In(16),
                "next": In(range(core.heads)),
                "known": Out(1),
                "index": In(range(core.heads)),
                "factor": Out(factor_layout(core)),
                "o": Out(stream.Signature(head_layout(core))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        core: Config = self.system.core
        entries = place(m, platform, "entries", EntryReader, self.system)
        m.submodules.factors = factors = memory.Memory(
            shape=factor_layout(core), depth=core.heads, init=[]
        )
        write, read = factors.write_port(), factors.read_port()
        connect(m, entries.port, flipped(self.port))
        here, left = Signal(16), Signal(16)
        factor: data.View = entries.o.p
        m.d.comb += [
            entries.start.eq(self.start),
            entries.layer.eq(self.layer),
            entries.o.ready.eq(1),
            self.fault.eq(entries.fault),
            self.fault_address.eq(entries.fault_address),
            write.en.eq(entries.o.valid),
            write.addr.eq(here),
            write.data.eq(factor),
            read.addr.eq(self.index),
            self.factor.eq(read.data),
            self.known.eq(self.next < here),
            self.o.valid.eq(left != 0),
            self.idle.eq(entries.idle & (left == 0)),
        ]
        core_head(m, core, self.layer, self.o.p, left == 1)
        with m.If(self.start):
            m.d.sync += [here.eq(0), left.eq(self.heads)]
        with m.Else():
            m.d.sync += here.eq(here + entries.o.valid)
            with m.If(self.o.valid & self.o.ready):
                m.d.sync += left.eq(left - 1)
        return m
