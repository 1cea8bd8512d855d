"""Refine two thresholds, pass by pass, from the ranks found among counted tokens."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.payloads.topk import TopKConfig, found_layout

__all__ = ["ThresholdSearch"]


class ThresholdSearch(wiring.Component):
    """State of the search: two ranges of scores, and the window of bits that a pass counts by.

    Threshold ``t`` (0: of the kept, 1: of the 8-bit tokens) lies among the scores that agree with
    ``low[t]`` in the bits of ``mask[t]``; the ``need[t]`` largest of those are in. A pass counts by
    the bits from ``shift`` up:

    - ``calibrated``: all scores; those beyond ``mask[0]`` count at the highest index;
    - else, while not ``parted``: scores in range ``lead``, by all ``index_bits``;
    - ``parted``: scores in either range, by one bit less, range 1 in the upper half.

    A threshold is done when its range holds no more tokens than are needed, or no bit is left.

    Latency: ``calibrate``, and ``update`` with ``again``, show at ``shift`` three cycles later,
    any other ``update`` two, and at the ranges in the next cycle; ``finished`` and ``again`` in the
    same cycle as ``update``. ``done`` thresholds hold until the next run's ``calibrate``.

    Parameters
    ----------
    config : TopKConfig

    Members
    -------
    calibrate : In(1)
        A run begins: place the window by the scores ``seen`` in the next cycle.
    seen : In(score_width)
        OR of the run's scores so far.
    overflow : In(1)
        A counted score is beyond the window.
    ranked : In(1)
        Take ``ranks``.
    ranks : In(ArrayLayout(range(capacity + 1), 2))
        Ranks of the thresholds in the run.
    aim : In(1)
        Update ``targets``, in time for the counters' search.
    targets : Out(ArrayLayout(range(capacity + 1), 2))
        Ranks among the tokens that the pass counts.
    update : In(1)
        The pass is over.
    found : In(ArrayLayout(found_layout(config), 2))
        Where the targets lie, in the cycle of ``update`` and the one before.
    again : Out(1)
        With ``update``: the window is too low; it is calibrated once more.
    finished : Out(1)
        With ``update``: both thresholds are done; else another pass has to follow.
    low, mask : Out(ArrayLayout(score_width, 2))
        Ranges.
    need : Out(ArrayLayout(range(capacity + 1), 2))
        Tokens of each range that are in.
    shift : Out
        Lowest bit of the window.
    calibrated, parted, lead : Out(1)
        How to count.
    """

    def __init__(self, config: TopKConfig) -> None:
        self.config = config
        ranks = data.ArrayLayout(range(config.capacity + 1), 2)
        scores = data.ArrayLayout(unsigned(config.score_width), 2)
        super().__init__(
            {
                "calibrate": In(1),
                "seen": In(config.score_width),
                "overflow": In(1),
                "ranked": In(1),
                "ranks": In(ranks),
                "aim": In(1),
                "targets": Out(ranks),
                "update": In(1),
                "found": In(data.ArrayLayout(found_layout(config), 2)),
                "again": Out(1),
                "finished": Out(1),
                "low": Out(scores),
                "mask": Out(scores),
                "need": Out(ranks),
                "shift": Out(range(config.score_width - config.index_bits + 1)),
                "calibrated": Out(1),
                "parted": Out(1),
                "lead": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        width, index_bits = config.score_width, config.index_bits
        top = (1 << index_bits) - 1
        found, targets, shift, parted = self.found, self.targets, self.shift, self.parted
        done, done_now = Signal(2), Signal(2)
        hit, at_top = Signal(2), Signal()  # as found in the cycle before
        wide_range = Signal(range(config.capacity + 1))  # tokens in the 8-bit threshold's range
        overflow = Signal()
        at_bottom = Signal(init=1)  # shift is 0

        with m.If(self.ranked):
            m.d.sync += self.need.eq(self.ranks)
        with m.If(self.aim):
            m.d.sync += [
                targets[0].eq(self.need[0] + Mux(parted, wide_range, 0)),
                targets[1].eq(self.need[1]),
            ]

        # End of a pass.
        m.d.comb += [
            self.again.eq(self.calibrated & overflow & at_top),
            self.finished.eq(~self.again & done_now.all()),
            self.lead.eq(done[0]),
        ]
        for t in range(2):
            index = Mux(parted, found[t].index[:-1], found[t].index)
            m.d.comb += done_now[t].eq(done[t] | hit[t] | at_bottom)
            m.d.sync += hit[t].eq(found[t].at == targets[t])
            with m.If(self.update & ~self.again & ~done[t]):
                m.d.sync += [
                    self.low[t].eq(self.low[t] | (index << shift)),
                    self.mask[t].eq(Const((1 << width) - 1) << shift),
                    self.need[t].eq(targets[t] - found[t].above),
                ]
        m.d.sync += at_top.eq(found[1].index == top)
        with m.If(self.overflow & self.calibrated):
            m.d.sync += overflow.eq(1)
        with m.If(self.update & ~self.again):
            m.d.sync += [
                self.calibrated.eq(0),
                done.eq(done_now),
                parted.eq((done_now == 0) & (parted | (found[0].index != found[1].index))),
                wide_range.eq(found[1].at - found[1].above),
            ]

        # The window follows in the next cycle, or in the next but one where it is placed anew.
        # Which bits some score reaches is found within chunks first, then across them.
        window_asked, window_first, window_next = Signal(), Signal(), Signal()
        chunk = 8
        partial = Signal(width)
        reach = Signal(width)
        m.d.sync += [
            window_asked.eq(self.calibrate | (self.update & self.again)),
            window_first.eq(window_asked),
            window_next.eq(self.update & ~self.again),
            partial.eq(Cat(self.seen[i : i // chunk * chunk + chunk].any() for i in range(width))),
        ]
        higher = [partial[i:width:chunk].any() for i in range(chunk, width, chunk)] + [Const(0, 1)]
        m.d.comb += reach.eq(Cat(partial[i] | higher[i // chunk] for i in range(width)))
        with m.If(window_first):
            m.d.sync += [
                shift.eq(_count_ones(reach[index_bits:])),
                at_bottom.eq(~reach[index_bits:].any()),
                self.mask[0].eq(~(reach | top)),
                self.low.eq(0),
                self.calibrated.eq(1),
                done.eq(0),
                parted.eq(0),
                overflow.eq(0),
            ]
        step = Mux(parted, index_bits - 1, index_bits)
        with m.If(window_next):
            m.d.sync += [shift.eq(Mux(shift > step, shift - step, 0)), at_bottom.eq(shift <= step)]
        return m


def _count_ones(code: Value) -> Value:
    """Return how many bits of a thermometer code are set."""
    size = len(code)
    highest = [code[i] & ~code[i + 1 : i + 2].any() for i in range(size)]
    return Cat(
        Cat(highest[i] for i in range(size) if i + 1 >> bit & 1).any()
        for bit in range(size.bit_length())
    )
