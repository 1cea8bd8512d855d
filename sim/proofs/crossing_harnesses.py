"""Harnesses of what crosses clocks: edges at any time, and synchronizers that may be late."""

from itertools import pairwise
from typing import Any

from amaranth.hdl import (
    Assert,
    Assume,
    Cat,
    ClockDomain,
    ClockSignal,
    DomainRenamer,
    EnableInserter,
    Module,
    Mux,
    ResetSignal,
    Signal,
    Value,
    unsigned,
)
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.hw.bus.access_crossing import AccessCrossing
from dtqatten.hw.bus.axi import LITE_DOMAIN, lite_members
from dtqatten.hw.bus.lite_crossing import LiteCrossing
from dtqatten.sim.proofs.harness import Proof

__all__ = ["CrossingHarness", "InterruptHarness"]

#: What answers an access that a reset meets; other answers have any value of two bits.
REFUSED = 3


class LateSynchronizers:
    """Elaborate synchronizers of two registers whose input may be seen late, as if metastable.

    The first register takes its input as it is or as it was a step ago: an edge that meets a change
    takes either value, and bits that change together may be seen one after the other.

    Parameters
    ----------
    late : Signal
        A bit for each synchronizer, in their order.
    """

    def __init__(self, late: Signal) -> None:
        self.late = late
        #: Of each synchronizer its input a step ago and its registers.
        self.passed = [
            [Signal(name=f"pass{i}_{n}", reset_less=True) for n in range(3)]
            for i in range(len(late))
        ]
        self._left = list(zip(late, self.passed, strict=True))

    def get_ff_sync(self, crossing: Any) -> Module:
        """Return the registers in place of a synchronizer."""
        m = Module()
        late, (before, first, second) = self._left.pop(0)
        m.d.step += before.eq(crossing.i)
        m.d[crossing._o_domain] += [
            first.eq(Mux(late, before, crossing.i)),
            second.eq(first),
        ]
        m.d.comb += crossing.o.eq(second)
        return m


#: Inputs of a harness: in which steps clocks have an edge and are being reset.
CLOCKS = {name: In(1) for name in ("host_edge", "machine_edge", "host_reset", "machine_reset")}


def two_clocks(m: Module, harness: Any) -> None:
    """Make both clocks of steps of the proof: each has an edge in any of them, or none.

    Parameters
    ----------
    m : Module
    harness : component with :data:`CLOCKS`
    """
    m.domains.step = step = ClockDomain("step", reset_less=True)
    m.domains.s_axil = host = ClockDomain(LITE_DOMAIN)
    m.domains.machine = machine = ClockDomain("machine")
    m.d.comb += [domain.clk.eq(ClockSignal()) for domain in (step, host, machine)]
    m.d.comb += [
        machine.rst.eq(harness.machine_reset & harness.machine_edge),
        host.rst.eq(harness.host_reset & harness.host_edge),
        Assume(~ResetSignal()),
    ]


def clocked(harness: Any, component: Any) -> Any:
    """Return a component whose registers change at the edges of a harness alone."""
    renamed = DomainRenamer({"sync": "machine"})(component)
    edges = {"machine": harness.machine_edge, LITE_DOMAIN: harness.host_edge}
    return EnableInserter(edges)(renamed)


