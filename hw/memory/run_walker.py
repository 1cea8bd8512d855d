"""Addresses of one plane of a tensor of keys, head by head, in whole runs."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, fifo, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.bus.bursts import run_layout
from dtqatten.hw.memory.chosen_runs import ChosenRuns, whole_runs
from dtqatten.hw.memory.chosen_slots import slots_stream
from dtqatten.hw.memory.head_steps import head_steps
from dtqatten.hw.memory.run_table import place_run_layout
from dtqatten.hw.memory.walker import plan_layout, plane_sizes
from dtqatten.hw.payloads.softmax import verdict_stream

__all__ = ["RunWalker", "progress_layout"]

#: Runs that wait for the bus.
QUEUE = 4


def progress_layout() -> data.StructLayout:
    """How far the high plane is: its next run's head, whether that has 8-bit slots given; idle."""
    return data.StructLayout({"turn": unsigned(16), "wide": unsigned(1), "idle": unsigned(1)})


class RunWalker(wiring.Component):
    """Turn the runs of a layer's keys into runs of bytes of a plane, head by head.

    ``address = base + ((2*head + plane)*capacity + place) * d_head/2``. Where the plan is not
    ``listed``, all tokens of a head are one run. Gains are a plane of their own, a byte a token:
    ``base + head*capacity + place``; so are biases, of two bytes.

    The low plane begins at slot ``four_bit``, which may be in the middle of a run: a layer's first
    runs are read once to find it. Its runs wait until the high plane has given that slot: a token's
    planes are needed one after the other, and what comes early keeps the bus from what is needed.

    Values of which row blocks ``choose`` are cut by
    :class:`~dtqatten.hw.memory.chosen_runs.ChosenRuns`, a cycle later.

    In a trial the low plane has all slots, and each head's runs wait for its verdict: if no row is
    flat, they are dropped.

    A head's first run waits until no burst of the head before waits for the bus, so that ``head``
    is that of every burst which does.

    Latency: 3 cycles from ``start`` to the first run, 5 if it is read from the table; the low plane
    then takes 3 more for each run up to that of its first slot. Throughput a run a cycle if reads
    are granted at once, but for a cycle between heads, and as long as a burst is ``waiting`` there.

    Parameters
    ----------
    system : SystemConfig
    plane : str
        ``"high"``, ``"low"``, ``"gains"`` or ``"biases"``.
    tries, chooses : bool
        Of keys that can be tried; of values of which row blocks can choose.

    Members
    -------
    start : In(1)
        Begin with ``plan``, which stays until ``idle``.
    plan : In(plan_layout(system))
        What to fetch.
    idle : Out(1)
        All runs are out.
    count : In(range(n_max + 1))
        Runs of a ``listed`` plan.
    asked, index, granted, run
        Reading of runs, see :class:`~dtqatten.hw.memory.run_table.RunTable`.
    o : Out(stream.Signature(run_layout(system)))
        Runs of bytes.
    waiting : In(1)
        A burst of a run that has been given waits for the bus; from the cycle after that on. 0
        where nobody asks for ``head``.
    head, busy : Out(16), Out(1)
        Head whose bursts are going out, or come next; there are any. Both a cycle late.
    turn, wide : Out(16), Out(1)
        Of the high plane: head of the next run; it has given slot ``four_bit`` of that.
    high : In(StructLayout)
        Of the low plane: ``turn``, ``wide`` and ``idle`` of the high one.
    verdicts : In(stream.Signature(verdict_layout(config)))
        Of the low plane of keys that can be tried: one a head, taken with its last run.
    groups : In(slots_stream(config))
        Of values of which row blocks can choose: what those of a layer with ``plan.chosen`` choose.
    """

    def __init__(
        self, system: SystemConfig, plane: str, tries: bool = False, chooses: bool = False
    ) -> None:
        self.system, self.low, self.tries = system, plane == "low", tries and plane == "low"
        self.chooses = chooses
        #: Bytes of a token in the plane, and planes of a head.
        self.size, self.planes = plane_sizes(system, plane)
        core = system.core
        super().__init__(
            {
                "start": In(1),
                "plan": In(plan_layout(system)),
                "idle": Out(1, init=1),
                "count": In(range(core.n_max + 1)),
                "asked": Out(1),
                "index": Out(range(core.n_max)),
                "granted": In(1),
                "run": In(place_run_layout(core)),
                "o": Out(stream.Signature(run_layout(system))),
                "waiting": In(1),
                "head": Out(16),
                "busy": Out(1),
                **({"turn": Out(16), "wide": Out(1)} if plane == "high" else {}),
                **({"high": In(progress_layout())} if self.low else {}),
                **({"verdicts": In(verdict_stream(core))} if self.tries else {}),
                **({"groups": In(slots_stream(core))} if chooses else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        core, plan = self.system.core, self.plan
        layout = place_run_layout(core)
        skipped = plan.four_bit if self.low else 0
        wanted = Signal(range(core.n_max + 1))
        m.submodules.queue = queue = fifo.SyncFIFO(width=layout.size + 1, depth=QUEUE)
        # A run that was asked for comes; it goes into the queue, or is looked at in search.
        asked, coming, room = Signal(), Signal(), Signal(init=1)
        # Runs in the queue or on their way there.
        under_way, more = Signal(range(QUEUE + 1)), Signal(range(QUEUE + 1))
        running, searching = Signal(), Signal()
        head, last, run = Signal(16), Signal(), Signal(layout)
        m.d.comb += [
            wanted.eq(plan.tokens - skipped),
            self.asked.eq(plan.listed & running & room & ~(searching & (asked | coming))),
            queue.w_data[:-1].eq(run),
            queue.w_data[-1].eq(last),
        ]
        first_run, cut = self._search(m, searching, coming)
        # What comes is at ``before``: the index two cycles ago.
        last_index, before, at_end = Signal.like(self.index), Signal.like(self.index), Signal()
        m.d.comb += at_end.eq(self.index == self.count - 1)
        m.d.sync += [asked.eq(self.asked & self.granted), coming.eq(asked)]
        m.d.sync += [last_index.eq(self.index), before.eq(last_index)]
        with m.If(plan.listed):
            by = Mux(before == first_run, cut, 0)
            m.d.comb += [
                queue.w_en.eq(coming & ~searching),
                run.first.eq(self.run.first + by),
                run.tokens.eq(self.run.tokens - by),
                last.eq(before == self.count - 1),
            ]
        with m.Else():
            begin = plan.first if core.merge_rows else 0
            m.d.comb += [
                queue.w_en.eq(running & room),
                run.first.eq(begin + skipped),
                run.tokens.eq(wanted),
                last.eq(1),
            ]
        moves = Mux(plan.listed, self.asked & self.granted & ~searching, running & room)
        with m.If(moves):
            m.d.sync += self.index.eq(self.index + 1)
            with m.If(at_end | ~plan.listed):
                m.d.sync += [self.index.eq(first_run), head.eq(head + 1)]
                with m.If(head + 1 == plan.heads):
                    m.d.sync += running.eq(0)
        with m.If(self.start):
            # Where no token has a low plane there is nothing to fetch of it.
            m.d.sync += [
                head.eq(0),
                self.index.eq(0),
                running.eq(wanted != 0),
                self.idle.eq(wanted == 0),
            ]
        leaves = Signal()
        self._give(m, *self._clipped(m, queue, skipped, leaves), leaves)
        m.d.comb += more.eq(under_way + moves - (queue.r_rdy & queue.r_en))
        m.d.sync += [under_way.eq(more), room.eq(more != QUEUE)]
        return m

    def _search(self, m: Module, searching: Signal, coming: Value) -> tuple[Value, Value]:
        """Find the run of slot ``four_bit``; return its number, and its slots before that one.

        Parameters
        ----------
        m : Module
        searching : Signal
            To be driven: it is not known yet.
        coming : Value
            A run comes.
        """
        if not self.low:
            return Const(0), Const(0)
        plan, core = self.plan, self.system.core
        first_run = Signal.like(self.index, name="first_run")
        slot, end = Signal(range(core.n_max + 1)), Signal(range(2 * core.n_max + 1))
        m.d.comb += end.eq(slot + self.run.tokens)
        with m.If(searching & coming):
            with m.If(end > plan.four_bit):
                m.d.sync += [searching.eq(0), first_run.eq(self.index)]
            with m.Else():
                m.d.sync += [slot.eq(end), self.index.eq(self.index + 1)]
        with m.If(self.start):
            m.d.sync += [searching.eq(plan.listed), first_run.eq(0), slot.eq(0)]
        cut = Signal.like(slot)
        m.d.comb += cut.eq(plan.four_bit - slot)
        return first_run, cut

    def _clipped(
        self, m: Module, queue: fifo.SyncFIFO, skipped: Value | int, leaves: Value
    ) -> tuple[Value, data.View]:
        """Cut what is in the queue to what is fetched; return whether there is a run, and that.

        Parameters
        ----------
        m : Module
        queue : SyncFIFO
        skipped : Value or int
            First slot of a head's runs.
        leaves : Value
            The run is taken.
        """
        core, plan = self.system.core, self.plan
        if not self.chooses:
            return whole_runs(m, core, queue, leaves)
        m.submodules.clips = clips = ChosenRuns(core)
        connect(m, flipped(self.groups), clips.groups)
        m.d.comb += [
            Cat(clips.i, clips.i_last).eq(queue.r_data),
            clips.i_valid.eq(queue.r_rdy),
            queue.r_en.eq(clips.i_ready),
            clips.o_ready.eq(leaves),
            clips.chosen.eq(plan.chosen),
            clips.begin.eq(skipped),
            clips.four_bit.eq(plan.four_bit),
            clips.discards.eq(self.idle),
        ]
        return clips.o_valid, clips.o

    def _give(self, m: Module, here: Value, item: data.View, leaves: Signal) -> None:
        """Give runs as runs of bytes of one head after the other.

        Parameters
        ----------
        m : Module
        here, item : Value, View
            There is a run; it.
        leaves : Signal
            To be driven: it is taken.
        """
        system, plan, size, place_run = self.system, self.plan, self.size, item.run
        base, head = Signal(system.address_bits), Signal(16)
        plane_size = Signal(range(system.core.positions * size + 1))
        # What is at ``o``: its tokens, and whether it is its head's last run.
        tokens, last, given, wide = Signal.like(place_run.tokens), Signal(), Signal(), Signal()
        # The next run is its head's first.
        begins = Signal()
        free, may, dropped = Signal(), Signal(name="may"), Signal()
        m.d.sync += plane_size.eq(plan.capacity * size)
        m.d.comb += [
            free.eq(~self.o.valid | self.o.ready),
            given.eq(self.o.valid & self.o.ready),
        ]
        with m.If(free):
            m.d.sync += [
                self.o.valid.eq(leaves & ~dropped),
                self.o.p.address.eq(base + place_run.first * size),
                self.o.p.size.eq(place_run.tokens * size),
                tokens.eq(place_run.tokens),
                last.eq(item.last),
                wide.eq(item.wide),
            ]
        # The plan's products take a cycle; nothing is in the queue by then.
        begun = Signal()
        ends = leaves & item.last
        m.d.sync += begun.eq(self.start)
        seeks = head_steps(m, plan, begun, ends, base, plane_size << (self.planes - 1))
        held = begins & (self.waiting | self.o.valid)
        may_leave: Value = may
        if self.tries:
            verdict = self.verdicts
            may_leave = Mux(plan.trial, verdict.valid, may)
            m.d.comb += [
                dropped.eq(plan.trial & ~verdict.p.flat),
                verdict.ready.eq(ends & plan.trial),
            ]
        elif self.chooses:
            m.d.comb += dropped.eq(item.dropped)
        m.d.comb += leaves.eq(here & may_leave & free & ~seeks & ~held)
        with m.If(leaves):
            m.d.sync += begins.eq(item.last)
        with m.If(ends):
            m.d.sync += head.eq(head + 1)
        self._count(m, given, last, tokens, wide, ends & dropped)
        if self.low:
            high = self.high

            def needed(of: Value) -> Value:
                return high.idle | (high.turn > of) | ((high.turn == of) & high.wide)

            m.d.sync += may.eq(~self.start & Mux(ends, needed(head + 1), needed(head)))
        else:
            m.d.comb += may.eq(1)
        with m.If(self.start):
            m.d.sync += [head.eq(0), begins.eq(1)]
        with m.If(begun):
            m.d.sync += base.eq(plan.base + (plane_size if self.low else 0))

    def _count(
        self, m: Module, given: Value, last: Value, tokens: Value, wide: Value, dropped: Value
    ) -> None:
        """Tell how far the runs that have been given are.

        Parameters
        ----------
        m : Module
        given : Value
            A run is given.
        last : Value
            It is its head's last one.
        tokens, wide : Value
            How many it has; where row blocks choose, whether one has 8 bits.
        dropped : Value
            The last run of a head is dropped, whose others have been; none is given.
        """
        plan = self.plan
        head, last_head = Signal(16, name="given_head"), Signal()
        m.d.comb += last_head.eq(head + 1 == plan.heads)
        if not self.low and self.planes == 2:
            slot = Signal(range(self.system.core.n_max + 1))
            m.d.comb += [self.turn.eq(head), self.wide.eq(slot > plan.four_bit)]
            if self.chooses:
                seen = Signal(name="wide_given")
                with m.If(plan.chosen):
                    m.d.comb += self.wide.eq(seen)
                with m.If(given & wide):
                    m.d.sync += seen.eq(1)
                with m.If(dropped):
                    m.d.sync += seen.eq(0)
            with m.If(given):
                m.d.sync += slot.eq(Mux(last, 0, slot + tokens))
            with m.If(self.start):
                m.d.sync += slot.eq(0)
        m.d.sync += self.busy.eq(~self.idle | self.waiting)
        with m.If(~self.waiting):
            m.d.sync += self.head.eq(head)
        with m.If((given & last) | dropped):
            m.d.sync += head.eq(head + 1)
            with m.If(last_head):
                m.d.sync += self.idle.eq(1)
        with m.If(self.start):
            m.d.sync += [head.eq(0), self.head.eq(0)]
