"""Harnesses of what decides which bytes a layer reads: runs of keys, rows of groups."""

from dataclasses import replace

from amaranth.hdl import Array, Assume, Module, Mux, Signal, Value
from amaranth.lib.wiring import In

from dtqatten.configuration.core import Config
from dtqatten.hw.memory.group_rows import GroupRows
from dtqatten.hw.memory.run_table import place_run_layout
from dtqatten.hw.memory.run_walker import RunWalker
from dtqatten.hw.memory.walker import plan_layout
from dtqatten.sim.proofs.harness import SYSTEM, Harness

__all__ = ["GroupHarness", "RunHarness", "TrialHarness"]

#: Runs of the list, and most heads.
RUNS, HEADS = 3, 2
#: Row blocks that no power of two of heads fills.
GROUPED = Config(rows=3, cols=2, depth=1, d_head=8, n_max=6, heads=4, grouped=True)


#: Keys that can be tried.
TRIED = replace(SYSTEM, core=SYSTEM.core.replace(progressive=True, merge_rows=0))


def constant(m: Module, begun: Value, value: Value, name: str) -> None:
    """Assume that an input does not change."""
    before = Signal(len(value), name=f"{name}_before")
    m.d.sync += before.eq(value)
    m.d.comb += Assume(~begun | (before == value))