class CrossingHarness(Proof):
    """A crossing between a host and registers that keep the rules, at any time.

    Words have two bits. The machine is reset at any time; the host is not, but for the property
    about its reset.
    """

    platform: LateSynchronizers

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted
        word = unsigned(2)
        super().__init__(
            {
                **CLOCKS,
                "late": In(2),
                "i": In(stream.Signature(word)),
                "o": Out(stream.Signature(word)),
                "access": Out(stream.Signature(word)),
                "answer": In(stream.Signature(word)),
            }
        )
        self.platform = LateSynchronizers(self.late)

    def elaborate(self, platform: object) -> Module:
        """Return the crossing, an observer, and the assertion about what that notes."""
        m = Module()
        two_clocks(m, self)
        self.crossing = AccessCrossing(unsigned(2), unsigned(2), refused=REFUSED)
        m.submodules.crossing = clocked(self, self.crossing)
        for name in ("i", "o", "access", "answer"):
            connect(m, flipped(getattr(self, name)), getattr(self.crossing, name))
        seen = Observer(m, self)
        m.d.comb += Assume(~self.answer.valid | seen.running)
        if self.wanted == "crossing_reset":
            m.d.comb += Assert(self._idle_after_reset(m))
        else:
            claim = getattr(seen, self.wanted.removeprefix("crossing_"))()
            m.d.comb += [Assume(~self.host_reset), Assert(claim & self._invariant(seen))]
        return m

    def _idle_after_reset(self, m: Module) -> Value:
        """Return that a long enough reset of both leaves nothing under way."""
        # One edge of the host, four of the machine, three of the host: eight slow cycles have them.
        passed = Signal(range(9))
        enough, before = Signal(), Signal()
        both = self.host_reset & self.machine_reset
        expected = Mux((passed >= 1) & (passed < 5), self.machine_edge, self.host_edge)
        m.d.sync += before.eq(self.host_reset)
        with m.If(~both):
            m.d.sync += passed.eq(0)
        with m.Elif(expected & (passed < 8)):
            m.d.sync += passed.eq(passed + 1)
        with m.If(~self.host_reset):
            m.d.sync += enough.eq(0)
        with m.Elif(passed == 8):
            m.d.sync += enough.eq(1)
        m.d.comb += Assume(~before | self.host_reset | enough)
        crossing = self.crossing
        registers = [crossing.asked, crossing.answered, *self.platform.passed[0]]
        registers += [*self.platform.passed[1], crossing.waiting, crossing.under_way]
        return ~(enough & self.host_reset) | ~Cat(registers, self.o.valid, self.access.valid).any()

    def _invariant(self, seen: "Observer") -> Value:
        """Return what relates the observer's notes and the crossing's registers in any state."""
        crossing, access = self.crossing, self.crossing.access
        (_, asked_first, asked_seen), (_, answered_first, answered_seen) = self.platform.passed
        # A change of `asked` goes around: it is at one place or, before its answer, at none.
        ring = [crossing.asked, *self.platform.passed[0]]
        ring += [crossing.answered, *self.platform.passed[1]]
        changes = sum(one != next_ for one, next_ in pairwise(ring))
        open_ = crossing.asked != crossing.answered
        with_machine = crossing.under_way & ~access.valid
        closed = crossing.waiting & ~open_
        facts = [
            changes <= crossing.waiting,
            ~crossing.under_way | crossing.due,
            ~access.valid | crossing.under_way,
            ~(crossing.waiting & self.o.valid),
            seen.owed == (crossing.waiting | self.o.valid),
            ~crossing.waiting | (crossing.word == seen.sent),
            ~access.valid | (access.p == seen.sent),
            seen.running == with_machine,
            ~with_machine | seen.taken,
            ~open_ | with_machine | ~seen.taken,
            ~open_ | ~seen.told,
            ~closed | seen.right(crossing.reply),
            ~(open_ & (asked_first == crossing.asked)) | (seen.machine_edges >= 1),
            ~crossing.due | (seen.machine_edges >= 2),
            ~(closed & (answered_first == crossing.asked)) | (seen.host_edges >= 1),
            ~(closed & (answered_seen == crossing.asked)) | (seen.host_edges >= 2),
            crossing.due == (asked_seen != crossing.answered),
        ]
        return Cat(facts).all()


