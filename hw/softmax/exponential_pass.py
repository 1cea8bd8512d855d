"""Second pass of the softmax: exponentials, their sums, and weights for P x V."""

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.base.export import place
from dtqatten.hw.base.pipeline import delayed, reduced, reduction_latency
from dtqatten.hw.base.replay_store import ReplayStore
from dtqatten.hw.payloads.softmax import (
    EXPONENTIAL_BITS,
    GAIN_BITS,
    GAINED_BITS,
    LEAD_BITS,
    divisor_bits,
    exponential_row_layout,
    masked_row_layout,
    maximum_layout,
    normalizer_layout,
    reduced_layout,
    row_record_layout,
    sum_bits,
    tiles,
    top_code,
    unseen,
    weight_row_layout,
)
from dtqatten.hw.softmax.exponential import Exponential
from dtqatten.hw.softmax.reciprocal import Reciprocal
from dtqatten.hw.softmax.row_fold import RowFold

__all__ = ["ExponentialPass", "narrowing", "sevenfold", "value_stream", "value_token_layout"]


def value_token_layout() -> data.StructLayout:
    """What a weight needs of its value: ``gain`` in 1/256, and ``narrow``, as in a key."""
    return data.StructLayout({"gain": unsigned(GAIN_BITS), "narrow": unsigned(1)})


def value_stream() -> stream.Signature:
    """The values of a head, in their order."""
    return stream.Signature(data.StructLayout({"item": value_token_layout(), "last": unsigned(1)}))


def sevenfold(value: Value) -> Value:
    """``7 * value``: what :func:`narrowing` starts from, as all digits of the top code are 7."""
    return (value << 3) - value


def narrowing(sevenfold: Value, narrow: Value, drop: int, planes: int) -> Value:
    """Times the top code; drop ``drop`` fraction bits, or all below the highest nibble, half up.

    The second rounding is of the rounded code, as in the golden model; its constant joins that
    of the first, so that it costs no adder.
    """
    product = sum(sevenfold << 4 * i for i in range(planes))
    half = 1 << drop - 1
    code_half = sum(8 << 4 * i for i in range(planes - 1))
    kept = Mux(narrow, (-1 << 4 * (planes - 1)) & ((1 << 4 * planes) - 1), (1 << 4 * planes) - 1)
    return ((product + Mux(narrow, half + (code_half << drop), half)) >> drop) & kept


