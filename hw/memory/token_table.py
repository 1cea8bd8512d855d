"""The tokens that a layer computes on: rows of its tensors, and their positions."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from dtqatten.configuration.core import Config
from dtqatten.hw.bus.arbiter import rotated_choice
from dtqatten.hw.payloads.ranking import topk_config
from dtqatten.hw.payloads.topk import ids_layout

__all__ = ["TokenTable", "token_layout"]


def token_layout(config: Config) -> data.StructLayout:
    """Token of a slot: its row ``id`` in the tensors, and its ``position`` in the sequence."""
    bits = unsigned(max(1, ceil_log2(config.n_max)))
    return data.StructLayout({"id": bits, "position": bits})


class TokenTable(wiring.Component):
    """Turn the ids that a layer keeps into the tokens of the next one.

    There are two tables: the current layer's, and the next one's, which the arriving ids fill.
    ``begin`` makes the filled table the current one (``chained``), or restarts with all tokens in
    order.

    Latency: ``complete`` 2 cycles after the last id; ``tokens`` 1 cycle after ``slots``; ``entry``
    1 cycle after ``granted``. Throughput one id, one entry, and one token a port, a cycle.

    Parameters
    ----------
    config : Config
    readers : int
        Readers of rows.

    Members
    -------
    ids : In(stream.Signature(ids_layout(topk_config(config))))
        Ids that the core keeps: slots of the current layer.
    begin : In(1)
        A layer begins. Never while a layer's ids are arriving.
    chained : In(1)
        With ``begin``: on the tokens received. Otherwise on all tokens, in order.
    complete : Out(1)
        The ids of the current layer have arrived.
    asked : In(readers)
        The reader wants the row of its ``index``, a slot; held until ``granted``. Only ``chained``.
    index : In(range(n_max)).array(readers)
        Slots of the current layer.
    granted : Out(readers)
        The reader's row is at ``entry`` in the next cycle.
    entry : Out(range(n_max))
        A row.
    slots : In(range(n_max)).array(2)
        Slots of the current layer.
    tokens : Out(token_layout(config)).array(2)
        Their tokens.
    """

    def __init__(self, config: Config, readers: int) -> None:
        self.config, self.readers = config, readers
        super().__init__(
            {
                "ids": In(stream.Signature(ids_layout(topk_config(config)))),
                "begin": In(1),
                "chained": In(1),
                "complete": Out(1),
                "asked": In(readers),
                "index": In(range(config.n_max)).array(readers),
                "granted": Out(readers),
                "entry": Out(range(config.n_max)),
                "slots": In(range(config.n_max)).array(2),
                "tokens": Out(token_layout(config)).array(2),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        bits = max(1, ceil_log2(config.n_max))
        m.submodules.table = table = memory.Memory(
            shape=token_layout(config), depth=2 << bits, init=[]
        )
        bank, identity = Signal(), Signal(init=1)

        def address(which: Signal, slot: Signal) -> Cat:
            padded = Signal(bits, name=f"{slot.name}_padded")
            m.d.comb += padded.eq(slot)
            return Cat(padded, which)

        # Stage 1: one lane of the beat, and the position of its token.
        lane = Signal(range(config.topk_lanes))
        final = lane + 1 == self.ids.p.count
        m.d.comb += self.ids.ready.eq(final)
        look = table.read_port()
        slot = Signal(range(config.n_max))
        id_ = Signal(bits, name="id")
        m.d.comb += [
            id_.eq(Array(self.ids.p.ids)[lane]),
            look.addr.eq(address(bank, id_)),
            look.en.eq(self.ids.valid),
        ]
        arrived = Signal()
        arrived_id, arrived_slot = Signal(bits), Signal.like(slot)
        ends = Signal()
        m.d.sync += arrived.eq(self.ids.valid)
        with m.If(self.ids.valid):
            m.d.sync += [
                lane.eq(Mux(final, 0, lane + 1)),
                arrived_id.eq(id_),
                arrived_slot.eq(slot),
                ends.eq(final & self.ids.p.last),
                slot.eq(Mux(final & self.ids.p.last, 0, slot + 1)),
            ]

        # Stage 2: into the other table.
        write = table.write_port()
        m.d.comb += [
            write.en.eq(arrived),
            write.addr.eq(address(~bank, arrived_slot)),
            write.data.id.eq(arrived_id),
            write.data.position.eq(Mux(identity, arrived_id, look.data.position)),
        ]
        with m.If(arrived & ends):
            m.d.sync += self.complete.eq(1)

        with m.If(self.begin):
            m.d.sync += [self.complete.eq(0), identity.eq(~self.chained)]
            with m.If(self.chained):
                m.d.sync += bank.eq(~bank)

        # Readers of rows take turns.
        turn = Signal(range(self.readers))
        choice = rotated_choice(m, self.asked, turn, "choice")
        read_row = table.read_port()
        chosen = Signal(range(config.n_max))
        m.d.comb += [
            chosen.eq(Array(self.index)[choice]),
            read_row.addr.eq(address(bank, chosen)),
            self.granted.eq(self.asked & (1 << choice)),
            self.entry.eq(read_row.data.id),
        ]
        with m.If(self.asked.any()):
            m.d.sync += turn.eq(choice)
        for i in range(2):
            read = table.read_port()
            asked = Signal(range(config.n_max), name=f"slot_{i}")
            before = Signal(bits, name=f"slot_before_{i}")
            m.d.comb += [
                asked.eq(self.slots[i]),
                read.addr.eq(address(bank, asked)),
                self.tokens[i].eq(read.data),
            ]
            m.d.sync += before.eq(asked)
            with m.If(identity):
                m.d.comb += [self.tokens[i].id.eq(before), self.tokens[i].position.eq(before)]
        return m