class RunHarness(Harness):
    """Low plane of a tensor of keys by a list of runs, whose reads are granted at any time."""

    def __init__(self, wanted: str) -> None:
        super().__init__(
            wanted,
            {
                "plan": In(plan_layout(SYSTEM)),
                "runs": In(place_run_layout(SYSTEM.core)).array(RUNS),
                "count": In(range(RUNS + 1)),
                "granted": In(1),
                "ready": In(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        """Return the walker, its assumptions and the assertion."""
        m = self._start()
        # Of places and heads there are as many as there can be: fewer make no other logic.
        plan = Signal(plan_layout(SYSTEM))
        m.d.comb += [plan.eq(self.plan), plan.capacity.eq(SYSTEM.core.positions)]
        m.d.comb += [plan.heads.eq(HEADS), plan.listed.eq(1)]
        m.submodules.walker = walker = RunWalker(SYSTEM, "low")
        begun, index, looked = Signal(), Signal.like(walker.index), Signal.like(walker.index)
        m.d.sync += [begun.eq(1), index.eq(walker.index), looked.eq(index)]
        m.d.comb += [
            walker.start.eq(~begun),
            walker.plan.eq(plan),
            walker.count.eq(self.count),
            walker.granted.eq(self.granted & walker.asked),
            walker.run.eq(Array(run.as_value() for run in self.runs)[looked]),
            walker.high.idle.eq(1),
            walker.o.ready.eq(self.ready),
        ]
        total: Value = Signal(1, name="none")
        for i, run in enumerate(self.runs):
            constant(m, begun, run.as_value(), f"run_{i}")
            m.d.comb += Assume((run.tokens != 0) & (run.first + run.tokens <= plan.capacity))
            total = total + Mux(self.count > i, run.tokens, 0)
        constant(m, begun, plan.as_value(), "plan")
        constant(m, begun, self.count, "count")
        size = SYSTEM.plane_bytes
        end = plan.base + 2 * HEADS * plan.capacity * size
        m.d.comb += [
            Assume((self.count != 0) & (total == plan.tokens)),
            Assume((plan.tokens <= SYSTEM.core.n_max) & (plan.four_bit <= plan.tokens)),
            Assume(end < 1 << SYSTEM.address_bits),
        ]
        # Bytes given of the current head, and heads that are complete.
        wanted, given = (plan.tokens - plan.four_bit) * size, Signal(8)
        head, leaves = Signal(range(HEADS + 1)), walker.o.valid & walker.o.ready
        after = given + walker.o.p.size
        # The low plane of a head: two planes further than that of the head before.
        plane, passed = plan.capacity * size, Signal(SYSTEM.address_bits)
        with m.If(leaves):
            m.d.sync += given.eq(Mux(after == wanted, 0, after))
            with m.If(after == wanted):
                m.d.sync += [head.eq(head + 1), passed.eq(passed + 2 * plane)]
        first = plan.base + plane + passed
        address = walker.o.p.address
        inside = (address >= first) & (address + walker.o.p.size <= first + plane)
        more = (head < plan.heads) & (walker.o.p.size != 0) & (after <= wanted)
        whole = (head == plan.heads) & (given == 0)
        self._assert(
            m,
            low_inside=~walker.o.valid | inside,
            low_once=~walker.o.valid | more,
            low_whole=~begun | ~walker.idle | whole | (wanted == 0),
        )
        return m


class TrialHarness(Harness):
    """Low plane of keys that are tried: the only run of each head waits for its verdict."""

    def __init__(self, wanted: str) -> None:
        super().__init__(
            wanted,
            {
                "plan": In(plan_layout(TRIED)),
                "told": In(1),
                "flat": In(1),
                "ready": In(1),
                "waiting": In(1),
            },
        )

    def elaborate(self, platform: object) -> Module:
        """Return the walker, its assumptions and the assertion."""
        m = self._start()
        plan = Signal(plan_layout(TRIED))
        m.d.comb += [plan.eq(self.plan), plan.heads.eq(HEADS), plan.listed.eq(0)]
        m.d.comb += [plan.trial.eq(1), plan.four_bit.eq(0), plan.capacity.eq(TRIED.core.positions)]
        m.submodules.walker = walker = RunWalker(TRIED, "low", True)
        begun, open_ = Signal(), Signal()
        offered, flat = Signal(), Signal()
        taken = walker.verdicts.valid & walker.verdicts.ready
        given = walker.o.valid & walker.o.ready
        m.d.sync += [begun.eq(1), offered.eq(walker.verdicts.valid & ~taken), flat.eq(self.flat)]
        m.d.comb += [
            walker.start.eq(~begun),
            walker.plan.eq(plan),
            walker.high.idle.eq(1),
            walker.waiting.eq(self.waiting),
            walker.o.ready.eq(self.ready),
            walker.verdicts.valid.eq(begun & (self.told | offered)),
            walker.verdicts.p.flat.eq(self.flat),
            Assume(~offered | (flat == self.flat)),
            Assume((plan.tokens != 0) & (plan.tokens <= TRIED.core.n_max)),
            Assume(
                plan.base + 2 * HEADS * plan.capacity * TRIED.plane_bytes < 1 << TRIED.address_bits
            ),
        ]
        constant(m, begun, plan.as_value(), "plan")
        # Verdicts taken so far, those of them that are flat, and runs that were given.
        heads, wide, runs = (
            Signal(range(HEADS + 2), name=name) for name in ("heads", "wide", "runs")
        )
        m.d.sync += [
            heads.eq(heads + taken),
            wide.eq(wide + (taken & self.flat)),
            runs.eq(runs + given),
            open_.eq(taken & self.flat),
        ]
        size = TRIED.plane_bytes
        # The head whose verdict was taken last.
        first = plan.base + (2 * heads - 1) * plan.capacity * size
        right = (walker.o.p.address == first) & (walker.o.p.size == plan.tokens * size)
        self._assert(
            m,
            trial_flat=~walker.o.valid | ((runs < wide) & (heads != 0)),
            trial_place=~walker.o.valid | right,
            trial_whole=~begun | ~walker.idle | ((heads == HEADS) & (runs == wide)),
        )
        return m


class GroupHarness(Harness):
    """Rows of a group of query heads, which are counted at any pace."""

    def __init__(self, wanted: str) -> None:
        super().__init__(
            wanted,
            {"queries": In(16), "four_bit": In(16), "step": In(1), "finish": In(1)},
        )

    def elaborate(self, platform: object) -> Module:
        """Return the counter of rows, its assumptions and the assertion."""
        m = self._start()
        config = GROUPED
        m.submodules.rows = rows = GroupRows(config)
        begun, finished = Signal(), Signal()
        group = Signal(range(config.heads + 1))
        m.d.sync += [begun.eq(1), finished.eq(self.finish), group.eq(group + self.step)]
        m.d.comb += [
            rows.start.eq(~begun),
            rows.queries.eq(self.queries),
            rows.four_bit.eq(self.four_bit),
            rows.step.eq(self.step),
            rows.finish.eq(self.finish),
        ]
        constant(m, begun, self.queries, "queries")
        constant(m, begun, self.four_bit, "four_bit")
        m.d.comb += [
            Assume((self.queries != 0) & (self.queries <= config.n_max)),
            Assume(self.four_bit <= self.queries),
            Assume(~self.step | (begun & ~self.finish & (group < config.heads))),
            Assume(~self.finish | (begun & (group != 0))),
            Assume(~finished | self.finish),
        ]
        # Products of few bits, so that the solver ends.
        bits = config.n_max.bit_length()
        edge, queries = rows.edge[:bits], self.queries[:bits]
        good = (
            (rows.rows == queries * group)
            & (rows.row_four_bit == edge * group)
            & (rows.edge <= self.four_bit)
            & ((edge * group % config.rows == 0) | (rows.edge == self.queries))
        )
        # No larger boundary would do: the one above it leaves rows over.
        above = edge + 1
        larger = (above <= self.four_bit) & (above * group % config.rows == 0)
        self._assert(
            m,
            rows_aligned=~rows.done | rows.over | good,
            rows_most=~rows.done | rows.over | ~larger,
            rows_over=~begun | (rows.over == (queries * group > config.n_max)),
        )
        return m