class ExponentialPass(wiring.Component):
    """Exponentials of masked score rows, their row sums, and what rows are divided by.

    Without V gains the row maximum has weight ``top`` whatever else is in the row, so weights
    leave here, ``p = (e16 * top + 2**15) >> 16``, then narrowed to the highest nibble for tokens
    and queries that ask for it, and the divisor is ``16 * sum(p)``. With V gains
    they are relative to the row's largest ``e16 * gain``, so only ``lead`` is found here, and the
    divisor is ``(top * sum(e16) + 2**11) >> 12``.

    Latency: ``exponentials`` 8 cycles, ``weights`` 10, ``reduced`` ``28 + log2(cols)`` (rounded
    up), ``row_record`` ``30 + log2(cols)``. Throughput one row a cycle; never stalls.

    Parameters
    ----------
    config : Config

    Members
    -------
    i_valid, i, record : In
        A masked row and its record, as of :class:`~dtqatten.hw.softmax.row_buffer.RowBuffer`.
    values : In(value_stream())
        Those of each head once, ahead of its rows; ``gain`` or ``narrow`` is used, with and
        without V gains.
    exponentials_valid, exponentials : Out
        The row's exponentials.
    reduced : Out(reduced_layout())
        A row has joined its sum, and that has been inverted.
    normalizer : Out(normalizer_layout(config))
        What the next pass needs of the row.
    weights_valid, weights : Out
        Without V gains: the row's weights.
    row_record_valid, row_record : Out
        What to divide P x V of a row by.
    """

    EXPONENTIALS = Exponential.LATENCY
    #: Less the levels of the sum.
    RECORD = 30

    def __init__(self, config: Config) -> None:
        self.config = config
        optional = (
            {}
            if config.v_gains
            else {"weights_valid": Out(1), "weights": Out(weight_row_layout(config))}
        )
        super().__init__(
            {
                "i_valid": In(1),
                "i": In(masked_row_layout(config)),
                "record": In(maximum_layout(config)),
                "values": In(value_stream()),
                "exponentials_valid": Out(1),
                "exponentials": Out(exponential_row_layout(config)),
                "reduced": Out(reduced_layout()),
                "normalizer": Out(normalizer_layout(config)),
                "row_record_valid": Out(1),
                "row_record": Out(row_record_layout(config)),
                **optional,
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        levels = reduction_latency(config.cols)
        top = top_code(config)

        shift = delayed(m, self.record.shift, 3, "shift")
        e16 = []
        for c in range(config.cols):
            lane = place(m, platform, f"exponential_{c}", Exponential, config)
            m.d.comb += [
                lane.score.eq(self.i.scores[c]),
                lane.maximum.eq(self.record.maximum),
                lane.multiplier.eq(self.record.multiplier),
                lane.shift.eq(shift),
                self.exponentials.exponentials[c].eq(lane.e16),
            ]
            e16.append(lane.e16)
            if config.count_normalize:
                sees = self.i.scores[c] != unseen(config)
                seen = delayed(m, sees, self.EXPONENTIALS, f"seen_{c}")
                m.d.comb += self.exponentials.seen[c].eq(seen)
        arrived = Signal(reduced_layout())
        flags = ("last_row", "last_tile", "last_block")
        m.d.comb += [arrived.valid.eq(self.i_valid)]
        m.d.comb += [arrived[flag].eq(self.i[flag]) for flag in flags]
        early = delayed(m, arrived, self.EXPONENTIALS - 2, "early", reset_less=False)
        here = delayed(m, early, 2, "here", reset_less=False)
        keys = delayed(m, self.i.keys, self.EXPONENTIALS, "keys")
        m.d.comb += [self.exponentials_valid.eq(here.valid), self.exponentials.keys.eq(keys)]
        m.d.comb += [self.exponentials[flag].eq(here[flag]) for flag in flags]

        def add(a: Value, b: Value) -> Value:
            return a + b

        def folded(name: str, at: Value, lanes: list[Value], bits: int, kind: str) -> RowFold:
            m.submodules[name] = fold = RowFold(config.rows, unsigned(bits), kind)
            combine = add if kind == "sum" else lambda a, b: Mux(a > b, a, b)
            m.d.comb += [
                fold.i.eq(delayed(m, at, levels, f"{name}_at", reset_less=False)),
                fold.value.eq(reduced(m, lanes, combine, name)),
            ]
            return fold

        bits = sum_bits(config, EXPONENTIAL_BITS)
        total = folded("exponential_sum", here, e16, bits, "sum")
        m.submodules.sum_reciprocal = sum_reciprocal = Reciprocal(bits)
        m.d.comb += [
            sum_reciprocal.divisor.eq(total.total),
            self.normalizer.reciprocal.eq(sum_reciprocal.o),
            self.reduced.eq(
                delayed(m, total.o, sum_reciprocal.latency, "reduced", reset_less=False)
            ),
        ]

        # Gained by their values, weights come a cycle after the exponentials, else two.
        after = delayed(m, here, 1 if config.v_gains else 2, "after", reset_less=False)
        gained = []
        divisor_width = divisor_bits(config)
        m.submodules.reciprocal = reciprocal = Reciprocal(divisor_width)
        item = "gain" if config.v_gains else "narrow"
        m.submodules.values = values = ReplayStore(
            data.StructLayout({item: value_token_layout()[item].shape}),
            config.cols,
            3 * tiles(config),
        )
        row_end = early.last_row
        m.d.comb += [
            values.i.valid.eq(self.values.valid),
            values.i.p.item[item].eq(self.values.p.item[item]),
            values.i.p.last.eq(self.values.p.last),
            self.values.ready.eq(values.i.ready),
            values.read.eq(early.valid),
            values.step.eq(row_end),
            values.rewind.eq(row_end & early.last_tile),
            values.release.eq(row_end & early.last_tile & early.last_block),
        ]
        # Read early enough to wait for a cycle: the memory is slow.
        value = delayed(m, values.data, 1, "value")
        if config.v_gains:
            for c in range(config.cols):
                weight = Signal(GAINED_BITS, name=f"gained_{c}", reset_less=True)
                m.d.sync += weight.eq(e16[c] * value[c].gain)
                gained.append(weight)
            largest = folded("largest", after, gained, GAINED_BITS, "max")
            lead = Signal(LEAD_BITS, reset_less=True)
            length = Signal(range(GAINED_BITS + 1))
            for i in range(GAINED_BITS):
                with m.If(largest.total[i]):
                    m.d.comb += length.eq(i + 1)
            divisor = Signal(divisor_width, reset_less=True)
            m.d.sync += [
                lead.eq(Mux(length == 0, 0, GAINED_BITS - length)),
                divisor.eq((total.total * top + (1 << 11)) >> 12),
            ]
            found = delayed(m, largest.o, 1, "found", reset_less=False)
            divisor = delayed(m, divisor, 1, "divisor")
            # Lead is two cycles behind the sum that ``sum_reciprocal`` inverts.
            lead_late = delayed(m, lead, sum_reciprocal.latency - 2, "lead")
            m.d.comb += [
                self.normalizer.lead.eq(lead_late),
                self.normalizer.narrow.eq(
                    delayed(m, self.record.narrow, self.RECORD - 2 + levels, "narrow")
                ),
                self.row_record.lead.eq(delayed(m, lead_late, 2, "lead_late")),
            ]
        else:
            narrow_query = delayed(m, self.record.narrow, self.EXPONENTIALS, "narrow")
            for c in range(config.cols):
                seven = Signal(sevenfold(e16[c]).shape(), name=f"seven_{c}", reset_less=True)
                weight = Signal(4 * config.planes, name=f"weight_{c}", reset_less=True)
                narrow = delayed(m, value[c].narrow | narrow_query, 1, f"narrow_{c}")
                m.d.sync += [
                    seven.eq(sevenfold(e16[c])),
                    weight.eq(narrowing(seven, narrow, 16, config.planes)),
                ]
                m.d.comb += self.weights.weights[c].eq(weight)
                gained.append(weight)
            m.d.comb += [
                self.weights_valid.eq(after.valid),
                self.weights.keys.eq(delayed(m, keys, 2, "weight_keys")),
                self.weights.narrow.eq(delayed(m, narrow_query, 2, "weight_narrow")),
            ]
            m.d.comb += [self.weights[flag].eq(after[flag]) for flag in flags]
            # Four fraction bits, which the sum itself does not have.
            sum_of_weights = folded("weight_sum", after, gained, divisor_width - 4, "sum")
            divisor, found = sum_of_weights.total << 4, sum_of_weights.o
        wait = reciprocal.latency
        # From the row read to its record, as long as its sum, its inversion and the rest take.
        output_wait = self.RECORD + levels
        done = delayed(m, found, wait, "done", reset_less=False)
        m.d.comb += [
            reciprocal.divisor.eq(divisor),
            self.row_record_valid.eq(done.valid & done.last_tile),
            self.row_record.divisor.eq(delayed(m, reciprocal.divisor, wait, "record_divisor")),
            self.row_record.reciprocal.eq(reciprocal.o),
            self.row_record.output.eq(delayed(m, self.record.output, output_wait, "output")),
            self.row_record.last_row.eq(done.last_row),
            self.row_record.last_block.eq(done.last_block),
        ]
        return m
