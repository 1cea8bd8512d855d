"""What a row's partial results merge into: its maximum and divisor, and the step of its sums."""

from dataclasses import dataclass

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import Config
from dtqatten.hw.base.pipeline import delayed, multiplied
from dtqatten.hw.base.row_ring import RowFifo
from dtqatten.hw.merge.places import places
from dtqatten.hw.payloads.merge import (
    FACTOR_BITS,
    held_row_layout,
    merged_row_layout,
)
from dtqatten.hw.payloads.octaves import compared_bits
from dtqatten.hw.payloads.softmax import row_record_layout
from dtqatten.hw.payloads.sums import divided_bits, merged_lead
from dtqatten.hw.softmax.normalizer import scale_layout
from dtqatten.hw.softmax.reciprocal import Reciprocal
from dtqatten.hw.softmax.sink_weight import POWERS, SinkWeight, with_sink

__all__ = ["RowMerge"]


@dataclass(frozen=True)
class _Sides:
    """Both sides of a row, in cycle 3: that of the lower maximum, and the other one.

    Parameters
    ----------
    lower, upper : View of held_row_layout(config)
        A side that saw no key is the lower one.
    apart : Value
        Distance of the maxima.
    new_scaled : Value
        The new side is the lower one.
    alone : Value
        The lower side saw no key.
    """

    lower: data.View
    upper: data.View
    apart: Value
    new_scaled: Value
    alone: Value


