"""Addresses of one plane of a tensor, head by head, run by run."""

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.bus.bursts import run_layout
from dtqatten.hw.memory.head_steps import head_steps
from dtqatten.hw.memory.slots import Slots
from dtqatten.interface.descriptor import BIAS_BYTES

__all__ = ["PlaneWalker", "plan_layout", "plane_sizes"]


def plan_layout(system: SystemConfig) -> data.StructLayout:
    """Part of a tensor that a layer fetches: ``heads`` of ``capacity`` places from ``base`` on.

    Of ``tokens`` slots the first ``four_bit`` have no low plane. A slot's place is its entry in the
    token table if ``listed``, else its number, counted from ``first`` on where rows can be merged.
    Each head is sent ``repeats`` times. Where heads can be pruned, they are those of a bit in
    ``kept``. ``trial``, of keys that can be tried: low planes are those of all tokens, of the heads
    with a flat row alone. ``chosen``, of values: tokens are those of groups that row blocks choose.
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
        | ({"kept": unsigned(system.core.heads)} if system.core.head_pruning else {})
        | ({"trial": unsigned(1)} if system.core.progressive else {})
        | ({"chosen": unsigned(1)} if system.core.chosen_values else {})
    )


def plane_sizes(system: SystemConfig, plane: str) -> tuple[int, int]:
    """Return bytes of a token in a plane, and planes of a head."""
    sizes = {"gains": (1, 1), "biases": (BIAS_BYTES, 1), "importance": (4, 1)}
    return sizes.get(plane, (system.plane_bytes, 2))


class PlaneWalker(wiring.Component):
    """Turn a layer's tokens into runs of bytes of a plane.

    ``address = base + ((2*head + plane)*capacity + place) * d_head/2``. The low plane is that of
    the slots from ``four_bit`` on. Gains are a plane of their own, a byte a token:
    ``base + head*capacity + place``; so is importance, four bytes a token. Tokens with consecutive
    bytes make one run, which ends where the longest burst has to end: there another burst would
    begin anyway.

    Latency: a run of n tokens takes 2n cycles if reads are granted at once, n + 1 where none are
    needed. A head's first run takes one token's time more, for the token that does not join it; its
    last run takes a cycle less. The first run of all comes 3 cycles later than that, or 4.

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
        head, last_head = Signal(16), Signal()
        base, plane_size = Signal(system.address_bits), Signal(range(places * size + 1))
        wanted, fetch, take = Signal(count), Signal(), Signal()
        m.d.comb += wanted.eq(plan.tokens - (plan.four_bit if low else 0))
        here, token, token_ends = self._fetch(m, platform, wanted, fetch, take)
        m.d.sync += [plane_size.eq(plan.capacity * size), last_head.eq(head + 1 == plan.heads)]

        # The run so far, the place behind it, and where that is in the longest burst; and the
        # token that begins the next run.
        first, after, tokens = Signal(range(places)), Signal(range(places + 1)), Signal(count)
        offset = Signal(range(longest))
        ends = Signal()
        begin, behind, joins = Signal(range(longest)), Signal(range(longest)), Signal()
        m.d.comb += [
            joins.eq((token == after) & (offset != 0)),
            begin.eq(base + token * size),
            behind.eq(Mux(joins, offset, begin) + size),
        ]
        # A run on its way out, as places and as bytes.
        leaves, head_ends, active, free = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [free.eq(~self.o.valid | self.o.ready), self.idle.eq(~active & ~self.o.valid)]
        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(leaves),
                self.o.p.address.eq(base + first * size),
                self.o.p.size.eq(tokens * size),
            ]
        begun, begun_offset = Signal.like(first), Signal.like(offset)
        pitch = plane_size << (self.planes - 1)
        seeks = head_steps(m, plan, fetch, leaves & free & head_ends, base, pitch)
        with m.FSM():
            with m.State("IDLE"), m.If(self.start):
                m.d.sync += [head.eq(0), tokens.eq(0), active.eq(wanted != 0)]
                # Where no token has a low plane there is nothing to fetch of it.
                with m.If(wanted != 0):
                    m.next = "BASE"
            with m.State("BASE"):
                m.d.comb += fetch.eq(1)
                m.d.sync += base.eq(plan.base + (plane_size if low else 0))
                m.next = "TAKE"
            with m.State("TAKE"), m.If(here & ~seeks):
                m.d.comb += take.eq(1)
                m.d.sync += ends.eq(token_ends)
                with m.If(token_ends):
                    m.next = "END"
                with m.If((tokens == 0) | joins):
                    m.d.sync += [tokens.eq(tokens + 1), after.eq(token + 1), offset.eq(behind)]
                    with m.If(tokens == 0):
                        m.d.sync += first.eq(token)
                with m.Else():
                    m.d.sync += [begun.eq(token), begun_offset.eq(behind)]
                    m.next = "GIVE"
            with m.State("GIVE"):
                m.d.comb += leaves.eq(1)
                with m.If(free):
                    m.d.sync += [
                        first.eq(begun),
                        after.eq(begun + 1),
                        offset.eq(begun_offset),
                        tokens.eq(1),
                    ]
                    m.next = "TAKE"
                    with m.If(ends):
                        m.next = "END"
            with m.State("END"):
                m.d.comb += [leaves.eq(1), head_ends.eq(1)]
                with m.If(free):
                    # The next head's first token joins none.
                    m.d.sync += [tokens.eq(0), offset.eq(0), head.eq(head + 1)]
                    m.next = "TAKE"
                    with m.If(last_head):
                        m.d.sync += active.eq(0)
                        m.next = "IDLE"
        return m

    def _fetch(
        self, m: Module, platform: object, wanted: Value, fetch: Value, take: Value
    ) -> tuple[Value, Value, Value]:
        """Look the places of all slots up, head by head, each while the one before is taken.

        Parameters
        ----------
        m, platform
            As in ``elaborate``.
        wanted : Value
            Slots of a head.
        fetch : Value
            Begin, not before the second cycle after ``start``.
        take : Value
            The place is taken.

        Returns
        -------
        tuple of Value
            Whether there is a place; it; whether it is its head's last.
        """
        core, plan = self.system.core, self.plan
        slots = place(m, platform, "slots", Slots, core, self.in_turns)
        skipped = plan.four_bit if self.low else 0
        first_place = plan.first if core.merge_rows else 0
        here, token, ends = Signal(), Signal(range(core.positions)), Signal()
        fetching, free, moves = Signal(), Signal(), Signal()
        coming, coming_ends = Signal(), Signal()
        head = Signal(16, name="fetched_head")
        m.d.comb += [
            slots.restart.eq(self.start),
            slots.tokens.eq(wanted),
            slots.four_bit.eq(plan.four_bit),
            slots.next.eq(moves),
            self.index.eq(slots.slot + skipped),
            free.eq(~here | take),
            self.asked.eq(plan.listed & fetching & ~coming & free),
            moves.eq(Mux(plan.listed, self.asked & self.granted, fetching & free)),
        ]
        m.d.sync += [coming.eq(plan.listed & moves), coming_ends.eq(slots.last)]
        with m.If(take):
            m.d.sync += here.eq(0)
        with m.If(Mux(plan.listed, coming, moves)):
            m.d.sync += here.eq(1)
        with m.If(~here | take):
            m.d.sync += [
                token.eq(Mux(plan.listed, self.entry, self.index + first_place)),
                ends.eq(Mux(plan.listed, coming_ends, slots.last)),
            ]
        with m.If(moves & slots.last):
            m.d.sync += [head.eq(head + 1), fetching.eq(head + 1 != plan.heads)]
        with m.If(fetch):
            m.d.sync += [head.eq(0), fetching.eq(1)]
        return here, token, ends
