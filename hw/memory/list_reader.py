"""Reads a layer's lists of tokens, and refuses those that are no lists."""

from typing import Any

from amaranth.hdl import Array, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.system import ReadStream, SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.bus.read_channel import ReadChannel, read_port
from dtqatten.hw.memory.descriptor import flag
from dtqatten.interface.descriptor import ID_BYTES, Flag

__all__ = ["ListReader", "list_layout", "lists_of", "read_ahead"]


def list_layout(system: SystemConfig) -> data.StructLayout:
    """A list in memory, if it is ``present``: ``count`` ids of 16 bits from ``base`` on.

    Each is below ``limit``. They ascend in each class; the first ``four_bit`` are one.
    """
    count = range(system.core.n_max + 1)
    return data.StructLayout(
        {
            "present": unsigned(1),
            "base": unsigned(system.address_bits),
            "count": count,
            "four_bit": count,
            "limit": range(system.core.positions + 1),
        }
    )


def lists_of(m: Module, lists: Any, layer: data.View, positions: int) -> None:
    """Say where a layer's lists are.

    Parameters
    ----------
    m : Module
    lists : array of list_layout(system)
        Of queries, and of keys; to be driven.
    layer : View of descriptor_layout()
    positions : int
        What is above all positions of queries.
    """
    queries = (layer.query_list, layer.queries, layer.query_four_bit, positions)
    keys = (layer.key_list, layer.tokens, layer.four_bit, layer.stored)
    for i, (present, *what) in enumerate(((Flag.QUERY_LIST, *queries), (Flag.KEY_LIST, *keys))):
        names = ("base", "count", "four_bit", "limit")
        m.d.comb += lists[i].present.eq(flag(layer, present))
        m.d.comb += [lists[i][at].eq(x) for at, x in zip(names, what, strict=True)]


class ListReader(wiring.Component):
    """Read the list of queries, then that of keys, an id a cycle.

    It reads ahead: the next layer's, while a layer is fetched. An id that is not below its list's
    limit, or not above the one before it in its class, is a fault, after which nothing more is
    written and ``ready`` does not come.

    Latency: ``ready`` with ``ahead`` where there is no list; else 1 cycle after it, and for each
    list, one after the other, 6 cycles, the memory's latency and a cycle an id more.

    Parameters
    ----------
    system : SystemConfig

    Members
    -------
    ahead : In(1)
        The next layer has ``lists``, and there is a place for them; all stays until ``begin``.
    begin : In(1)
        That layer begins; only while ``ready``.
    lists : In(list_layout(system)).array(2)
        Of queries, and of keys.
    ready : Out(1)
        All entries are written.
    write : Out(2)
        Write an entry of the queries, of the keys.
    end : Out(1)
        All keys of a list are written; for one cycle.
    slot, id : Out(range(n_max)), Out(range(capacity))
        Its place in the list, and its token.
    fault, fault_address : Out(1), Out(address_bits)
        An id is refused; its address.
    port
        Read port.
    """

    def __init__(self, system: SystemConfig) -> None:
        self.system = system
        core = system.core
        super().__init__(
            {
                "ahead": In(1),
                "begin": In(1),
                "lists": In(list_layout(system)).array(2),
                "ready": Out(1),
                "write": Out(2),
                "end": Out(1),
                "slot": Out(range(core.n_max)),
                "id": Out(range(core.positions)),
                "fault": Out(1),
                "fault_address": Out(system.address_bits),
                "port": Out(read_port(system)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system = self.system
        channel = place(m, platform, "channel", ReadChannel, system, 2 * ID_BYTES, ID_BYTES)
        connect(m, channel.port, flipped(self.port))
        which = Signal()
        current = Signal(list_layout(system))
        before = Signal(8 * ID_BYTES)
        id_ = Value.cast(channel.o.p)
        good, last = Signal(), Signal()
        read, any_list = Signal(), Signal()
        m.d.comb += [
            any_list.eq(self.lists[0].present | self.lists[1].present),
            self.ready.eq(read | ~any_list),
            current.eq(Array(each.as_value() for each in self.lists)[which]),
            channel.runs.p.address.eq(current.base),
            channel.runs.p.size.eq(current.count * ID_BYTES),
            self.id.eq(id_),
            good.eq(
                (id_ < current.limit)
                & ((self.slot == 0) | (self.slot == current.four_bit) | (id_ > before))
            ),
            last.eq(self.slot == current.count - 1),
            self.fault_address.eq(current.base + self.slot * ID_BYTES),
        ]
        m.d.sync += self.end.eq(0)
        with m.If(self.begin):
            m.d.sync += read.eq(0)

        with m.FSM():
            with m.State("IDLE"), m.If(self.ahead & ~self.ready):
                m.d.sync += which.eq(~self.lists[0].present)
                m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += channel.runs.valid.eq(1)
                m.d.sync += self.slot.eq(0)
                with m.If(channel.runs.ready):
                    m.next = "TAKE"
            with m.State("TAKE"), m.If(channel.o.valid):
                m.d.comb += [
                    channel.o.ready.eq(1),
                    self.write.eq(Mux(good, 1 << which, 0)),
                    self.fault.eq(~good),
                ]
                m.d.sync += [before.eq(id_), self.slot.eq(self.slot + 1)]
                with m.If(~good):
                    m.next = "REFUSED"
                with m.Elif(last & ~which & self.lists[1].present):
                    m.d.sync += which.eq(1)
                    m.next = "ASK"
                with m.Elif(last):
                    m.d.sync += [read.eq(1), self.end.eq(which)]
                    m.next = "IDLE"
            # Only a reset leads out.
            with m.State("REFUSED"):
                m.d.comb += channel.o.ready.eq(1)
        return m


def read_ahead(m: Module, platform: object, fetcher: Any, table: Any) -> ListReader:
    """Add what fetches the next layer's lists of tokens into their table; return that.

    Parameters
    ----------
    m, platform
        As in ``elaborate`` of the fetcher.
    fetcher : Fetcher
    table : TokenTable
    """
    lists: ListReader = place(m, platform, "lists", ListReader, fetcher.system)
    connect(m, lists.port, flipped(fetcher.ports[ReadStream.LISTS]))
    m.d.comb += [
        lists.ahead.eq(fetcher.ahead),
        lists.begin.eq(fetcher.start),
        fetcher.lists_read.eq(lists.ready),
        table.write.eq(lists.write),
        table.write_end.eq(lists.end),
        table.write_slot.eq(lists.slot),
        table.write_id.eq(lists.id),
    ]
    lists_of(m, lists.lists, fetcher.next, fetcher.system.core.positions)
    return lists
