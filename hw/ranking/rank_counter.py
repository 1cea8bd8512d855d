"""Counters of how many tokens reach each index, and the search for two ranks among them."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.base.pipeline import delayed
from dtqatten.hw.payloads.topk import TopKConfig, found_layout

__all__ = ["RankCounter", "any_of", "thermometer", "total"]


def total(values: list[Value]) -> Value:
    """Add values in a balanced tree."""
    if len(values) == 1:
        return values[0]
    half = len(values) // 2
    return total(values[:half]) + total(values[half:])


def any_of(values: list[Value]) -> Value:
    """OR values in a balanced tree."""
    while len(values) > 1:
        values = [a | b for a, b in zip(values[::2], values[1::2], strict=True)]
    return values[0]


def thermometer(index: Value) -> Value:
    """Return a value whose bit ``j`` says that ``index >= j``."""
    code: Value = Const(1, 1)
    for bit in index:
        every = bit.replicate(len(code))
        code = Cat(code | every, code & every)
    return code


class RankCounter(wiring.Component):
    """Count tokens cumulatively by index, and find the index of a rank.

    Counter ``j`` counts the tokens whose index is at least ``j``. Counts never increase with ``j``,
    so the token of rank ``r`` (the ``r``-th largest) has the index of the last counter that is at
    least ``r``: a comparison per counter, and no sum over bins.

    Latency: tokens are in the counters three cycles after they are presented, and in ``found``
    after :meth:`latency` cycles. Throughput one beat a cycle; never stalls.

    Parameters
    ----------
    config : TopKConfig

    Members
    -------
    valid : In(lanes)
        Lanes that hold a token to count.
    index : In(ArrayLayout(index_bits, lanes))
        Their indices.
    clear : In(1)
        Zero the counters, in place of counting.
    targets : In(ArrayLayout(range(capacity + 1), 2))
        Ranks to find, at least 1.
    found : Out(ArrayLayout(found_layout(config), 2))
        Where they lie, by counters and targets of two cycles ago (three with slow logic), if
        counters have not changed since. All zero for a rank that exceeds the tokens counted.
    """

    @staticmethod
    def latency(config: TopKConfig) -> int:
        """Cycles from tokens presented to ``found``."""
        return 5 + config.slow_logic

    def __init__(self, config: TopKConfig) -> None:
        self.config = config
        super().__init__(
            {
                "valid": In(config.lanes),
                "index": In(data.ArrayLayout(config.index_bits, config.lanes)),
                "clear": In(1),
                "targets": In(data.ArrayLayout(range(config.capacity + 1), 2)),
                "found": Out(data.ArrayLayout(found_layout(config), 2)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        bins = 1 << config.index_bits

        # An index is at least ``j`` if its high part exceeds that of ``j``, or equals it and its
        # low part is at least that of ``j``.
        reached = []
        low_bits = config.index_bits // 2
        for lane in range(config.lanes):
            low = Signal(1 << low_bits, name=f"low_{lane}")
            high = Signal(1 << config.index_bits - low_bits, name=f"high_{lane}")
            code = Signal(bins, name=f"reached_{lane}")
            index = self.index[lane]
            m.d.sync += [
                low.eq(thermometer(index[:low_bits])),
                high.eq(Mux(self.valid[lane], thermometer(index[low_bits:]), 0)),
            ]
            m.d.comb += code.eq(
                Cat(
                    low & at.replicate(len(low)) | above.replicate(len(low))
                    for at, above in zip(high, [*high[1:], Const(0, 1)], strict=True)
                )
            )
            reached.append(code)

        counts = []
        for j in range(bins):
            beat = Signal(range(config.lanes + 1), name=f"beat_{j}")
            count = Signal(range(config.capacity + 1), name=f"count_{j}")
            m.d.sync += [
                beat.eq(total([code[j] for code in reached])),
                count.eq(Mux(self.clear, 0, count + beat)),
            ]
            counts.append(count)

        for t in range(2):
            enough = Signal(bins, name=f"enough_{t}")
            match = Signal(bins, name=f"match_{t}")
            m.d.comb += enough.eq(Cat(count >= self.targets[t] for count in counts))
            m.d.sync += match.eq(enough & ~(enough >> 1))

            for field, values in (
                ("index", [Const(j, config.index_bits) for j in range(bins)]),
                ("at", counts),
                ("above", [*counts[1:], Const(0, 1)]),
            ):
                picked = [Mux(match[j], value, 0) for j, value in enumerate(values)]
                if config.slow_logic:
                    # Chunks first, in a cycle of their own.
                    chunk = 1 << config.index_bits // 2
                    picked = [
                        delayed(m, any_of(picked[i : i + chunk]), 1, f"{field}_{t}_{i}")
                        for i in range(0, bins, chunk)
                    ]
                m.d.sync += self.found[t][field].eq(any_of(picked))
        return m
