"""A harness of what is read of values that a row block chooses first."""

from dataclasses import replace

from amaranth.hdl import Array, Assume, Module, Signal
from amaranth.lib.wiring import In

from dtqatten.hw.memory.chosen_slots import slots_layout
from dtqatten.hw.memory.run_walker import RunWalker
from dtqatten.hw.memory.walker import plan_layout
from dtqatten.sim.proofs.harness import SYSTEM, Harness
from dtqatten.sim.proofs.reader_harnesses import HEADS, constant

__all__ = ["ChoiceHarness"]

#: Groups of two slots, of which a head has up to two.
CHOSEN = replace(
    SYSTEM,
    core=SYSTEM.core.replace(
        cols=2, value_depth=2, skip_tiles=True, local_values=True, chosen_values=True
    ),
)
#: Groups of all heads.
GROUPS = HEADS * CHOSEN.core.key_tiles


class ChoiceHarness(Harness):
    """High plane of values, all places in order, whose groups are told at any time."""

    def __init__(self, wanted: str) -> None:
        super().__init__(
            wanted,
            {
                "plan": In(plan_layout(CHOSEN)),
                "told": In(1),
                "group": In(slots_layout(CHOSEN.core)),
                "ready": In(1),
                "waiting": In(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        """Return the walker, its assumptions and the assertion."""
        m = self._start()
        plan = Signal(plan_layout(CHOSEN))
        m.d.comb += [plan.eq(self.plan), plan.heads.eq(HEADS), plan.listed.eq(0)]
        m.d.comb += [plan.chosen.eq(1), plan.capacity.eq(CHOSEN.core.positions)]
        m.submodules.walker = walker = RunWalker(CHOSEN, "high", chooses=True)
        begun, offered = Signal(), Signal()
        group, before = self.group, Signal.like(self.group)
        taken = walker.groups.valid & walker.groups.ready
        given = walker.o.valid & walker.o.ready
        size = CHOSEN.plane_bytes
        # What has been told: head, first slot of each group, and how many of all have been given.
        head, begins = Signal(range(HEADS + 2)), Signal(init=1)
        count, runs = Signal(range(GROUPS + 2)), Signal(range(GROUPS + 2))
        heads = Array(Signal(range(HEADS + 1), name=f"head_{i}") for i in range(GROUPS))
        firsts = Array(Signal.like(group.first, name=f"first_{i}") for i in range(GROUPS))
        m.d.sync += [begun.eq(1), offered.eq(walker.groups.valid & ~taken), before.eq(group)]
        m.d.comb += [
            walker.start.eq(~begun),
            walker.plan.eq(plan),
            walker.waiting.eq(self.waiting),
            walker.o.ready.eq(self.ready),
            walker.groups.valid.eq(begun & (head != HEADS) & (self.told | offered)),
            walker.groups.p.eq(group),
            Assume(~offered | (group.as_value() == before.as_value())),
            # Groups of two, ascending in their head, and none behind its keys.
            Assume((group.tokens == 2) & (group.first[0] == 0) & (group.first < plan.tokens)),
            Assume(begins | (offered | (group.first > before.first))),
            Assume(group.last | (group.first + 2 < plan.tokens)),
            Assume((plan.tokens != 0) & (plan.tokens <= CHOSEN.core.n_max)),
            Assume(plan.base + 2 * HEADS * plan.capacity * size < 1 << CHOSEN.address_bits),
        ]
        constant(m, begun, plan.as_value(), "plan")
        # Between two of them nothing else is offered.
        m.d.comb += Assume(~begun | self.told | offered | (group.as_value() == before.as_value()))
        with m.If(taken):
            m.d.sync += [
                heads[count].eq(head),
                firsts[count].eq(group.first),
                count.eq(count + 1),
                begins.eq(group.last),
                head.eq(head + group.last),
            ]
        m.d.sync += runs.eq(runs + given)
        start = plan.base + 2 * heads[runs] * plan.capacity * size + firsts[runs] * size
        rest = plan.tokens - firsts[runs]
        right = (walker.o.p.address == start) & (
            (walker.o.p.size == 2 * size) | ((walker.o.p.size == size) & (rest == 1))
        )
        self._assert(
            m,
            choice_told=~walker.o.valid | (runs < count),
            choice_place=~walker.o.valid | right,
            choice_whole=~begun | ~walker.idle | ((head == HEADS) & (runs == count)),
        )
        return m
