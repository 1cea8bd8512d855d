"""The fetcher: reads a layer's operands and feeds the core's streams."""

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.system import ReadStream, SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.bus.read_channel import read_port
from dtqatten.hw.memory.bias_reader import read_biases
from dtqatten.hw.memory.chosen_slots import chosen_slots
from dtqatten.hw.memory.descriptor import descriptor_layout, flag
from dtqatten.hw.memory.factor_table import FactorTable, read_heads
from dtqatten.hw.memory.group_rows import rows_layout
from dtqatten.hw.memory.head_table import HeadTable, weights_member
from dtqatten.hw.memory.held_importance import LOOKUPS, lend, place_members
from dtqatten.hw.memory.layer_plans import LayerShape
from dtqatten.hw.memory.list_reader import read_ahead
from dtqatten.hw.memory.slots import aligned
from dtqatten.hw.memory.tensor_fetcher import TensorFetcher
from dtqatten.hw.memory.token_stream import TokenStream
from dtqatten.hw.memory.token_table import TokenTable, look_up
from dtqatten.hw.memory.turns import KeysFirst
from dtqatten.hw.payloads.arrays import head_options_layout, load_layout, value_layout
from dtqatten.hw.payloads.choices import choice_stream
from dtqatten.hw.payloads.octaves import bias_layout
from dtqatten.hw.payloads.ranking import topk_config
from dtqatten.hw.payloads.softmax import (
    factor_layout,
    head_layout,
    key_layout,
    query_layout,
    verdict_stream,
)
from dtqatten.hw.payloads.topk import ids_layout
from dtqatten.interface.descriptor import Flag
from dtqatten.interface.registers import ErrorCode

__all__ = ["Fetcher"]


