"""Round-robin choice, and choice of a bus master's next burst, checked against its window."""

from functools import reduce
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.bus.bursts import request_layout
from dtqatten.hw.bus.window import PAGE_BITS, contains, window_layout

__all__ = ["BurstChooser", "chosen_layout", "rotated_choice", "rotated_turn", "those_after"]


def rotated_choice(m: Module, wanting: Value, granted: Signal, name: str) -> Signal:
    """Return the index of the next set bit of ``wanting`` after ``granted``, round robin.

    Parameters
    ----------
    m : Module
    wanting : Value
        A bit for each requester.
    granted : Signal
        Index of the previous choice.
    name : str
        Of the result.
    """
    count = len(wanting)
    choice = Signal(range(count), name=name)
    m.d.comb += choice.eq(granted)
    # Later statements take precedence: the lowest bit above the granted one, else the lowest.
    for i in reversed(range(count)):
        with m.If(wanting[i]):
            m.d.comb += choice.eq(i)
    for i in reversed(range(1, count)):
        with m.If(wanting[i] & (granted < i)):
            m.d.comb += choice.eq(i)
    return choice


def chosen_layout(system: SystemConfig, streams: int) -> data.StructLayout:
    """Burst of a ``stream``: ``beats`` of ``2**width`` bytes, the first one at ``address``."""
    fields = dict(request_layout(system))
    return data.StructLayout(
        {
            "stream": range(streams),
            "address": unsigned(system.address_bits),
            "beats": fields["beats"].shape,
            "width": fields["width"].shape,
        }
    )


def those_after(turn: Value) -> Value:
    """Return who comes after the one whose turn it is, a bit for each requester."""
    # Of a negated number the lowest bit stays as it is, those above it are inverted.
    return turn ^ (-turn)[: len(turn)]


def rotated_turn(asking: Value, late: Value, left: Value, first: Value) -> Value:
    """Return whose turn is next, a bit for each requester.

    Parameters
    ----------
    asking, late : Value
        Who wants it; who lets others go first.
    left : Value
        Whether those that are late may have it.
    first : Value
        Who comes after the turn before.
    """
    early, behind = asking & ~late, asking & late & left.replicate(len(asking))
    chosen: Value = behind
    for those in (behind & first, early, early & first):
        chosen = Mux(those.any(), those, chosen)
    return chosen & (-chosen)[: len(asking)]


class BurstChooser(wiring.Component):
    """Choose the next stream with a request, round robin, and check its burst against the window.

    Whose turn it is, is decided a cycle before its burst is taken, from the requests of that cycle.
    Streams that are ``late`` have a turn while no other one has a request, and something is left.
    A burst outside the window never leaves.

    Latency 2 cycles, throughput one burst a cycle, also of one stream if it has ``more``. While
    ``stop`` is set no burst is taken, and the one that was is forgotten.

    Parameters
    ----------
    system : SystemConfig
    streams : int

    Members
    -------
    requests : In(stream.Signature(request_layout(system))).array(streams)
        What streams ask for.
    more : In(streams)
        Streams with a further request behind that.
    late : In(streams)
        Streams that let others go first.
    left, left_then : In(1)
        Late streams may have a turn; also if a burst of theirs is taken in this cycle.
    window : In(window_layout(system))
        Pages that may be accessed.
    stop : In(1)
    turn : Out(streams)
        The stream whose turn it is, if any.
    beats : Out(range(burst_beats + 1))
        Its burst's beats.
    taken : Out(1)
        Its burst is taken in this cycle.
    o : Out(stream.Signature(chosen_layout(system, streams)))
        The burst taken; valid if it lies in the window.
    outside : Out(1)
        It does not.
    idle : Out(1)
        None has been taken that has not left.

    Attributes
    ----------
    held, inside : Signal
        There is a burst; it lies in the window. For proofs.
    """

    def __init__(self, system: SystemConfig, streams: int) -> None:
        self.system, self.streams = system, streams
        super().__init__(
            {
                "requests": In(stream.Signature(request_layout(system))).array(streams),
                "more": In(streams),
                "late": In(streams),
                "left": In(1),
                "left_then": In(1),
                "window": In(window_layout(system)),
                "stop": In(1),
                "turn": Out(streams),
                "beats": Out(range(system.burst_beats + 1)),
                "taken": Out(1),
                "o": Out(stream.Signature(chosen_layout(system, streams))),
                "outside": Out(1),
                "idle": Out(1),
            }
        )
        self.held, self.inside = Signal(name="held"), Signal(name="inside")

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held, inside = self.held, self.inside
        request, free = Signal(request_layout(self.system)), Signal()
        address = Cat(request.offset, request.word)
        bits = len(address) + len(request.beats) + len(request.width)
        masked = (
            Value.cast(each.p) & bit.replicate(bits)
            for each, bit in zip(self.requests, self.turn, strict=True)
        )
        m.d.comb += [
            request.eq(reduce(or_, masked)),
            self.beats.eq(request.beats),
            self.o.valid.eq(held & inside & ~self.stop),
            self.outside.eq(held & ~inside),
            self.idle.eq(~held),
            free.eq((~held | (inside & self.o.ready)) & ~self.stop),
            self.taken.eq(self.turn.any() & free),
            *(
                each.ready.eq(bit & free)
                for each, bit in zip(self.requests, self.turn, strict=True)
            ),
        ]
        with m.If(free):
            m.d.sync += [
                held.eq(self.turn.any()),
                inside.eq(contains(self.window, address[PAGE_BITS:])),
                self.o.p.address.eq(address),
                self.o.p.beats.eq(request.beats),
                self.o.p.width.eq(request.width),
            ]
            for i in range(self.streams):
                with m.If(self.turn[i]):
                    m.d.sync += self.o.p.stream.eq(i)
        # Those that come after the stream whose turn it is, and after the one that had one last.
        following, first = Signal(self.streams), Signal(self.streams)
        m.d.comb += following.eq(those_after(self.turn))
        asking = Cat(request.valid for request in self.requests)
        stays = rotated_turn(asking, self.late, self.left, first)
        others = asking & (~self.turn | self.more)
        goes = rotated_turn(others, self.late, self.left_then, following)
        m.d.sync += self.turn.eq(stays)
        with m.If(self.taken):
            m.d.sync += [self.turn.eq(goes), first.eq(following)]
        with m.If(self.stop):
            m.d.sync += [held.eq(0), self.turn.eq(0)]
        return m
