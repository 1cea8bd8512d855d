"""The tokens that a layer computes on: places in its tensors, and their positions."""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import ReadStream
from dtqatten.hw.bus.arbiter import rotated_choice
from dtqatten.hw.memory.run_table import RunTable, place_run_layout
from dtqatten.hw.payloads.ranking import topk_config
from dtqatten.hw.payloads.topk import ids_layout

__all__ = ["TokenTable", "look_up", "token_layout"]

#: Readers of places, and of runs, by the streams that they are for.
PLACE_STREAMS = (ReadStream.Q_HIGH, ReadStream.Q_LOW, ReadStream.Q_GAINS)
RUN_STREAMS = (
    ReadStream.K_HIGH,
    ReadStream.K_LOW,
    ReadStream.V_HIGH,
    ReadStream.V_LOW,
    ReadStream.K_GAINS,
    ReadStream.V_GAINS,
    # Where keys can have biases.
    ReadStream.KEY_BIAS,
)


def token_layout(config: Config) -> data.StructLayout:
    """Token of a slot: the place ``id`` in its tensor, and its ``position`` in the sequence."""
    bits = unsigned(config.position_bits)
    return data.StructLayout({"id": bits, "position": bits})


def look_up(
    m: Module, table: wiring.PureInterface, stream: int, unit: wiring.PureInterface, number: int
) -> None:
    """Connect the reader of a stream with the unit that looks up, one of its readers.

    Parameters
    ----------
    m : Module
    table : TokenTable
    stream : int
        One of :class:`~dtqatten.configuration.system.ReadStream`.
    unit : wiring interface
        Has ``asked``, ``granted``, ``index`` and ``entry``, or ``run`` and ``count``.
    number : int
        Of the unit's readers.
    """
    if stream in PLACE_STREAMS:
        at, asked, index = PLACE_STREAMS.index(stream), table.asked, table.index
        granted = table.granted
        found = [unit.entry.eq(table.entry)]
    else:
        at, asked, index = RUN_STREAMS.index(stream), table.run_asked, table.run_index
        granted = table.run_granted
        found = [unit.run.eq(table.run), unit.count.eq(table.run_count)]
    m.d.comb += [
        asked[at].eq(unit.asked[number]),
        index[at].eq(unit.index[number]),
        unit.granted[number].eq(granted[at]),
        *(found if number == 0 else []),
    ]


