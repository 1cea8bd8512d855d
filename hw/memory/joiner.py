"""Interleaves a tensor's planes token by token, and replays heads that are needed again."""

from amaranth.hdl import Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.memory.chosen_slots import ChosenSlots, slots_stream
from dtqatten.hw.memory.slots import Slots
from dtqatten.hw.memory.walker import plan_layout
from dtqatten.hw.payloads.arrays import Precision

__all__ = ["Joiner", "Replayer", "joined_layout"]


def joined_layout(nibbles: int) -> data.StructLayout:
    """Beat of ``nibbles`` channels of a plane of a token, as ``load_layout`` has them."""
    return data.StructLayout(
        {
            "nibbles": data.ArrayLayout(unsigned(4), nibbles),
            "precision": Precision,
            "last": unsigned(1),
        }
    )


class Joiner(wiring.Component):
    """Interleave the planes of a tensor: a token's high plane, then its low one if it has one.

    Slots from ``plan.four_bit`` on are 8-bit tokens. Where row blocks ``choose``, those of a layer
    with ``plan.chosen`` are of chosen groups. Latency 0, from the second cycle after
    ``start`` on; throughput one beat a cycle.

    Parameters
    ----------
    system : SystemConfig
    nibbles : int
        Nibbles of a beat; they divide ``d_head``.
    in_turns : bool
        Queries: row blocks of both classes alternate.
    chooses : bool
        Values of which row blocks can choose.

    Members
    -------
    start : In(1)
        Begin with ``plan``, which stays until ``idle``.
    plan : In(plan_layout(system))
        Heads and tokens.
    groups : In(slots_stream(config))
        Of such values: chosen groups.
    idle : Out(1)
        All heads have passed.
    high, low : In(stream.Signature(ArrayLayout(unsigned(4), nibbles)))
        Planes, head by head, token by token.
    o : Out(stream.Signature(joined_layout(nibbles)))
        Beats; ``last`` marks a head's last.
    """

    def __init__(
        self, system: SystemConfig, nibbles: int, in_turns: bool = False, chooses: bool = False
    ) -> None:
        self.system, self.nibbles, self.in_turns = system, nibbles, in_turns
        self.chooses = chooses
        plane = stream.Signature(data.ArrayLayout(unsigned(4), nibbles))
        super().__init__(
            {
                "start": In(1),
                "plan": In(plan_layout(system)),
                "idle": Out(1, init=1),
                "high": In(plane),
                "low": In(plane),
                "o": Out(stream.Signature(joined_layout(nibbles))),
            }
            | ({"groups": In(slots_stream(system.core))} if chooses else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        words = self.system.core.d_head // self.nibbles
        head = Signal.like(self.plan.heads)
        slots = place(m, platform, "slots", Slots, self.system.core, self.in_turns)
        word = Signal(range(words))
        low, begun, open_ = Signal(), Signal(), Signal()
        wide, plane_end, token_end, head_end, beat = (Signal() for _ in range(5))
        wide_slot, last, here = slots.wide, slots.last, Const(1)
        if self.chooses:
            chosen = place(m, platform, "chosen_slots", ChosenSlots, self.system.core)
            connect(m, flipped(self.groups), chosen.groups)
            m.d.comb += [
                chosen.tokens.eq(self.plan.tokens),
                chosen.next.eq(beat & token_end & self.plan.chosen),
            ]
            wide_slot = Mux(self.plan.chosen, chosen.slot >= self.plan.four_bit, wide_slot)
            last = Mux(self.plan.chosen, chosen.last, last)
            here = chosen.valid | ~self.plan.chosen
        m.d.comb += [
            slots.restart.eq(self.start),
            slots.tokens.eq(self.plan.tokens),
            slots.four_bit.eq(self.plan.four_bit),
            slots.next.eq(beat & token_end),
            wide.eq(wide_slot),
            open_.eq(begun & ~self.idle & here),
            self.o.valid.eq(open_ & Mux(low, self.low.valid, self.high.valid)),
            self.o.p.nibbles.eq(Mux(low, self.low.p.as_value(), self.high.p.as_value())),
            self.o.p.precision.eq(Mux(wide, Precision.BIT8, Precision.BIT4)),
            self.high.ready.eq(open_ & ~low & self.o.ready),
            self.low.ready.eq(open_ & low & self.o.ready),
            beat.eq(self.o.valid & self.o.ready),
            plane_end.eq(word == words - 1),
            token_end.eq(plane_end & (low | ~wide)),
            head_end.eq(token_end & last),
            self.o.p.last.eq(head_end),
        ]
        with m.If(beat):
            m.d.sync += word.eq(Mux(plane_end, 0, word + 1))
            with m.If(plane_end):
                m.d.sync += low.eq(~token_end)
            with m.If(head_end):
                m.d.sync += [head.eq(head + 1), self.idle.eq(head == self.plan.heads - 1)]
        m.d.sync += begun.eq(~self.idle)
        with m.If(self.start):
            m.d.sync += [head.eq(0), self.idle.eq(0)]
        return m


class Replayer(wiring.Component):
    """Give each head once for each query head that shares it, though it comes once.

    A head is recorded while it passes, and then read back; meanwhile the next head waits.

    Latency 0 as a head passes, 2 cycles before its repetition; throughput one beat a cycle.

    Parameters
    ----------
    config : Config
    nibbles : int
        Nibbles of a beat.
    tokens : int, optional
        Most tokens of a head that is needed more than once; ``n_max`` if None.

    Members
    -------
    repeats : In(16)
        How often each head is needed, at least once; constant during a head.
    i, o
        Beats, streams of :func:`joined_layout`.
    idle : Out(1)
        Nothing is being repeated.
    """

    def __init__(self, config: Config, nibbles: int, tokens: int | None = None) -> None:
        self.config, self.nibbles = config, nibbles
        self.tokens = config.n_max if tokens is None else tokens
        super().__init__(
            {
                "repeats": In(16),
                "i": In(stream.Signature(joined_layout(nibbles))),
                "o": Out(stream.Signature(joined_layout(nibbles))),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        depth = 2 * self.tokens * self.config.d_head // self.nibbles
        m.submodules.beats = beats = memory.Memory(
            shape=joined_layout(self.nibbles), depth=depth, init=[]
        )
        write, read = beats.write_port(), beats.read_port()
        address = Signal(range(depth))
        left = Signal(16)
        again, fetched = Signal(), Signal()
        beat, end = Signal(), Signal()
        # Times that the head is still to be sent, this one included.
        owed = Signal(16)
        m.d.comb += [
            owed.eq(Mux(again, left, self.repeats)),
            write.addr.eq(address),
            write.data.eq(self.i.p),
            write.en.eq(~again & beat & (self.repeats > 1)),
            read.addr.eq(Mux(beat, Mux(end, 0, address + 1), address)),
            beat.eq(self.o.valid & self.o.ready),
            end.eq(self.o.p.last),
            self.idle.eq(~again),
        ]
        with m.If(again):
            m.d.comb += [self.o.valid.eq(fetched), self.o.p.eq(read.data)]
        with m.Else():
            m.d.comb += [
                self.o.valid.eq(self.i.valid),
                self.o.p.eq(self.i.p),
                self.i.ready.eq(self.o.ready),
            ]
        m.d.sync += fetched.eq(again)
        with m.If(beat):
            m.d.sync += address.eq(Mux(end, 0, address + 1))
            with m.If(end):
                m.d.sync += [
                    left.eq(owed - 1),
                    again.eq(owed > 1),
                    fetched.eq(0),
                ]
        return m
