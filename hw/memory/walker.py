"""Addresses of one plane of a tensor, head by head, run by run."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.bus.bursts import run_layout
from dtqatten.hw.memory.slots import Slots

__all__ = ["PlaneWalker", "plan_layout", "plane_sizes"]


def plan_layout(system: SystemConfig) -> data.StructLayout:
    """Part of a tensor that a layer fetches: ``heads`` of ``capacity`` places from ``base`` on.

    Of ``tokens`` slots the first ``four_bit`` have no low plane. A slot's place is its entry in the
    token table if ``listed``, else its number, counted from ``first`` on where rows can be merged.
    Each head is sent ``repeats`` times.
    """
    count, places = range(system.core.n_max + 1), range(system.core.positions + 1)
    return data.StructLayout(
        {
            "base": unsigned(system.address_bits),
            "heads": unsigned(16),
            "repeats": unsigned(16),
            "capacity": places,
            "tokens": count,
            "four_bit": count,
            "listed": unsigned(1),
        }
        | ({"first": range(system.core.positions)} if system.core.merge_rows else {})
    )


def plane_sizes(system: SystemConfig, plane: str) -> tuple[int, int]:
    """Return bytes of a token in a plane, and planes of a head."""
    return {"gains": (1, 1), "importance": (4, 1)}.get(plane, (system.plane_bytes, 2))


class PlaneWalker(wiring.Component):
    """Turn a layer's tokens into runs of bytes of a plane.

    ``address = base + ((2*head + plane)*capacity + place) * d_head/2``. The low plane is that of
    the slots from ``four_bit`` on. Gains are a plane of their own, a byte a token:
    ``base + head*capacity + place``; so is importance, four bytes a token. Tokens with consecutive
    bytes make one run, which ends where the longest burst has to end: there another burst would
    begin anyway.

    Latency: a run of n tokens takes 2n + 1 cycles if reads are granted at once, n + 1 where none
    are needed. A head's first run takes one token's time more, for the token that does not join it;
    its last run takes as much less.

    Parameters
    ----------
    system : SystemConfig
    plane : str
        ``"high"``, ``"low"``, ``"gains"`` or ``"importance"``.
    in_turns : bool
        The high plane of queries: row blocks of both classes alternate.

    Members
    -------
    start : In(1)
        Begin with ``plan``, which stays until ``idle``.
    plan : In(plan_layout(system))
        What to fetch.
    idle : Out(1)
        All runs are out.
    asked, index, granted, entry
        Reading of tokens, see :class:`~dtqatten.hw.memory.token_table.TokenTable`.
    o : Out(stream.Signature(run_layout(system)))
        Runs of bytes.
    """

    def __init__(self, system: SystemConfig, plane: str, in_turns: bool = False) -> None:
        self.system = system
        self.low = plane == "low"
        #: Bytes of a token in the plane, and planes of a head.
        self.size, self.planes = plane_sizes(system, plane)
        self.in_turns = in_turns
        core = system.core
        super().__init__(
            {
                "start": In(1),
                "plan": In(plan_layout(system)),
                "idle": Out(1, init=1),
                "asked": Out(1),
                "index": Out(range(core.n_max)),
                "granted": In(1),
                "entry": In(range(core.positions)),
                "o": Out(stream.Signature(run_layout(system))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system, plan = self.system, self.plan
        count = range(system.core.n_max + 1)
        places = system.core.positions
        size, longest = self.size, system.burst_beats * system.bus_bytes
        low = self.low
        head = Signal(16)
        base = Signal(system.address_bits)
        plane_size = Signal(range(places * size + 1))
        slots = place(m, platform, "slots", Slots, system.core, self.in_turns)
        slot, wanted = Signal(range(system.core.n_max)), Signal(count)
        m.d.comb += [
            plane_size.eq(plan.capacity * size),
            wanted.eq(plan.tokens - (plan.four_bit if low else 0)),
            slots.restart.eq(self.start),
            slots.tokens.eq(wanted),
            slots.four_bit.eq(plan.four_bit),
            slot.eq(slots.slot + (plan.four_bit if low else 0)),
            self.index.eq(slot),
        ]

        first_place = plan.first if system.core.merge_rows else 0
        # The run so far, and the token that begins the next run.
        first, tokens = Signal(range(places)), Signal(count)
        token, begun, ends = Signal.like(first), Signal.like(first), Signal()
        end, joins = Signal.like(self.o.p.address), Signal()
        m.d.comb += [
            token.eq(Mux(plan.listed, self.entry, slot + first_place)),
            self.o.p.address.eq(base + first * size),
            self.o.p.size.eq(tokens * size),
            end.eq(base + (first + tokens) * size),
            joins.eq((token == first + tokens) & (end % longest != 0)),
        ]

        def next_token() -> None:
            m.next = "ASK"
            with m.If(~plan.listed):
                m.next = "TAKE"

        with m.FSM():
            with m.State("IDLE"), m.If(self.start):
                m.d.sync += [
                    head.eq(0),
                    tokens.eq(0),
                    base.eq(plan.base + (plane_size if low else 0)),
                ]
                # Where no token has a low plane there is nothing to fetch of it.
                with m.If(wanted != 0):
                    m.d.sync += self.idle.eq(0)
                    next_token()
            with m.State("ASK"):
                m.d.comb += self.asked.eq(1)
                with m.If(self.granted):
                    m.next = "TAKE"
            with m.State("TAKE"):
                m.d.comb += slots.next.eq(1)
                m.d.sync += ends.eq(slots.last)
                next_token()
                with m.If(slots.last):
                    m.next = "END"
                with m.If(tokens == 0):
                    m.d.sync += [first.eq(token), tokens.eq(1)]
                with m.Elif(joins):
                    m.d.sync += tokens.eq(tokens + 1)
                with m.Else():
                    m.d.sync += begun.eq(token)
                    m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [first.eq(begun), tokens.eq(1)]
                    next_token()
                    with m.If(ends):
                        m.next = "END"
            with m.State("END"):
                m.d.comb += self.o.valid.eq(1)
                with m.If(self.o.ready):
                    m.d.sync += [
                        tokens.eq(0),
                        head.eq(head + 1),
                        base.eq(base + self.planes * plane_size),
                    ]
                    next_token()
                    with m.If(head + 1 == plan.heads):
                        m.d.sync += self.idle.eq(1)
                        m.next = "IDLE"
        return m