class TokenTable(wiring.Component):
    """Know the tokens of a layer: its keys, and its queries, by slot.

    Keys have a table, and the next layer's have another, which the ids that this layer keeps fill
    as they arrive, or in their place a list. ``begin`` makes the filled one the current one
    (``chained`` or ``listed``), or restarts with all tokens in order. Queries are those keys
    (``query_chained``), or in their tensor's order, at positions from a list (``query_listed``), or
    from ``query_start`` on. Places that follow each other are also kept as runs
    (:class:`~dtqatten.hw.memory.run_table.RunTable`).

    Latency: ``complete`` 2 cycles after the last id; ``query`` and ``key`` 1 cycle after their
    slots; ``entry`` and ``run`` 1 cycle after they are granted. Throughput one id, one entry, one
    run, and one token a port, a cycle.

    Parameters
    ----------
    config : Config
    lent : int
        Readers of places beside those of Q.

    Members
    -------
    ids : In(stream.Signature(ids_layout(topk_config(config))))
        Ids that the core keeps: slots of the current layer's keys.
    unused : In(1)
        No layer will be on the ids that come: they are taken a beat a cycle, and not kept.
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
        An entry of the next layer's list of queries, of keys; of keys from slot 0 on, and after
        the ids of the current one, unless these are ``unused``.
    write_end : In(1)
        The list of keys is complete.
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
    run_asked, run_index, run_granted, run, run_count
        Reading of runs, as of the run table; of ``chained`` and ``listed`` layers.
    query_slot, key_slot : In(range(n_max))
        Slots of the current layer.
    query, key : Out(token_layout(config))
        Their tokens.
    """

    def __init__(self, config: Config, lent: int = 0) -> None:
        self.config = config
        self.readers, self.run_readers = len(PLACE_STREAMS) + lent, len(RUN_STREAMS)
        self.run_readers -= not config.bias_heads
        readers, run_readers = self.readers, self.run_readers
        super().__init__(
            {
                "ids": In(stream.Signature(ids_layout(topk_config(config)))),
                "unused": In(1),
                "begin": In(1),
                "chained": In(1),
                "listed": In(1),
                "query_chained": In(1),
                "query_listed": In(1),
                "query_start": In(range(config.positions)),
                **({"key_start": In(range(config.positions))} if config.merge_rows else {}),
                "write": In(2),
                "write_end": In(1),
                "write_slot": In(range(config.n_max)),
                "write_id": In(range(config.positions)),
                "complete": Out(1),
                "asked": In(readers),
                "index": In(range(config.n_max)).array(readers),
                "granted": Out(readers),
                "entry": Out(range(config.positions)),
                "run_asked": In(run_readers),
                "run_index": In(range(config.n_max)).array(run_readers),
                "run_granted": Out(run_readers),
                "run": Out(place_run_layout(config)),
                "run_count": Out(range(config.n_max + 1)),
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

        def address(which: Value, slot: Value) -> Cat:
            padded = Signal(bits, name="padded")
            m.d.comb += padded.eq(slot)
            return Cat(padded, which)

        # Stage 1: one lane of the beat, and the position of its token.
        lane = Signal(range(config.topk_lanes))
        final = Signal()
        m.d.comb += [
            final.eq((lane + 1 == self.ids.p.count) | self.unused),
            self.ids.ready.eq(final),
        ]
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
        m.d.sync += [
            arrived.eq(self.ids.valid & ~self.unused),
            ends.eq(self.ids.valid & final & self.ids.p.last),
        ]
        with m.If(self.ids.valid):
            m.d.sync += [
                lane.eq(Mux(final, 0, lane + 1)),
                arrived_id.eq(id_),
                arrived_slot.eq(slot),
                slot.eq(Mux(final & self.ids.p.last, 0, slot + 1)),
            ]

        # Stage 2: into the other table. A list comes while no ids do.
        write = table.write_port()
        m.d.comb += [
            write.en.eq(arrived | self.write[1]),
            write.addr.eq(address(~bank, Mux(arrived, arrived_slot, self.write_slot))),
            write.data.id.eq(Mux(arrived, arrived_id, self.write_id)),
            write.data.position.eq(
                Mux(arrived, Mux(identity, arrived_id, look.data.position), self.write_id)
            ),
        ]
        with m.If(ends):
            m.d.sync += self.complete.eq(1)
        ended, swap = Signal(), Signal()
        m.d.sync += ended.eq(arrived & ends)
        m.d.comb += swap.eq(self.begin & (self.chained | self.listed))
        with m.If(self.begin):
            m.d.sync += [self.complete.eq(0), identity.eq(~self.chained & ~self.listed)]
        with m.If(swap):
            m.d.sync += bank.eq(~bank)
        runs = self._runs(m)
        m.d.comb += [
            runs.write.eq(write.en),
            runs.place.eq(write.data.id),
            runs.first.eq(Mux(arrived, arrived_slot, self.write_slot) == 0),
            runs.ends.eq(ended | self.write_end),
            runs.swap.eq(swap),
        ]

        read_place = table.read_port()
        m.d.comb += [
            read_place.addr.eq(address(bank, self._chosen(m))),
            self.entry.eq(read_place.data.id),
        ]

        read_query, read_key = table.read_port(), table.read_port()
        m.d.comb += [
            read_query.addr.eq(address(bank, self.query_slot)),
            read_key.addr.eq(address(bank, self.key_slot)),
        ]
        self._give_tokens(m, identity, read_query.data, read_key.data)
        return m

    def _chosen(self, m: Module) -> Signal:
        """Let the readers of places take turns; return the slot of the one that is granted."""
        turn, chosen = Signal(range(self.readers)), Signal(range(self.config.n_max))
        choice = rotated_choice(m, self.asked, turn, "choice")
        m.d.comb += [
            chosen.eq(Array(self.index)[choice]),
            self.granted.eq(self.asked & (1 << choice)),
        ]
        with m.If(self.asked.any()):
            m.d.sync += turn.eq(choice)
        return chosen

    def _runs(self, m: Module) -> RunTable:
        """Add the table of runs, for its readers; return it."""
        m.submodules.runs = runs = RunTable(self.config, self.run_readers)
        m.d.comb += [
            runs.asked.eq(self.run_asked),
            *(mine.eq(index) for mine, index in zip(runs.index, self.run_index, strict=True)),
            self.run_granted.eq(runs.granted),
            self.run.eq(runs.run),
            self.run_count.eq(runs.count),
        ]
        return runs

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
        bits = len(self.query_slot)
        # Of the current layer's queries, and of the next one's.
        m.submodules.positions = positions = memory.Memory(
            shape=range(config.positions), depth=2 << bits, init=[]
        )
        write_position, read_position = positions.write_port(), positions.read_port()
        bank = Signal(name="query_bank")
        with m.If(self.begin & self.query_listed):
            m.d.sync += bank.eq(~bank)
        query_slot, key_slot = Signal(bits), Signal(bits)
        m.d.sync += [query_slot.eq(self.query_slot), key_slot.eq(self.key_slot)]
        m.d.comb += [
            write_position.en.eq(self.write[0]),
            write_position.addr.eq(Cat(self.write_slot, ~bank)),
            write_position.data.eq(self.write_id),
            read_position.addr.eq(Cat(self.query_slot, bank)),
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
