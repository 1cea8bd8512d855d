"""Which tokens of a row are in a class: above its threshold, or among the first equal to it."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.payloads.topk import TopKConfig, class_row_layout

__all__ = ["TokenFilter", "counts_below"]


def counts_below(bits: Value) -> list[Value]:
    """Return for every position, and for the end, how many bits below it are set.

    Parallel prefix (Sklansky): a tree of ``log2(len(bits))`` adders in depth.
    """
    sums: list[Value] = list(bits)
    step = 1
    while step < len(sums):
        sums = [
            value + sums[(i & -step) - 1] if i & step else value for i, value in enumerate(sums)
        ]
        step *= 2
    return [bits[0] & 0, *sums]


class TokenFilter(wiring.Component):
    """Mark the tokens of a class, row after row.

    All tokens beyond a threshold's range are in, and the first ``need`` tokens of the range. The
    4-bit class holds the kept tokens that are not in the 8-bit class.

    Latency: ``take`` follows the row by two accepted cycles. Throughput one row a cycle; nothing
    moves while ``advance`` is low.

    Parameters
    ----------
    config : TopKConfig

    Members
    -------
    advance : In(1)
        The row is accepted.
    class_row : In(class_row_layout(config))
        The row's part in a class.
    inside, beyond : In(ArrayLayout(lanes, 2))
        Tokens of the row in each threshold's range (of the kept, of the 8-bit tokens), and beyond
        it; absent tokens are neither.
    need : In(ArrayLayout(range(capacity + 1), 2))
        Tokens of the range that are in; constant during a run.
    any_wide : In(1)
        There is an 8-bit class; constant during a run.
    class_row_next : Out(class_row_layout(config))
        The class row, with ``take``.
    take : Out(lanes)
        Tokens in the class.
    """

    def __init__(self, config: TopKConfig) -> None:
        self.config = config
        super().__init__(
            {
                "advance": In(1),
                "class_row": In(class_row_layout(config)),
                "inside": In(data.ArrayLayout(config.lanes, 2)),
                "beyond": In(data.ArrayLayout(config.lanes, 2)),
                "need": In(data.ArrayLayout(range(config.capacity + 1), 2)),
                "any_wide": In(1),
                "class_row_next": Out(class_row_layout(config)),
                "take": Out(config.lanes),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        lanes, lane_bits = self.config.lanes, self.config.lane_bits
        class_row = Signal.like(self.class_row)
        chosen = []
        for t in range(2):
            inside = Signal(lanes, name=f"inside_{t}")
            beyond = Signal(lanes, name=f"beyond_{t}")
            # Tokens of the range that are still to be taken.
            quota = Signal(range(self.config.capacity + 1), name=f"quota_{t}")
            below = counts_below(inside)
            plenty = quota[lane_bits:].any()  # for all lanes
            rest = quota - below[lanes]
            with m.If(self.advance):
                m.d.sync += [inside.eq(self.inside[t]), beyond.eq(self.beyond[t])]
                with m.If(class_row.valid):
                    m.d.sync += quota.eq(Mux(rest < 0, 0, rest))
                with m.If(self.class_row.first):
                    m.d.sync += quota.eq(self.need[t])
            allowed = Cat(plenty | (below[lane] < quota[:lane_bits]) for lane in range(lanes))
            chosen.append(beyond | inside & allowed)

        kept, wide = chosen[0], Mux(self.any_wide, chosen[1], 0)
        with m.If(self.advance):
            m.d.sync += [
                class_row.eq(self.class_row),
                self.class_row_next.eq(class_row),
                self.take.eq(Mux(class_row.wide, wide, kept & ~wide)),
            ]
        return m
