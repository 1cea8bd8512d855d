"""The normalizer: weighted sums divided by their rows' divisors, as outputs of 16 or 8 bits."""

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import CODE_MAX, OUTPUT_CODE_MIN, Config, ConfigError
from dtqatten.hw.base.export import place
from dtqatten.hw.base.pipeline import delayed, multiplied
from dtqatten.hw.base.replay_store import ReplayStore
from dtqatten.hw.base.row_ring import RowFifo
from dtqatten.hw.payloads.arrays import score_row_layout
from dtqatten.hw.payloads.softmax import (
    LEAD_BITS,
    RECIPROCAL_BITS,
    output_layout,
    row_record_layout,
)
from dtqatten.hw.payloads.sums import divided_bits, whole_sum_width
from dtqatten.hw.softmax.row_parts import describe, row_parts

__all__ = [
    "Normalizer",
    "NormalizerLane",
    "dividing_members",
    "output_beat_layout",
    "part_layout",
    "scale_layout",
]

#: Bits of a channel of the output.
OUTPUT_BITS = 16


def part_layout(config: Config) -> data.StructLayout:
    """A part of a row: ``channels`` consecutive channels of one query.

    ``last_part``: the last ones of these ``cols`` channels of the query; with it ``last_row``: the
    row block's last query, ``last_tile``: its last channels, ``last_block``: of the head's last
    row block.
    """
    return data.StructLayout(
        {
            "channels": range(config.output_lanes + 1),
            "last_part": 1,
            "last_row": 1,
            "last_tile": 1,
            "last_block": 1,
        }
    )


def output_beat_layout(config: Config) -> data.StructLayout:
    """Values of a part, see :func:`part_layout`; those beyond its channels are zero.

    In 8-bit form a value is a code, its sign extended.
    """
    values = data.ArrayLayout(signed(OUTPUT_BITS), config.output_lanes)
    return data.StructLayout({"values": values, **part_layout(config).members})


def scale_layout(config: Config) -> data.StructLayout:
    """What a row's sums are multiplied by, ``mantissa * 2**-(shift + 4)``, and their form."""
    most = divided_bits(config) + (1 << LEAD_BITS) - 1
    return data.StructLayout(
        {"mantissa": RECIPROCAL_BITS, "shift": range(most + 1), "output": output_layout()}
    )


