"""Control of quick-select: which partition is next, its pivot, and the rows to read."""

from amaranth.hdl import Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.base.pipeline import delayed
from dtqatten.hw.payloads.topk import TopKConfig

__all__ = ["PartitionReader", "PivotSearch", "Source"]


class Source(enum.Enum, shape=2):  # type: ignore[call-arg]
    """Where a pass reads: the run, the scores above a pivot, or those below one."""

    RUN = 0
    ABOVE = 1
    BELOW = 2


class PartitionReader(wiring.Component):
    """Address the rows of a partition: the one with its middle score first, then all in order.

    Latency: with ``pick`` in cycle ``t``, ``read`` is the middle score's row in ``t``, and row
    after row from ``t + 1`` on; ``fetched`` and ``lanes`` describe a row one cycle later.
    Throughput one row a cycle; never stalls.

    Parameters
    ----------
    config : TopKConfig

    Members
    -------
    pick : In(1)
        A pass begins.
    count : In(range(capacity + 1))
        Scores of the partition, at least 1; constant during the pass.
    base : In(range(rows + 1))
        Its first row.
    read : Out(range(rows + 1))
        Row to read.
    last : Out(1)
        It is the pass's last one.
    fetched : Out(1)
        The row read belongs to a pass, middle score's row aside.
    lanes : Out(lanes)
        Which of its lanes hold a score.
    """

    def __init__(self, config: TopKConfig) -> None:
        self.config = config
        super().__init__(
            {
                "pick": In(1),
                "count": In(range(config.capacity + 1)),
                "base": In(range(config.rows + 1)),
                "read": Out(range(config.rows + 1)),
                "last": Out(1),
                "fetched": Out(1),
                "lanes": Out(config.lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, lane_bits = self.config.lanes, self.config.lane_bits
        reading = Signal()
        row, left = Signal.like(self.read), Signal(range(self.config.rows))
        tail = self.count[:lane_bits]
        here = Mux(tail == 0, Const(-1, lanes), (1 << tail) - 1)
        m.d.comb += [
            self.read.eq(Mux(self.pick, self.base + (self.count >> lane_bits + 1), row)),
            self.last.eq(reading & (left == 0)),
        ]
        m.d.sync += [
            row.eq(row + 1),
            left.eq(left - 1),
            self.fetched.eq(reading),
            self.lanes.eq(Mux(self.last, here, Const(-1, lanes))),
        ]
        with m.If(self.last):
            m.d.sync += reading.eq(0)
        with m.If(self.pick):
            m.d.sync += [
                reading.eq(1),
                row.eq(self.base),
                left.eq((self.count - 1) >> lane_bits),
            ]
        return m


class PivotSearch(wiring.Component):
    """State of a quick-select for two thresholds: the partition that is read, and its pivot.

    A threshold ``t`` (0: of the kept, 1: of the 8-bit tokens) has a rank among the scores of the
    partition. A pass counts those above the pivot and those below it: with ``rank`` less than the
    former the threshold is above; with ``rank`` more than ``count`` less the latter, below; else it
    is the pivot, and ``need = rank - above`` of the scores that equal it are in. While both are in
    the same partition, they share passes. Where they part, the one above goes on, and what is below
    waits in rows ``0`` to ``base - 1`` of its FIFO.

    The first pass is the loading, its pivot the run's first score. The next ``config.pivots``
    passes have the middle one of their partition, ``count // 2``. All further ones have the middle
    of the range that the partition must lie in, which halves with each: ``score_width`` passes a
    threshold at most.

    Latency: the first pivot follows ``begin`` by two cycles; ``pick``, the beginning of a pass,
    follows ``decide`` by two, and its pivot follows ``pick`` by three; ``finished`` follows
    ``decide`` by one cycle, and ``low`` and ``need`` hold from the cycle after it until the next
    run is decided.

    Parameters
    ----------
    config : TopKConfig

    Members
    -------
    begin : In(1)
        A run begins.
    first : In(score_width)
        Its first score, with ``begin``.
    ranked : In(1)
        Take ``ranks`` and ``tokens``.
    ranks : In(ArrayLayout(range(capacity + 1), 2))
        Ranks of the thresholds in the run; that of the 8-bit tokens is not larger.
    tokens : In(range(capacity + 1))
        Scores of the run.
    decide : In(1)
        The pass is over: ``above`` and ``below`` are complete, in this cycle and the next.
    above, below : In(range(capacity + 1))
        Scores on either side of the pivot.
    candidates : In(ArrayLayout(score_width, lanes))
        The row with the middle score, two cycles after ``pick``.
    pick : Out(1)
        A pass begins.
    finished : Out(1)
        Both thresholds are known.
    source : Out(Source)
        What is read.
    count : Out(range(capacity + 1))
        Scores of the partition that is read.
    base : Out(range(rows + 1))
        Rows of the partition that waits.
    references : Out(ArrayLayout(score_width, 2))
        What scores are compared with: pivot and 8-bit threshold; from the second cycle after
        ``finished`` on both thresholds.
    low : Out(ArrayLayout(score_width, 2))
        Thresholds.
    need : Out(ArrayLayout(range(capacity + 1), 2))
        How many of the scores equal to each are in.
    """

    def __init__(self, config: TopKConfig) -> None:
        self.config = config
        counts = range(config.capacity + 1)
        score = unsigned(config.score_width)
        super().__init__(
            {
                "begin": In(1),
                "first": In(score),
                "ranked": In(1),
                "ranks": In(data.ArrayLayout(counts, 2)),
                "tokens": In(counts),
                "decide": In(1),
                "above": In(counts),
                "below": In(counts),
                "candidates": In(data.ArrayLayout(score, config.lanes)),
                "pick": Out(1),
                "finished": Out(1),
                "source": Out(Source),
                "count": Out(counts),
                "base": Out(range(config.rows + 1)),
                "references": Out(data.ArrayLayout(score, 2)),
                "low": Out(data.ArrayLayout(score, 2)),
                "need": Out(data.ArrayLayout(counts, 2)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        counts, score = range(config.capacity + 1), unsigned(config.score_width)
        ceiling_shape = unsigned(config.score_width + 1)
        pivot, lowest = Signal(score), Signal(score)
        ceiling = Signal(ceiling_shape)
        active = Signal(2)
        waits = Signal()
        waiting_count = Signal(counts)
        waiting_lowest, waiting_ceiling = Signal(score), Signal(ceiling_shape)
        apply = delayed(m, self.decide, 1, "apply", reset_less=False)
        upper, lower = self._sides(m, apply, active, pivot)
        up, down = upper.any(), lower.any()
        m.d.comb += [
            self.finished.eq(apply & ~up & ~down & ~waits),
            self.references[0].eq(pivot),
            self.references[1].eq(self.low[1]),
        ]

        with m.If(self.ranked):
            m.d.sync += [active.eq(0b11), self.count.eq(self.tokens)]
        m.d.sync += self.pick.eq(apply & ~self.finished)
        with m.If(apply):
            with m.If(up):
                m.d.sync += [
                    self.source.eq(Source.ABOVE),
                    self.count.eq(self.above),
                    active.eq(upper),
                    lowest.eq(pivot + 1),
                ]
                with m.If(down):
                    m.d.sync += [
                        waits.eq(1),
                        waiting_count.eq(self.below),
                        waiting_lowest.eq(lowest),
                        waiting_ceiling.eq(pivot),
                        self.base.eq((self.below + config.lanes - 1) >> config.lane_bits),
                    ]
            with m.Elif(down):
                m.d.sync += [
                    self.source.eq(Source.BELOW),
                    self.count.eq(self.below),
                    active.eq(lower),
                    ceiling.eq(pivot),
                ]
            with m.Elif(waits):
                m.d.sync += [
                    self.source.eq(Source.BELOW),
                    self.count.eq(waiting_count),
                    active.eq(0b01),
                    lowest.eq(waiting_lowest),
                    ceiling.eq(waiting_ceiling),
                    waits.eq(0),
                    self.base.eq(0),
                ]
            with m.Else():
                m.d.sync += self.source.eq(Source.RUN)
        with m.If(self.begin):
            m.d.sync += [lowest.eq(0), ceiling.eq(1 << config.score_width)]
        self._pivot(m, pivot, lowest + ceiling)
        return m

    def _sides(self, m: Module, apply: Value, active: Signal, pivot: Signal) -> tuple[Value, Value]:
        """Keep ranks and thresholds; return which thresholds are above the pivot, and below it.

        Parameters
        ----------
        m : Module
        apply : Value
            The cycle in which the result counts, the one after ``decide``.
        active : Signal
            Thresholds in the partition.
        pivot : Signal
        """
        counts = range(self.config.capacity + 1)
        # Scores that are not below the pivot.
        reached = self.count - self.below
        above, below = Signal(2), Signal(2)
        for t in range(2):
            rank, needed, rest = (
                Signal(counts, name=f"{name}_{t}") for name in ("rank", "needed", "rest")
            )
            m.d.sync += [
                above[t].eq(rank < self.above),
                below[t].eq(rank > reached),
                needed.eq(rank - self.above),
                rest.eq(rank - reached),
            ]
            with m.If(apply & active[t]):
                with m.If(below[t]):
                    m.d.sync += rank.eq(rest)
                with m.Elif(~above[t]):
                    m.d.sync += [self.low[t].eq(pivot), self.need[t].eq(needed)]
            with m.If(self.ranked):
                m.d.sync += rank.eq(self.ranks[t])
        return active & above, active & below

    def _pivot(self, m: Module, pivot: Signal, ends: Value) -> None:
        """Choose the pivot of each pass.

        Parameters
        ----------
        m : Module
        pivot : Signal
        ends : Value
            Sum of the ends of the range that the partition lies in.
        """
        config = self.config
        left = Signal(range(config.pivots + 1))
        of_scores = Signal()
        middle = Signal(config.score_width, reset_less=True)
        m.d.sync += middle.eq(ends >> 1)
        caught = delayed(m, self.pick, 2, "caught", reset_less=False)
        settled = delayed(m, self.finished, 1, "settled", reset_less=False)
        with m.If(self.pick):
            m.d.sync += [of_scores.eq(left != 0), left.eq(Mux(left == 0, 0, left - 1))]
        with m.If(caught):
            place = self.count[1 : config.lane_bits + 1]
            m.d.sync += pivot.eq(Mux(of_scores, self.candidates[place], middle))
        # The thresholds are compared with then, for the ids.
        with m.If(settled):
            m.d.sync += pivot.eq(self.low[0])
        # A cycle late: the last run's rows may still be compared with its thresholds.
        began = delayed(m, self.begin, 1, "began", reset_less=False)
        first = delayed(m, self.first, 1, "first")
        with m.If(began):
            m.d.sync += [pivot.eq(first), left.eq(config.pivots)]
