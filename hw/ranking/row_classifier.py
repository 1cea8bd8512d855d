"""Compares the scores of a row with the ranges of the search, lane by lane."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.base.export import place
from dtqatten.hw.payloads.topk import TopKConfig, class_row_layout

__all__ = ["LaneClassifier", "RowClassifier", "window_members"]


def window_members(config: TopKConfig) -> dict[str, wiring.Member]:
    """Ranges and window of a search, as inputs; named as the search's outputs."""
    scores = data.ArrayLayout(unsigned(config.score_width), 2)
    return {
        "low": In(scores),
        "mask": In(scores),
        "shift": In(range(config.score_width - config.index_bits + 1)),
        "calibrated": In(1),
        "parted": In(1),
        "lead": In(1),
    }


class LaneClassifier(wiring.Component):
    """Compare a score with both ranges of the search and pick the bits that a pass counts.

    Ranges and window come from a :class:`~dtqatten.hw.ranking.threshold_search.ThresholdSearch`.

    Latency: ``inside`` and ``beyond`` follow ``word`` by two accepted cycles, since the word is
    registered behind the memory, and the comparisons are too. ``valid`` and ``index`` follow one
    cycle later, whether or not that one is accepted. Throughput one score a cycle; stalls only
    while ``advance`` is low.

    Parameters
    ----------
    config : TopKConfig

    Members
    -------
    advance : In(1)
        ``word`` is accepted.
    word : In(score_width)
        The score.
    counting, here : In(1)
        The row of two accepted cycles ago belongs to a pass; its lane holds a token.
    low, mask, shift, calibrated, parted, lead : In
        Ranges (of the kept, of the 8-bit tokens), window and how to count.
    inside, beyond : Out(2)
        The score is in each range, or above it.
    valid : Out(1)
        The score counts.
    index : Out(index_bits)
        The index at which it counts.
    """

    def __init__(self, config: TopKConfig) -> None:
        self.config = config
        super().__init__(
            {
                "advance": In(1),
                "word": In(config.score_width),
                "counting": In(1),
                "here": In(1),
                **window_members(config),
                "inside": Out(2),
                "beyond": Out(2),
                "valid": Out(1),
                "index": Out(config.index_bits),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        width, index_bits = self.config.score_width, self.config.index_bits
        word = Signal(width, reset_less=True)
        # The window's bits: shifted by a multiple of 4 during the comparisons, by the rest after.
        part = Signal(index_bits + 3, reset_less=True)
        digit = Signal(index_bits)
        m.d.comb += digit.eq(part >> self.shift[:2])
        with m.If(self.advance):
            m.d.sync += [
                word.eq(self.word),
                part.eq(word >> Cat(Const(0, 2), self.shift[2:])),
            ]
        for t in range(2):
            differs = Signal(2, name=f"differs_{t}", reset_less=True)  # a bit a half
            reaches = Signal(name=f"reaches_{t}", reset_less=True)
            bits = (word ^ self.low[t]) & self.mask[t]
            with m.If(self.advance):
                m.d.sync += [
                    differs.eq(Cat(bits[: width // 2].any(), bits[width // 2 :].any())),
                    reaches.eq(word >= self.low[t]),
                ]
            m.d.comb += [
                self.inside[t].eq(differs == 0),
                self.beyond[t].eq(reaches & (differs != 0)),
            ]
        inside = self.inside
        with m.If(self.calibrated):
            m.d.sync += [
                self.valid.eq(1),
                self.index.eq(Mux(inside[0], digit, (1 << index_bits) - 1)),
            ]
        with m.Elif(self.parted):
            m.d.sync += [
                self.valid.eq(inside[0] | inside[1]),
                self.index.eq(Cat(digit[:-1], inside[1])),
            ]
        with m.Else():
            m.d.sync += [
                self.valid.eq(Mux(self.lead, inside[1], inside[0])),
                self.index.eq(digit),
            ]
        with m.If(~self.counting | ~self.here):
            m.d.sync += self.valid.eq(0)
        return m


class RowClassifier(wiring.Component):
    """A :class:`LaneClassifier` per lane, and the row's description, delayed alike.

    Latency: outputs follow ``scores`` by two accepted cycles, ``valid`` and ``index`` by one cycle
    more. Throughput one row a cycle; ``advance`` low holds all but ``valid`` and ``index``.

    Parameters
    ----------
    config : TopKConfig

    Members
    -------
    advance : In(1)
        The row is accepted.
    scores : In(ArrayLayout(score_width, lanes))
        The row's scores.
    fetched, lanes, class_row : In
        The row's description, as of :class:`~dtqatten.hw.ranking.run_memory.RowReader`: it belongs
        to a pass; its lanes that hold a token; its part in a class.
    low, mask, shift, calibrated, parted, lead : In
        As of :class:`LaneClassifier`.
    inside, beyond : Out(ArrayLayout(lanes, 2))
        Tokens in each threshold's range (of the kept, of the 8-bit tokens), and beyond it.
    overflow : Out(1)
        The row belongs to a pass, and a token is not in the range of the kept.
    class_row_next : Out(class_row_layout(config))
        The class row, with ``inside``.
    valid : Out(lanes)
        Tokens that count.
    index : Out(ArrayLayout(index_bits, lanes))
        The indices at which they count.
    """

    def __init__(self, config: TopKConfig) -> None:
        self.config = config
        lanes = config.lanes
        super().__init__(
            {
                "advance": In(1),
                "scores": In(data.ArrayLayout(unsigned(config.score_width), lanes)),
                "fetched": In(1),
                "lanes": In(lanes),
                "class_row": In(class_row_layout(config)),
                **window_members(config),
                "inside": Out(data.ArrayLayout(lanes, 2)),
                "beyond": Out(data.ArrayLayout(lanes, 2)),
                "overflow": Out(1),
                "class_row_next": Out(class_row_layout(config)),
                "valid": Out(lanes),
                "index": Out(data.ArrayLayout(config.index_bits, lanes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        counting, here, class_row = self.fetched, self.lanes, self.class_row
        with m.If(self.advance):
            for stage in ("word", "compared"):
                earlier = counting, here, class_row
                counting = Signal(name=f"counting_{stage}")
                here = Signal(self.config.lanes, name=f"here_{stage}")
                class_row = Signal(class_row.shape(), name=f"class_row_{stage}")
                m.d.sync += [
                    counting.eq(earlier[0]),
                    here.eq(earlier[1]),
                    class_row.eq(earlier[2]),
                ]
        lanes = []
        for number, score in enumerate(self.scores):
            lane = place(m, platform, f"lane_{number}", LaneClassifier, self.config)
            m.d.comb += [
                lane.advance.eq(self.advance),
                lane.word.eq(score),
                lane.counting.eq(counting),
                lane.here.eq(here[number]),
                *(getattr(lane, n).eq(getattr(self, n)) for n in window_members(self.config)),
            ]
            lanes.append(lane)
        for t in range(2):
            m.d.comb += [
                self.inside[t].eq(Cat(lane.inside[t] for lane in lanes) & here),
                self.beyond[t].eq(Cat(lane.beyond[t] for lane in lanes) & here),
            ]
        outside = here & ~Cat(lane.inside[0] for lane in lanes)
        m.d.comb += [
            self.overflow.eq(counting & outside.any()),
            self.class_row_next.eq(class_row),
            self.valid.eq(Cat(lane.valid for lane in lanes)),
            self.index.eq(Cat(lane.index for lane in lanes)),
        ]
        return m
