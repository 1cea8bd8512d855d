"""The tokens that a layer computes on: places in its tensors, and their positions."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from dtqatten.configuration.core import Config
from dtqatten.hw.bus.arbiter import rotated_choice
from dtqatten.hw.payloads.ranking import topk_config
from dtqatten.hw.payloads.topk import ids_layout

__all__ = ["TokenTable", "token_layout"]


def token_layout(config: Config) -> data.StructLayout:
    """Token of a slot: the place ``id`` in its tensor, and its ``position`` in the sequence."""
    bits = unsigned(config.position_bits)
    return data.StructLayout({"id": bits, "position": bits})


class TokenTable(wiring.Component):
    """Know the tokens of a layer: its keys, and its queries, by slot.

    Keys have a table, and the next layer's have another, which the ids that this layer keeps fill
    as they arrive. ``begin`` makes the filled one the current one (``chained``), or has the current
    one filled from a list (``listed``), or restarts with all tokens in order. Queries are those
    keys (``query_chained``), or in their tensor's order, at positions from a list
    (``query_listed``), or from ``query_start`` on.

    Latency: ``complete`` 2 cycles after the last id; ``query`` and ``key`` 1 cycle after their
    slots; ``entry`` 1 cycle after ``granted``. Throughput one id, one entry, and one token a port,
    a cycle.

    Parameters
    ----------
    config : Config
    readers : int
        Readers of places.

    Members
    -------
    ids : In(stream.Signature(ids_layout(topk_config(config))))
        Ids that the core keeps: slots of the current layer's keys.
    begin : In(1)
        A layer begins. Never while a layer's ids are arriving.
    chained, listed : In(1)
        With ``begin``: on the tokens received, or on those of a list; at most one of both.
        Otherwise on all tokens, in order.
    query_chained, query_listed, query_start : In(1), In(1), In(range(capacity))
        Of the current layer's queries; they stay for it.
    key_start : In(range(capacity))
        Where rows can be merged: of keys that are neither chained nor listed the first one's place.
    write : In(2)
        An entry of a list of queries, of keys. Only of ``listed`` ones, before slots are looked up.
    write_slot, write_id : In(range(n_max)), In(range(capacity))
        Its slot, and its token.
    complete : Out(1)
        The ids of the current layer have arrived.
    asked : In(readers)
        The reader wants the place of its ``index``, a slot; held until ``granted``. Only of
        ``chained`` and ``listed`` layers.
    index : In(range(n_max)).array(readers)
        Slots of the current layer.
    granted : Out(readers)
        The reader's place is at ``entry`` in the next cycle.
    entry : Out(range(capacity))
        A place.
    query_slot, key_slot : In(range(n_max))
        Slots of the current layer.
    query, key : Out(token_layout(config))
        Their tokens.
    """

    def __init__(self, config: Config, readers: int) -> None:
        self.config, self.readers = config, readers
        super().__init__(
            {
                "ids": In(stream.Signature(ids_layout(topk_config(config)))),
                "begin": In(1),
                "chained": In(1),
                "listed": In(1),
                "query_chained": In(1),
                "query_listed": In(1),
                "query_start": In(range(config.positions)),
                **({"key_start": In(range(config.positions))} if config.merge_rows else {}),
                "write": In(2),
                "write_slot": In(range(config.n_max)),
                "write_id": In(range(config.positions)),
                "complete": Out(1),
                "asked": In(readers),
                "index": In(range(config.n_max)).array(readers),
                "granted": Out(readers),
                "entry": Out(range(config.positions)),
                "query_slot": In(range(config.n_max)),
                "key_slot": In(range(config.n_max)),
                "query": Out(token_layout(config)),
                "key": Out(token_layout(config)),
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

        def address(which: Value, slot: Signal) -> Cat:
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

        # Stage 2: into the other table. A list comes while no ids do, into the current one.
        write = table.write_port()
        m.d.comb += [
            write.en.eq(arrived | self.write[1]),
            write.addr.eq(
                Mux(arrived, address(~bank, arrived_slot), address(bank, self.write_slot))
            ),
            write.data.id.eq(Mux(arrived, arrived_id, self.write_id)),
            write.data.position.eq(
                Mux(arrived, Mux(identity, arrived_id, look.data.position), self.write_id)
            ),
        ]
        with m.If(arrived & ends):
            m.d.sync += self.complete.eq(1)

        with m.If(self.begin):
            m.d.sync += [self.complete.eq(0), identity.eq(~self.chained & ~self.listed)]
            with m.If(self.chained):
                m.d.sync += bank.eq(~bank)

        # Readers of places take turns.
        turn = Signal(range(self.readers))
        choice = rotated_choice(m, self.asked, turn, "choice")
        read_place = table.read_port()
        chosen = Signal(range(config.n_max))
        m.d.comb += [
            chosen.eq(Array(self.index)[choice]),
            read_place.addr.eq(address(bank, chosen)),
            self.granted.eq(self.asked & (1 << choice)),
            self.entry.eq(read_place.data.id),
        ]
        with m.If(self.asked.any()):
            m.d.sync += turn.eq(choice)

        read_query, read_key = table.read_port(), table.read_port()
        m.d.comb += [
            read_query.addr.eq(address(bank, self.query_slot)),
            read_key.addr.eq(address(bank, self.key_slot)),
        ]
        self._give_tokens(m, identity, read_query.data, read_key.data)
        return m

    def _give_tokens(self, m: Module, identity: Signal, query: data.View, key: data.View) -> None:
        """Show query and key of the slots of the cycle before.

        Parameters
        ----------
        m : Module
        identity : Signal
            Keys are all tokens: each slot is its token.
        query, key : View
            What the table holds in these slots.
        """
        config = self.config
        m.submodules.positions = positions = memory.Memory(
            shape=range(config.positions), depth=config.n_max, init=[]
        )
        write_position, read_position = positions.write_port(), positions.read_port()
        bits = len(self.query_slot)
        query_slot, key_slot = Signal(bits), Signal(bits)
        m.d.sync += [query_slot.eq(self.query_slot), key_slot.eq(self.key_slot)]
        m.d.comb += [
            write_position.en.eq(self.write[0]),
            write_position.addr.eq(self.write_slot),
            write_position.data.eq(self.write_id),
            read_position.addr.eq(self.query_slot),
            self.key.eq(key),
            self.query.id.eq(query_slot),
            self.query.position.eq(self.query_start + query_slot),
        ]
        with m.If(identity):
            start = self.key_start if config.merge_rows else 0
            place = key_slot + start
            m.d.comb += [self.key.id.eq(place), self.key.position.eq(place)]
        with m.If(self.query_chained):
            m.d.comb += self.query.eq(query)
        with m.If(self.query_listed):
            m.d.comb += self.query.position.eq(read_position.data)
