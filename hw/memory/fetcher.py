"""The fetcher: reads a layer's operands and feeds the core's streams."""

from amaranth.hdl import Module, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.system import ReadStream, SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.bus.read_channel import ReadChannel, read_port
from dtqatten.hw.memory.descriptor import descriptor_layout, flag
from dtqatten.hw.memory.slots import aligned
from dtqatten.hw.memory.tensor_fetcher import TensorFetcher
from dtqatten.hw.memory.token_stream import TokenStream
from dtqatten.hw.memory.token_table import TokenTable
from dtqatten.hw.payloads.arrays import load_layout, value_layout
from dtqatten.hw.payloads.ranking import topk_config
from dtqatten.hw.payloads.softmax import head_layout, key_layout, query_layout
from dtqatten.hw.payloads.topk import ids_layout
from dtqatten.interface.descriptor import HEAD_SHIFT_MAX, Flag
from dtqatten.interface.registers import ErrorCode

__all__ = ["Fetcher"]


class Fetcher(wiring.Component):
    """Read a layer's operands and give them to the core, head by head.

    Row blocks of queries of both classes take turns, so that neither array waits long for the other
    (:func:`dtqatten.golden.numerics.order.alternate`).

    Streams run independently, each as far ahead as its buffers have room: the next head is read
    while this one is computed. The token table receives the ids that the core
    keeps; the next layer can start when ``idle`` and ``ids_complete``.

    A gain of 0 or an invalid entry of the head table is a fault, which invalidates the layer's
    results.

    Latency: units start 1 cycle after ``start``; in a chained layer, those of the tensors share one
    token a cycle of the token table. The first head comes 6 cycles and the memory's latency after
    ``start``.

    Parameters
    ----------
    system : SystemConfig

    Members
    -------
    start : In(1)
        Begin a layer. Only while ``idle``, and after the first layer while ``ids_complete``.
    layer : In(descriptor_layout())
        Its descriptor; stays until ``idle``.
    four_bit : In(range(n_max + 1))
        Tokens of the 4-bit class; stays too.
    repeats : In(16)
        Query heads that share a head of K and V; stays too.
    idle : Out(1)
        Everything has been given to the core.
    ids : In(stream.Signature(ids_layout(topk)))
        Ids that the core keeps.
    ids_complete : Out(1)
        All ids of the layer that was started last have arrived.
    fault : Out(8), fault_address : Out(address_bits)
        First fault's ``ErrorCode`` and address; from the cycle after it arrived until reset.
    q, k, v, queries, keys, heads
        Streams of the core.
    ports : Out(read_port(system)).array(11)
        Read ports, by :class:`~dtqatten.configuration.system.ReadStream`; that of the descriptor is
        not used.
    """

    def __init__(self, system: SystemConfig) -> None:
        self.system = system
        core = system.core
        super().__init__(
            {
                "start": In(1),
                "layer": In(descriptor_layout()),
                "four_bit": In(range(core.n_max + 1)),
                "repeats": In(16),
                "idle": Out(1),
                "ids": In(stream.Signature(ids_layout(topk_config(core)))),
                "ids_complete": Out(1),
                "fault": Out(8),
                "fault_address": Out(system.address_bits),
                "q": Out(stream.Signature(load_layout(core))),
                "k": Out(stream.Signature(load_layout(core))),
                "v": Out(stream.Signature(value_layout(core))),
                "queries": Out(stream.Signature(query_layout(core))),
                "keys": Out(stream.Signature(key_layout(core))),
                "heads": Out(stream.Signature(head_layout(core))),
                "ports": Out(read_port(system)).array(len(ReadStream)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        core, layer = self.system.core, self.layer

        table = place(m, platform, "tokens", TokenTable, core, 6)
        connect(m, flipped(self.ids), table.ids)
        m.d.comb += [
            table.begin.eq(self.start),
            table.chained.eq(flag(layer, Flag.CHAINED)),
            self.ids_complete.eq(table.complete),
        ]

        # Units start one cycle after the table, which is then valid.
        start = Signal()
        m.d.sync += start.eq(self.start)
        edges, tensors_idle = self._tensors(m, platform, table, start)
        tokens_idle = self._tokens(m, platform, table, start, edges)
        idle = ~start
        for unit in (*tensors_idle, *tokens_idle, self._heads(m, platform, start)):
            idle = idle & unit
        m.d.comb += self.idle.eq(idle)
        return m

    def _tensors(
        self, m: Module, platform: object, table: TokenTable, start: Value
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
        """
        system, core, layer = self.system, self.system.core, self.layer
        idle: list[Value] = []
        edges: dict[str, Signal] = {}
        for number, (role, high, base, heads, tile, nibbles) in enumerate(
            (
                ("q", ReadStream.Q_HIGH, layer.q, layer.heads, core.rows, core.load_nibbles),
                ("k", ReadStream.K_HIGH, layer.k, layer.kv_heads, core.cols, core.load_nibbles),
                ("v", ReadStream.V_HIGH, layer.v, layer.kv_heads, core.group, core.value_nibbles),
            )
        ):
            replayed = int(role != "q")
            tensor = place(m, platform, role, TensorFetcher, system, nibbles, replayed)
            edges[role] = Signal(range(core.n_max + 1), name=f"{role}_four_bit")
            out = getattr(self, role)
            m.d.sync += edges[role].eq(aligned(self.four_bit, layer.tokens, tile))
            m.d.comb += [
                tensor.start.eq(start),
                tensor.plan.base.eq(base),
                tensor.plan.heads.eq(heads),
                tensor.plan.repeats.eq(self.repeats),
                tensor.plan.stored.eq(layer.stored),
                tensor.plan.tokens.eq(layer.tokens),
                tensor.plan.four_bit.eq(edges[role]),
                tensor.plan.chained.eq(flag(layer, Flag.CHAINED)),
                tensor.entry.eq(table.entry),
                tensor.granted.eq(table.granted[2 * number : 2 * number + 2]),
                table.asked[2 * number : 2 * number + 2].eq(tensor.asked),
                out.valid.eq(tensor.o.valid),
                out.p.nibbles.eq(tensor.o.p.nibbles.as_value()),
                out.p.precision.eq(tensor.o.p.precision),
                out.p.last.eq(tensor.o.p.last),
                tensor.o.ready.eq(out.ready),
            ]
            for plane in range(2):
                m.d.comb += table.index[2 * number + plane].eq(tensor.index[plane])
            connect(m, tensor.high, flipped(self.ports[high]))
            connect(m, tensor.low, flipped(self.ports[high + 1]))
            idle.append(tensor.idle)
        # One option, two streams: the value array skips the planes that ``narrow`` keys lack.
        m.d.comb += self.v.p.follows.eq(flag(layer, Flag.FOLLOWS))
        return edges, idle

    def _tokens(
        self,
        m: Module,
        platform: object,
        table: TokenTable,
        start: Value,
        edges: dict[str, Signal],
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
        edges : dict
            First 8-bit slot of each role.
        """
        system, layer = self.system, self.layer
        idle: list[Value] = []
        for role, number, gains in (
            ("queries", 0, ((ReadStream.Q_GAINS, Flag.Q_GAINS, layer.q_gains, 1),)),
            (
                "keys",
                1,
                (
                    (ReadStream.K_GAINS, Flag.K_GAINS, layer.k_gains, self.repeats),
                    (ReadStream.V_GAINS, Flag.V_GAINS, layer.v_gains, self.repeats),
                ),
            ),
        ):
            tokens = place(m, platform, role, TokenStream, system, len(gains))
            out = getattr(self, role)
            m.d.comb += [
                tokens.start.eq(start),
                tokens.heads.eq(layer.heads),
                tokens.tokens.eq(layer.tokens),
                tokens.four_bit.eq(edges["q"]),
                table.slots[number].eq(tokens.slot),
                tokens.token.eq(table.tokens[number]),
                out.valid.eq(tokens.o.valid),
                out.p.id.eq(tokens.o.p.position),
                out.p.gain.eq(tokens.o.p.gains[0]),
                tokens.o.ready.eq(out.ready),
            ]
            if role == "queries":
                m.d.comb += out.p.narrow.eq(
                    flag(layer, Flag.FOLLOWS_QUERY) & (tokens.o.p.slot < edges["q"])
                )
            else:
                m.d.comb += [
                    out.p.value_gain.eq(tokens.o.p.gains[1]),
                    out.p.narrow.eq(flag(layer, Flag.FOLLOWS) & (tokens.o.p.slot < edges["v"])),
                    out.p.last.eq(tokens.o.p.last),
                ]
            for i, (port, present, base, repeats) in enumerate(gains):
                plan = tokens.plans[i]
                m.d.comb += [
                    plan.present.eq(flag(layer, present)),
                    plan.base.eq(base),
                    plan.stored.eq(layer.stored),
                    plan.repeats.eq(repeats),
                ]
                connect(m, tokens.ports[i], flipped(self.ports[port]))
            idle.append(tokens.idle)
            self._refuse(m, tokens.zero, ErrorCode.GAIN, tokens.zero_address)
        return idle

    def _heads(self, m: Module, platform: object, start: Value) -> Value:
        """Fetch the table of heads, an entry each; return whether all are out."""
        system, layer = self.system, self.layer
        channel = place(m, platform, "head_table", ReadChannel, system, 8, 4)
        connect(m, channel.port, flipped(self.ports[ReadStream.HEAD_TABLE]))
        left = Signal.like(layer.heads)
        entry = Value.cast(channel.o.p)
        m.d.comb += [
            channel.runs.p.address.eq(layer.head_table),
            channel.runs.p.size.eq(layer.heads << 2),
            self.heads.valid.eq(channel.o.valid),
            channel.o.ready.eq(self.heads.ready),
            self.heads.p.multiplier.eq(entry[:16]),
            self.heads.p.shift.eq(entry[16:24]),
            self.heads.p.causal.eq(flag(layer, Flag.CAUSAL)),
            self.heads.p.output.codes.eq(flag(layer, Flag.CODES)),
            self.heads.p.output.shift.eq(layer.output_shift),
        ]
        with m.If(start):
            m.d.sync += [left.eq(layer.heads), channel.runs.valid.eq(1)]
        with m.Elif(self.heads.valid & self.heads.ready):
            m.d.sync += left.eq(left - 1)
        with m.If(channel.runs.valid & channel.runs.ready):
            m.d.sync += channel.runs.valid.eq(0)
        beyond = (entry[16:24] > HEAD_SHIFT_MAX) | entry[24:].any()
        where = layer.head_table + ((layer.heads - left) << 2)
        self._refuse(m, self.heads.valid & beyond, ErrorCode.HEAD_TABLE, where)
        return left == 0

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