class Observer:
    """Notes of the access that was accepted last, and what is claimed of it."""

    def __init__(self, m: Module, ports: CrossingHarness) -> None:
        self.ports = ports
        self.sent, self.given = Signal(2), Signal(2)
        self.owed, self.taken, self.running, self.told, self.met = (Signal() for _ in range(5))
        #: Edges of the other clock since a word changed, up to 2.
        self.machine_edges, self.host_edges = Signal(range(3)), Signal(range(3))
        reset = ports.machine_edge & ports.machine_reset
        self.take = ports.machine_edge & ports.access.valid & ports.access.ready & ~reset
        tell = ports.machine_edge & ports.answer.valid & ~reset
        # Later statements take precedence.
        for edge, count in (
            (ports.machine_edge, self.machine_edges),
            (ports.host_edge, self.host_edges),
        ):
            with m.If(edge & (count < 2)):
                m.d.sync += count.eq(count + 1)
        with m.If(self.take):
            m.d.sync += [self.taken.eq(1), self.running.eq(1)]
        with m.If(tell):
            m.d.sync += [self.told.eq(1), self.running.eq(0), self.given.eq(ports.answer.p)]
        with m.If(reset):
            m.d.sync += [self.met.eq(1), self.running.eq(0)]
        with m.If(tell | (reset & ports.crossing.due)):
            m.d.sync += self.host_edges.eq(0)
        with m.If(ports.host_edge & ports.o.valid & ports.o.ready):
            m.d.sync += self.owed.eq(0)
        with m.If(ports.host_edge & ports.i.valid & ports.i.ready):
            m.d.sync += [
                *(note.eq(0) for note in (self.taken, self.told, self.met, self.machine_edges)),
                self.sent.eq(ports.i.p),
                self.owed.eq(1),
            ]

    def right(self, answer: Value) -> Value:
        """Return whether an answer is the registers', or that after a reset and no other."""
        refused = self.met & ~self.told & (answer == REFUSED)
        return (self.told & (answer == self.given)) | refused

    def once(self) -> Value:
        """The registers take an access as it was sent, and not again."""
        return ~self.take | (~self.taken & (self.ports.access.p == self.sent))

    def answered(self) -> Value:
        """An answer is due, and is right."""
        return ~self.ports.o.valid | (self.owed & self.right(self.ports.o.p))

    def settled(self) -> Value:
        """A word that is taken has not changed since the second edge before."""
        crossing = self.ports.crossing
        taken = self.ports.machine_edge & crossing.due & ~crossing.under_way
        answered_seen = self.ports.platform.passed[1][-1]
        given = self.ports.host_edge & crossing.waiting & (answered_seen == crossing.asked)
        return (~taken | (self.machine_edges >= 2)) & (~given | (self.host_edges >= 2))


class InterruptHarness(Proof):
    """The crossing of AXI4-Lite and interrupt, before registers that keep the rules."""

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted
        super().__init__(
            {
                **CLOCKS,
                "late": In(5),
                "lite": Out(wiring.Signature(lite_members())),
                "registers": In(wiring.Signature(lite_members())),
                "pending": In(1),
                "irq": Out(1),
            }
        )
        self.platform = LateSynchronizers(self.late)

    def elaborate(self, platform: object) -> Module:
        """Return the crossing, and the assertion about the interrupt."""
        m = Module()
        two_clocks(m, self)
        crossing = LiteCrossing()
        m.submodules.crossing = clocked(self, crossing)
        connect(m, flipped(self.lite), crossing.lite)
        connect(m, flipped(self.registers), crossing.registers)
        m.d.comb += [crossing.pending.eq(self.pending), self.irq.eq(crossing.irq)]
        # The last write was answered while nothing was pending, and nothing is since.
        running, quiet = Signal(), Signal()
        written, answer = self.registers.aw, self.registers.b
        with m.If(self.machine_edge & written.valid & written.ready):
            m.d.sync += [running.eq(1), quiet.eq(0)]
        with m.If(self.machine_edge & answer.valid):
            m.d.sync += [running.eq(0), quiet.eq(~self.pending)]
        m.d.comb += [
            Assume(~self.host_reset & ~self.machine_reset),
            Assume(~answer.valid | running),
            Assume(~self.pending | ~quiet),
            Assert(~(quiet & self.lite.b.valid & self.irq)),
        ]
        return m