class RowMerge(wiring.Component):
    """Merge each row's record with what is held of the row, and invert the divisor.

    With ``d`` the distance of both maxima, ``u = ((d * multiplier) << 3) >> shift``,
    ``F = POWERS[u % 256]`` and ``o = u / 256``, the divisor of the lower side joins that of the
    other one as ``(D*F + 2**(15+o)) >> (16+o)``; a side that saw no key changes nothing. Then the
    row's sink joins, which counts after the last segment. Bit-exact with
    :func:`dtqatten.golden.numerics.segments.merge` and
    :func:`dtqatten.golden.numerics.sinks.sink_weight`. The sum of exponentials is not merged:
    outputs need none, and a row has seen a key if its divisor is not 0.

    Rows are counted over the heads of a segment, up to a head with ``restart``. All segments of
    their rows have the same heads and queries in the same order, ``merge_rows`` rows at most.
    Rows of one segment only are not held, and there can be more.

    Latency: a record accepted in cycle ``t`` is offered from ``t + 34`` on, with sinks from
    ``t + 36`` on. Throughput one record a cycle; a row waits until
    what the segment before has of it is held, 15 cycles after that was accepted. Pipelines never
    stall.

    Parameters
    ----------
    config : Config
        With ``merge_rows``.

    Members
    -------
    i : In(stream.Signature(row_record_layout(config)))
        Records of the softmax.
    o : Out(stream.Signature(merged_row_layout(config, scale_layout(config))))
        Rows in the same order.
    """

    #: Cycles from a record to its lower side's factor, and to the merged divisor, which is held.
    FACTOR, HELD = 9, 14

    @staticmethod
    def latency(config: Config) -> int:
        """Cycles from a record to a row in the output's ring."""
        return RowMerge.HELD + 2 * config.sinks + Reciprocal.LATENCY

    def __init__(self, config: Config) -> None:
        self.config = config
        self.merged_layout = merged_row_layout(config, scale_layout(config))
        super().__init__(
            {
                "i": In(stream.Signature(row_record_layout(config))),
                "o": Out(stream.Signature(self.merged_layout)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, latency = self.config, self.latency(self.config)
        m.submodules.rows = rows = RowFifo(self.merged_layout, latency + RowFifo.LATENCY + 1)
        connect(m, rows.o, flipped(self.o))
        m.submodules.held = held = memory.Memory(
            shape=held_row_layout(config), depth=config.merge_rows, init=[]
        )
        write, read = held.write_port(), held.read_port()
        taken, accept = self.i.p, Signal()
        ends = taken.last_row & taken.last_block & taken.restart
        row, free = places(m, accept, ends, config.merge_rows, self.HELD)
        m.d.comb += [
            self.i.ready.eq(rows.room & (taken.first_segment | free)),
            accept.eq(self.i.valid & self.i.ready),
            rows.reserve.eq(accept),
            read.en.eq(accept),
            read.addr.eq(row),
        ]
        new = delayed(m, taken, 1, "new")
        sides = self._sides(m, new, read.data)
        factor, octave = self._factor(m, new, sides)
        divisor = self._divisor(m, sides, factor, octave)

        # Until the merged row is known, and until the divisor has been inverted.
        merged, inverted = self.HELD - 3, latency - self.HELD
        lead = merged_lead(config)
        held_lead = delayed(m, Mux(sides.alone, sides.upper.lead, lead), merged, "lead")
        keeps = accept & ~taken.last_segment
        m.d.comb += [
            write.en.eq(delayed(m, keeps, self.HELD, "keeps", reset_less=False)),
            write.addr.eq(delayed(m, row, self.HELD, "row")),
            write.data.maximum.eq(delayed(m, sides.upper.maximum, merged, "maximum")),
            write.data.divisor.eq(divisor),
            write.data.lead.eq(held_lead),
        ]
        m.submodules.reciprocal = reciprocal = Reciprocal(divided_bits(config))
        whole = self._with_sink(m, new, sides.upper.maximum, divisor) if config.sinks else divisor
        right = octave + (FACTOR_BITS - 2 - lead) + delayed(m, sides.lower.lead, 6, "lower_lead")
        align = Mux(sides.alone, lead, sides.upper.lead)
        step, scale = rows.row.step, rows.row.scale
        m.d.comb += [
            reciprocal.divisor.eq(whole),
            rows.write.eq(delayed(m, accept, latency, "accepted", reset_less=False)),
            step.fresh.eq(delayed(m, new.first_segment, latency - 1, "fresh")),
            step.new_scaled.eq(delayed(m, sides.new_scaled, latency - 3, "new_scaled")),
            step.factor.eq(delayed(m, factor, latency - self.FACTOR, "late_factor")),
            step.right.eq(delayed(m, right, latency - self.FACTOR, "right")),
            step.align.eq(delayed(m, align, latency - 3, "align")),
            scale.mantissa.eq(reciprocal.o.mantissa),
            scale.shift.eq(reciprocal.o.exponent + delayed(m, held_lead, inverted, "late_lead")),
            scale.output.eq(delayed(m, new.output, latency - 1, "output")),
            rows.row.place.eq(delayed(m, row, latency, "place")),
            rows.row.last_segment.eq(delayed(m, new.last_segment, latency - 1, "last_segment")),
        ]
        return m

    def _sides(self, m: Module, new: data.View, stored: data.View) -> _Sides:
        """Tell the sides of cycle 1 apart, in cycle 3.

        Parameters
        ----------
        m : Module
        new, stored : View
            The record, and what is held of its row.
        """
        layout = held_row_layout(self.config)
        old, came = Signal(layout), Signal(layout)
        m.d.comb += [came[field].eq(new[field]) for field, _ in layout]
        with m.If(~new.first_segment):
            m.d.comb += old.eq(stored)
        difference = Signal(signed(compared_bits(self.config) + 1), reset_less=True)
        old_empty, new_empty = Signal(reset_less=True), Signal(reset_less=True)
        apart = Signal(compared_bits(self.config), reset_less=True)
        new_scaled, alone = Signal(reset_less=True), Signal(reset_less=True)
        m.d.sync += [
            difference.eq(came.maximum - old.maximum),
            old_empty.eq(old.divisor == 0),
            new_empty.eq(came.divisor == 0),
            apart.eq(Mux(difference < 0, -difference, difference)),
            new_scaled.eq(~old_empty & (new_empty | (difference < 0))),
            alone.eq(old_empty | new_empty),
        ]
        old, came = delayed(m, old, 2, "old"), delayed(m, came, 2, "came")
        lower, upper = Signal(layout), Signal(layout)
        m.d.comb += [
            lower.eq(Mux(new_scaled, came.as_value(), old.as_value())),
            upper.eq(Mux(new_scaled, old.as_value(), came.as_value())),
        ]
        return _Sides(lower, upper, apart, new_scaled, alone)

    def _factor(self, m: Module, new: data.View, sides: _Sides) -> tuple[Signal, Signal]:
        """Return factor and octave of the lower side, in cycle ``FACTOR``.

        Parameters
        ----------
        m : Module
        new : View
            The record, in cycle 1.
        sides : _Sides
        """
        multiplier = delayed(m, new.multiplier, 2, "multiplier")
        product = multiplied(m, sides.apart, multiplier, "distance") << 3
        shift = delayed(m, new.shift, 5, "shift")
        by_bytes = Signal(product.shape(), reset_less=True)
        u = Signal(product.shape(), reset_less=True)
        factor, octave = Signal(FACTOR_BITS, reset_less=True), Signal(5, reset_less=True)
        table = Array(Const(value, FACTOR_BITS) for value in POWERS)
        zero = delayed(m, sides.alone, 5, "alone") | u[13:].any()
        m.d.sync += [
            # By whole bytes first, then by the rest.
            by_bytes.eq(product >> (shift[3:] << 3)),
            u.eq(by_bytes >> delayed(m, shift[:3], 1, "shift_rest")),
            factor.eq(Mux(zero, 0, table[u[:8]])),
            octave.eq(u[8:13]),
        ]
        return factor, octave

    def _divisor(self, m: Module, sides: _Sides, factor: Signal, octave: Signal) -> Signal:
        """Return the divisor of both sides, in cycle ``HELD``.

        Parameters
        ----------
        m : Module
        sides : _Sides
        factor, octave : Signal
            Of the lower side.
        """
        lower = delayed(m, sides.lower.divisor, self.FACTOR - 3, "lower_divisor")
        upper = delayed(m, sides.upper.divisor, self.HELD - 4, "upper_divisor")
        product = multiplied(m, lower, factor, "scaled")
        halves = Signal(len(lower) + 1, reset_less=True)
        divisor = Signal(len(upper), reset_less=True)
        m.d.sync += [
            halves.eq(product >> (delayed(m, octave, 3, "octave") + (FACTOR_BITS - 2))),
            divisor.eq(upper + ((halves + 1) >> 1)),
        ]
        return divisor

    def _with_sink(self, m: Module, new: data.View, maximum: Value, divisor: Value) -> Signal:
        """Return the divisor with the row's sink, two cycles after that of its keys.

        Parameters
        ----------
        m : Module
        new : View
            The record, in cycle 1.
        maximum : Value
            That of the row, in cycle 3.
        divisor : Value
        """
        m.submodules.sink_weight = weight = SinkWeight(self.config)
        m.d.comb += [
            weight.maximum.eq(maximum),
            *(
                getattr(weight, field).eq(delayed(m, new[field], 2, f"sink_{field}"))
                for field in ("multiplier", "shift", "sink")
            ),
        ]
        # That of the keys waits for a cycle.
        return with_sink(m, delayed(m, divisor, 1, "divisor_late"), weight.divisor, "divisor")
