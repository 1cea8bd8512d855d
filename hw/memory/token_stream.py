"""Positions and gains of tokens for the core."""

from collections.abc import Callable

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.bus.read_channel import read_port
from dtqatten.hw.memory.gain_table import GainTable, reading_members
from dtqatten.hw.memory.slots import GroupSlots, Slots
from dtqatten.hw.memory.token_table import token_layout
from dtqatten.hw.memory.walker import plan_layout
from dtqatten.hw.payloads.softmax import GAIN_BITS

__all__ = ["TokenStream", "item_layout"]


def item_layout(config: Config, tables: int) -> data.StructLayout:
    """A token's position, and its gain from each table; ``last`` of the head.

    With ``signed_gains``, ``negative`` is the sign of the first gain.
    """
    return data.StructLayout(
        {
            "position": token_layout(config)["position"].shape,
            "gains": data.ArrayLayout(unsigned(GAIN_BITS), tables),
            "slot": range(config.n_max),
            "last": unsigned(1),
        }
        | ({"negative": unsigned(1)} if config.signed_gains else {})
    )


class TokenStream(wiring.Component):
    """Stream a layer's tokens once a head, with position and gains.

    Where query heads are grouped, queries are rows: a query comes once for each query head of the
    group, with the factor of that head.

    Latency: 3 cycles from ``start`` to the first token, if its gains are here. Throughput one token
    a cycle, or as fast as gains are loaded, with 2 cycles between heads.

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
        Heads, tokens of each, and slots of the 4-bit class; of grouped queries, rows.
    plans : In(plan_layout(system)).array(tables)
        Where gains are.
    present : In(tables)
        Which gains there are.
    asked, index, granted, and entry, or of keys run and count
        Reading of places, or of runs, by the tables, see
        :class:`~dtqatten.hw.memory.token_table.TokenTable`.
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
        Tokens; ``slot`` of grouped queries is that of the row.
    group, edge : In(16), In(range(n_max + 1))
        Of grouped queries, as of :class:`~dtqatten.hw.memory.slots.GroupSlots`.
    next_head, known : Out(range(heads)), In(1)
        Of grouped queries: a query head; its factor is here.
    head : Out(range(heads))
        Of grouped queries: query head whose factor to look up, for the token at ``o`` one cycle
        later.
    member : Out(range(heads))
        Of grouped queries: which query head of the group the token at ``o`` is of.
    """

    def __init__(self, system: SystemConfig, tables: int) -> None:
        self.system, self.tables = system, tables
        core = system.core
        self.grouped = core.grouped and tables == 1
        members = {
            "start": In(1),
            "heads": In(16),
            "tokens": In(range(core.n_max + 1)),
            "four_bit": In(range(core.n_max + 1)),
            "plans": In(plan_layout(system)).array(tables),
            "present": In(tables),
            "asked": Out(tables),
            "index": Out(range(core.n_max)).array(tables),
            "granted": In(tables),
            **reading_members(core, tables == 2),
            "idle": Out(1, init=1),
            "slot": Out(range(core.n_max)),
            "token": In(token_layout(core)),
            "zero": Out(1),
            "zero_address": Out(system.address_bits),
            "ports": Out(read_port(system)).array(tables),
            "o": Out(stream.Signature(item_layout(core, tables))),
        }
        if self.grouped:
            members |= {
                "group": In(16),
                "edge": In(range(core.n_max + 1)),
                "next_head": Out(range(core.heads)),
                "known": In(1),
                "head": Out(range(core.heads)),
                "member": Out(range(core.heads)),
            }
        super().__init__(members)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        head = Signal(16)
        load, issue, running, advance = Signal(), Signal(), Signal(), Signal()
        slots: Slots | GroupSlots
        if self.grouped:
            slots = place(m, platform, "slots", GroupSlots, self.system.core)
            m.d.comb += [slots.group.eq(self.group), slots.edge.eq(self.edge)]
        else:
            slots = place(m, platform, "slots", Slots, self.system.core, self.tables == 1)
        m.d.comb += [
            slots.restart.eq(self.start),
            slots.tokens.eq(self.tokens),
            slots.four_bit.eq(self.four_bit),
            slots.next.eq(issue),
            advance.eq(~self.o.valid | self.o.ready),
        ]

        def looked_up(value: Value, name: str) -> tuple[Value, Signal]:
            """Return what to look up, that of a stalled token again; and that of the token."""
            held = Signal.like(value, name=name)
            with m.If(advance):
                m.d.sync += held.eq(value)
            return Mux(advance, value, held), held

        row, held_row = looked_up(slots.slot, "row")
        known: Value = running
        if self.grouped:
            m.d.comb += self.slot.eq(looked_up(slots.query, "query")[0])
            m.d.comb += self.member.eq(looked_up(slots.member, "member")[1])
            known &= self._factors(m, slots.member, looked_up, issue & slots.last)
        else:
            m.d.comb += self.slot.eq(row)
        for i in range(self.tables):
            by_run = self.tables == 2
            signed = self.system.core.signed_gains and i == 0
            table = place(m, platform, f"gains_{i}", GainTable, self.system, by_run, signed)
            if signed:
                m.d.comb += self.o.p.negative.eq(table.negative)
            connect(m, table.port, flipped(self.ports[i]))
            m.d.comb += [
                table.start.eq(self.start),
                table.plan.eq(self.plans[i]),
                table.present.eq(self.present[i]),
                table.load.eq(load),
                self.asked[i].eq(table.asked),
                self.index[i].eq(table.index),
                table.granted.eq(self.granted[i]),
                *(
                    getattr(table, name).eq(getattr(self, name))
                    for name in reading_members(self.system.core, by_run)
                ),
                table.next.eq(slots.slot),
                table.slot.eq(row),
                self.o.p.gains[i].eq(table.gain),
            ]
            known &= table.known
            where = self.token.id
            if self.grouped:
                where = Mux(self.plans[i].listed, where, held_row)
            with m.If(table.zero):
                m.d.comb += self.zero.eq(self.o.valid)
                m.d.comb += self.zero_address.eq(table.base + where)
        m.d.comb += [
            issue.eq(known & advance),
            self.o.p.position.eq(self.token.position),
            self.o.p.slot.eq(held_row),
        ]
        with m.If(advance):
            m.d.sync += [self.o.valid.eq(issue), self.o.p.last.eq(slots.last)]
        with m.FSM():
            with m.State("IDLE"), m.If(self.start):
                m.d.sync += [head.eq(0), self.idle.eq(0)]
                m.next = "LOAD"
            # The gains of the head before are needed until its last token has been taken.
            with m.State("LOAD"), m.If(advance):
                m.d.comb += load.eq(1)
                m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += running.eq(1)
                with m.If(issue & slots.last):
                    m.d.sync += head.eq(head + 1)
                    m.next = "LOAD"
                    with m.If(head + 1 == self.heads):
                        m.next = "END"
            with m.State("END"), m.If(self.o.ready):
                m.d.sync += self.idle.eq(1)
                m.next = "IDLE"
        return m

    def _factors(self, m: Module, member: Value, looked_up: Callable, ends: Value) -> Value:
        """Look the factor of each row's query head up; return whether that of the next one is here.

        Parameters
        ----------
        m : Module
        member : Value
            Query head of the next row, among those of the group.
        looked_up : callable
            As in ``elaborate``.
        ends : Value
            The last row of a head of the core is given.
        """
        # The first query head of the group.
        first = Signal.like(self.next_head, name="first")
        with m.If(self.start):
            m.d.sync += first.eq(0)
        with m.Elif(ends):
            m.d.sync += first.eq(first + self.group)
        m.d.comb += [
            self.next_head.eq(first + member),
            self.head.eq(looked_up(self.next_head, "query_head")[0]),
        ]
        return self.known