class Fetcher(wiring.Component):
    """Read a layer's operands and give them to the core, head by head.

    Row blocks of queries of both classes take turns, so that neither array waits long for the other
    (:func:`dtqatten.golden.numerics.order.alternate`).

    Streams run independently, each as far ahead as its buffers have room: the next head is read
    while this one is computed; a head's keys go before its values. The token table receives the ids
    that the core keeps; the next layer can start when ``idle``, ``ids_complete``, ``lists_read``.

    A gain of 0, or an entry of the head table or of a list that is none, is a fault: the layer's
    results are invalid. Nothing but lists is read before they are known to be good.

    Latency: units start 1 cycle after ``start``; in a chained or listed layer, those of K and V
    share one run a cycle of the token table. The first head comes 8 cycles and the memory's latency
    after ``start``.

    Parameters
    ----------
    system : SystemConfig

    Members
    -------
    ahead, next, lists_read : In(1), In(descriptor_layout()), Out(1)
        The layer that starts next, whose lists are read ahead: the ids of the one before have come
        or are ``unused``, and all stays until ``start``. They are read.
    start : In(1)
        Begin a layer. Only while ``idle``, ``lists_read`` and, but for the first, ``ids_complete``.
    layer : In(descriptor_layout())
        Its descriptor; stays until ``idle``.
    four_bit, query_four_bit, repeats : In(range(n_max + 1)), In(range(n_max + 1)), In(16)
        Keys, and queries, of the 4-bit class; query heads that share a head of K and V; they stay.
    rows : In(rows_layout(config))
        Where query heads are grouped: heads of the core and their rows; stays too.
    kept, weights : In(heads), Out(stream.Signature(weight_layout()))
        Where heads can be pruned: which are computed, stays too; weights of those given.
    idle : Out(1)
        Everything has been given to the core.
    ids, unused : In(stream.Signature(ids_layout(topk))), In(1)
        Ids that the core keeps; no layer is on those of the current one.
    ids_complete : Out(1)
        All ids of the layer that was started last have arrived.
    fault : Out(8), fault_address : Out(address_bits)
        First fault's ``ErrorCode`` and address; from the cycle after it arrived until reset.
    q, k, v, queries, keys, heads
        Streams of the core.
    biases : Out(stream.Signature(bias_layout()))
        Where keys can have them: of the core, too.
    verdicts, choices : In(verdict_stream(config)), In(choice_stream(config))
        Where heads can be progressive, or choose which values come: of the core, too.
    asked, index, granted, entry
        With ``held_importance``: places that are lent, as of the token table.
    late : Out(12)
        Streams that let others go first, see :class:`~dtqatten.hw.memory.turns.KeysFirst`.
    ports : Out(read_port(system)).array(12)
        Read ports, by :class:`~dtqatten.configuration.system.ReadStream`; that of the descriptor is
        not used.
    """

    def __init__(self, system: SystemConfig) -> None:
        self.system = system
        core = system.core
        super().__init__(
            {
                "ahead": In(1),
                "next": In(descriptor_layout()),
                "lists_read": Out(1),
                "start": In(1),
                "layer": In(descriptor_layout()),
                "four_bit": In(range(core.n_max + 1)),
                "query_four_bit": In(range(core.n_max + 1)),
                "repeats": In(16),
                "idle": Out(1),
                "ids": In(stream.Signature(ids_layout(topk_config(core)))),
                "unused": In(1),
                "ids_complete": Out(1),
                "fault": Out(8),
                "fault_address": Out(system.address_bits),
                "q": Out(stream.Signature(load_layout(core))),
                "k": Out(stream.Signature(load_layout(core))),
                "v": Out(stream.Signature(value_layout(core))),
                "queries": Out(stream.Signature(query_layout(core))),
                "keys": Out(stream.Signature(key_layout(core))),
                "heads": Out(stream.Signature(head_layout(core))),
                "late": Out(len(system.read_streams)),
                "ports": Out(read_port(system)).array(len(system.read_streams)),
            }
            | (place_members(core) if core.held_importance else {})
            | ({"verdicts": In(verdict_stream(core))} if core.progressive else {})
            | ({"biases": Out(stream.Signature(bias_layout()))} if core.bias_heads else {})
            | ({"choices": In(choice_stream(core))} if core.chosen_values else {})
            | ({"rows": In(rows_layout(core))} if core.grouped else {})
            | ({"kept": In(core.heads), "weights": weights_member()} if core.head_pruning else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        core, layer = self.system.core, self.layer
        lent = LOOKUPS if core.held_importance else 0
        table = place(m, platform, "tokens", TokenTable, core, lent)
        connect(m, flipped(self.ids), table.ids)
        m.d.comb += [
            table.unused.eq(self.unused),
            table.begin.eq(self.start),
            table.chained.eq(flag(layer, Flag.CHAINED)),
            table.listed.eq(flag(layer, Flag.KEY_LIST)),
            table.query_chained.eq(flag(layer, Flag.QUERY_CHAINED)),
            table.query_listed.eq(flag(layer, Flag.QUERY_LIST)),
            table.query_start.eq(layer.query_start),
            self.ids_complete.eq(table.complete),
        ]
        if core.merge_rows:
            m.d.comb += table.key_start.eq(layer.key_start)
        rows = self.rows if core.grouped else None
        kept = self.kept if core.head_pruning else None
        shape = LayerShape.of(layer, self.repeats, self.query_four_bit, rows, kept)
        lists = read_ahead(m, platform, self, table)
        self._refuse(m, lists.fault, ErrorCode.LIST, lists.fault_address)
        if lent:
            lend(m, self, table)
        # Units start after the table, which is then valid.
        start = Signal()
        m.d.sync += start.eq(self.start)
        edges, tensors_idle = self._tensors(m, platform, table, start, shape)
        heads = read_heads(m, platform, self, start)
        self._refuse(m, heads.fault, ErrorCode.HEAD_TABLE, heads.fault_address)
        tokens_idle = self._tokens(m, platform, table, start, shape, edges, heads)
        units = (~start, *tensors_idle, *tokens_idle, heads.idle)
        if core.bias_heads:
            units = (*units, read_biases(m, platform, self, table, start, shape))
        m.d.comb += self.idle.eq(Cat(units).all())
        return m

    def _tensors(
        self, m: Module, platform: object, table: TokenTable, start: Value, shape: LayerShape
    ) -> tuple[dict[str, Signal], list[Value]]:
        """Fetch Q, K and V; return where their 8-bit tokens begin, and the units' idle flags.

        Parameters
        ----------
        m, platform
            As in ``elaborate``.
        table : TokenTable
            Tokens of the layer.
        start : Value
            The units start.
        shape : LayerShape
        """
        system, core, layer = self.system, self.system.core, self.layer
        idle: list[Value] = []
        edges: dict[str, Signal] = {}
        m.submodules.turns = turns = KeysFirst(core.chosen_values)
        m.d.comb += self.late[ReadStream.K_HIGH :][: len(turns.late)].eq(turns.late)
        for role, high, base, tile, nibbles in (
            ("q", ReadStream.Q_HIGH, layer.q, core.rows, core.load_nibbles),
            ("k", ReadStream.K_HIGH, layer.k, core.cols, core.load_nibbles),
            ("v", ReadStream.V_HIGH, layer.v, core.group, core.value_nibbles),
        ):
            replayed = int(role != "q")
            tries, chooses = core.progressive and role == "k", core.chosen_values and role == "v"
            options = (nibbles, replayed, tries, chooses)
            tensor = place(m, platform, role, TensorFetcher, system, *options)
            edges[role] = Signal(range(core.n_max + 1), name=f"{role}_four_bit")
            out = getattr(self, role)
            four_bit = self.four_bit if replayed else shape.four_bit
            m.d.sync += edges[role].eq(aligned(four_bit, tensor.plan.tokens, tile))
            shape.plan_tensor(m, tensor.plan, role, base)
            if tries:
                connect(m, flipped(self.verdicts), tensor.verdicts)
            if chooses:
                chosen_slots(m, core, self.choices, tensor.groups)
                m.d.comb += turns.chosen.eq(tensor.plan.chosen)
            m.d.comb += [
                tensor.start.eq(start),
                tensor.plan.four_bit.eq(edges[role]),
                out.valid.eq(tensor.o.valid),
                out.p.nibbles.eq(tensor.o.p.nibbles.as_value()),
                *(out.p[name].eq(tensor.o.p[name]) for name in ("precision", "last")),
                tensor.o.ready.eq(out.ready),
            ]
            for plane in range(2):
                look_up(m, table, high + plane, tensor, plane)
                if replayed:
                    m.d.comb += [
                        getattr(turns, f"{role}_head")[plane].eq(tensor.head[plane]),
                        getattr(turns, f"{role}_busy")[plane].eq(tensor.busy[plane]),
                    ]
            connect(m, tensor.high, flipped(self.ports[high]))
            connect(m, tensor.low, flipped(self.ports[high + 1]))
            idle.append(tensor.idle)
        # One option, two streams: the value array skips the planes that ``narrow`` keys lack.
        said = shape.value_options
        m.d.comb += [self.v.p[name].eq(said[name]) for name, _ in head_options_layout(core)]
        return edges, idle

    def _tokens(
        self,
        m: Module,
        platform: object,
        table: TokenTable,
        start: Value,
        shape: LayerShape,
        edges: dict[str, Signal],
        heads: HeadTable | FactorTable,
    ) -> list[Value]:
        """Fetch gains of queries and keys beside their ids; return the units' idle flags.

        Parameters
        ----------
        m, platform
            As in ``elaborate``.
        table : TokenTable
            Tokens of the layer.
        start : Value
            The units start.
        shape : LayerShape
        edges : dict
            First 8-bit slot of each role.
        heads : HeadTable or FactorTable
            Has the factors of grouped query heads.
        """
        system, layer = self.system, self.layer
        idle: list[Value] = []
        for role, count, slot, token, gains in (
            (
                "queries",
                shape.queries,
                table.query_slot,
                table.query,
                (("q", ReadStream.Q_GAINS, Flag.Q_GAINS, layer.q_gains),),
            ),
            (
                "keys",
                layer.tokens,
                table.key_slot,
                table.key,
                (
                    ("k", ReadStream.K_GAINS, Flag.K_GAINS, layer.k_gains),
                    ("v", ReadStream.V_GAINS, Flag.V_GAINS, layer.v_gains),
                ),
            ),
        ):
            tokens = place(m, platform, role, TokenStream, system, len(gains))
            out = getattr(self, role)
            m.d.comb += [
                tokens.start.eq(start),
                tokens.heads.eq(shape.heads),
                tokens.tokens.eq(count),
                tokens.four_bit.eq(edges["q"]),
                slot.eq(tokens.slot),
                tokens.token.eq(token),
                out.valid.eq(tokens.o.valid),
                out.p.id.eq(tokens.o.p.position),
                out.p.gain.eq(tokens.o.p.gains[0]),
                tokens.o.ready.eq(out.ready),
            ]
            if system.core.signed_gains:
                m.d.comb += out.p.negative.eq(tokens.o.p.negative)
            if role == "queries":
                m.d.comb += out.p.narrow.eq(
                    flag(layer, Flag.FOLLOWS_QUERY) & (tokens.o.p.slot < edges["q"])
                )
                if system.core.grouped:
                    m.d.comb += [
                        tokens.group.eq(shape.group),
                        tokens.edge.eq(shape.edge),
                        heads.next.eq(tokens.next_head),
                        tokens.known.eq(heads.known),
                        heads.index.eq(tokens.head),
                    ]
                    if system.core.bias_heads > 1:
                        m.d.comb += out.p.member.eq(tokens.member)
                    fields = factor_layout(system.core)
                    m.d.comb += [out.p[name].eq(heads.factor[name]) for name, _ in fields]
                if system.core.skip_tiles:
                    m.d.comb += out.p.last.eq(tokens.o.p.last)
            else:
                m.d.comb += [
                    out.p.value_gain.eq(tokens.o.p.gains[1]),
                    out.p.narrow.eq(flag(layer, Flag.FOLLOWS) & (tokens.o.p.slot < edges["v"])),
                    out.p.last.eq(tokens.o.p.last),
                ]
            for i, (tensor, port, present, base) in enumerate(gains):
                shape.plan(m, tokens.plans[i], tensor, base)
                look_up(m, table, port, tokens, i)
                m.d.comb += tokens.present[i].eq(flag(layer, present))
                connect(m, tokens.ports[i], flipped(self.ports[port]))
            idle.append(tokens.idle)
            self._refuse(m, tokens.zero, ErrorCode.GAIN, tokens.zero_address)
        return idle

    def _refuse(self, m: Module, found: Value, code: ErrorCode, address: Value) -> None:
        """Keep the first fault, and its address.

        Parameters
        ----------
        m : Module
        found : Value
            There is a fault.
        code : ErrorCode
        address : Value
        """
        with m.If(found & (self.fault == ErrorCode.NONE)):
            m.d.sync += [self.fault.eq(code), self.fault_address.eq(address)]