class NormalizerLane(wiring.Component):
    """One channel: ``o = (sum * mantissa + (1 << (shift + 3))) >> (shift + 4)``, saturated.

    In 8-bit form then ``c = (o + (1 << (7 - r))) >> (8 - r)``, saturated to [-120, 119]. Bit-exact
    with :func:`dtqatten.golden.numerics.output.normalize` and ``requantize``.

    Latency 7 cycles, throughput one sum a cycle; never stalls.

    Parameters
    ----------
    config : Config

    Members
    -------
    sum : In(signed(whole_sum_width(config)))
        A weighted sum.
    scale : In(scale_layout(config))
        Of its row.
    value : Out(signed(16))
        The output.
    """

    LATENCY = 7

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "sum": In(signed(whole_sum_width(config))),
                "scale": In(scale_layout(config)),
                "value": Out(signed(OUTPUT_BITS)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        product = multiplied(m, self.sum, self.scale.mantissa, "product")
        shift = delayed(m, self.scale.shift, 3, "shift")
        # Half a unit is added after the bits below it have gone.
        halves = Signal(signed(len(product) - 3), reset_less=True)
        rounded = Signal(signed(OUTPUT_BITS), reset_less=True)
        form = delayed(m, self.scale.output, 5, "output")
        last_form = delayed(m, form, 1, "last_output")
        last_rounded = delayed(m, rounded, 1, "last_rounded")
        m.d.sync += [
            halves.eq((product >> 3) >> shift),
            rounded.eq(_saturated((halves + 1) >> 1, -(1 << 15), (1 << 15) - 1)),
        ]
        # Shifted by 7 - r.
        code_halves = Signal(signed(OUTPUT_BITS), reset_less=True)
        m.d.sync += code_halves.eq(rounded >> ~form.shift)
        code = _saturated((code_halves + 1) >> 1, OUTPUT_CODE_MIN, CODE_MAX)
        m.d.sync += self.value.eq(Mux(last_form.codes, code, last_rounded))
        return m


def _saturated(value: Value, low: int, high: int) -> Value:
    return Mux(value < low, low, Mux(value > high, high, value))


def dividing_members(config: Config) -> dict[str, wiring.Member]:
    """Members of what divides rows: the normalizer, or the merger in its place."""
    return {
        "sums": In(stream.Signature(score_row_layout(config, config.sum_width))),
        "records": In(stream.Signature(row_record_layout(config))),
        "outputs": Out(stream.Signature(output_beat_layout(config))),
        "working": Out(1),
    }


class Normalizer(wiring.Component):
    """Divide each row of weighted sums once, ``output_lanes`` channels a cycle.

    A row of sums is taken in parts; it waits for its record, which serves all channel passes of
    its query. Records of two row blocks are held.

    Latency: a part that sets out in cycle ``t`` is offered from ``t + 11`` on. Throughput one beat
    a cycle. Pipelines never stall: a part sets out when its beat has room.

    Parameters
    ----------
    config : Config
        Without ``merge_rows``.

    Members
    -------
    sums : In(stream.Signature(score_row_layout(config, sum_width)))
        Rows of the value array.
    records : In(stream.Signature(row_record_layout(config)))
        Records of the softmax, one a query.
    outputs : Out(stream.Signature(output_beat_layout(config)))
        Outputs, in the order of the sums.
    working : Out(1)
        A part sets out.

    Raises
    ------
    ConfigError
        If rows can be merged.
    """

    #: Record and part read, then at the lanes, scaled by them.
    LATENCY = 2 + NormalizerLane.LATENCY

    def __init__(self, config: Config) -> None:
        if config.merge_rows:
            raise ConfigError(
                f"merge_rows is {config.merge_rows}, and the normalizer merges no rows: use the "
                "merger in its place, or 0"
            )
        self.config = config
        super().__init__(dividing_members(config))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, lanes = self.config, self.config.output_lanes
        beat_layout = output_beat_layout(config)
        m.submodules.records = records = ReplayStore(row_record_layout(config), 1, 2 * config.rows)
        # Those that set out before the first one is offered, and one more.
        room = self.LATENCY + RowFifo.LATENCY + 1
        m.submodules.beats = beats = RowFifo(beat_layout, room)
        connect(m, beats.o, flipped(self.outputs))
        row = self.sums.p
        go = Signal()
        part = Signal(part_layout(config))
        last, taken = row_parts(m, config, row, go, part)
        describe(m, beats.row, delayed(m, part, self.LATENCY, "part"))
        m.d.comb += [
            records.i.valid.eq(self.records.valid),
            self.records.ready.eq(records.i.ready),
            records.i.p.item.eq(self.records.p),
            go.eq(self.sums.valid & records.ready & beats.room),
            self.sums.ready.eq(go & last),
            self.working.eq(go),
            beats.reserve.eq(go),
            # A row's record serves each part, and each channel pass over the row block.
            records.read.eq(go),
            records.step.eq(last),
            records.rewind.eq(last & row.last_row),
            records.release.eq(last & row.last_row & row.last_tile),
        ]

        record = records.data[0]
        scale = Signal(scale_layout(config))
        m.d.sync += [
            scale.mantissa.eq(record.reciprocal.mantissa),
            scale.shift.eq(record.reciprocal.exponent + record.lead),
            scale.output.eq(record.output),
        ]
        m.d.comb += beats.write.eq(delayed(m, go, self.LATENCY, "go", reset_less=False))
        for i in range(lanes):
            lane = place(m, platform, f"lane_{i}", NormalizerLane, config)
            m.d.comb += [
                lane.sum.eq(taken[i]),
                lane.scale.eq(scale),
                beats.row.values[i].eq(lane.value),
            ]
        return m
