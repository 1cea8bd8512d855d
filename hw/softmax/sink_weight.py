"""What a sink adds to a row's sum and divisor."""

from amaranth.hdl import Array, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.base.pipeline import delayed, multiplied
from dtqatten.hw.payloads.octaves import compared_bits
from dtqatten.hw.payloads.softmax import MULTIPLIER_BITS, NO_SINK, SHIFT_BITS, SINK_BITS
from dtqatten.hw.payloads.sums import SINK_OCTAVES, SINK_WEIGHT_BITS, sink_divisor_bits, top_code

__all__ = ["POWERS", "SinkWeight", "with_sink"]

#: One octave of ``2**-x`` in 17 bits, at the middle of each of 256 steps but for the first.
POWERS = [1 << 16, *(round(2 ** (16 - (i + 0.5) / 256)) for i in range(1, 256))]


class SinkWeight(wiring.Component):
    """Exponential of a sink relative to a row's maximum, and its share of the divisor.

    ``u = ((maximum * multiplier << 3) >> shift) - sink``, at least -7424, in 1/256 octaves;
    ``e = POWERS[u % 256] >> (u / 256)``, a left shift where ``u`` is negative, 0 without a sink;
    ``divisor = (top * e + 2**11) >> 12``. Bit-exact with
    :func:`dtqatten.golden.numerics.sinks.sink_weight`. A right shift drops bits of the table's
    entry before ``top`` multiplies it, a left one adds zeros behind: so the product is narrow.

    Latency: ``e`` 10 cycles, ``divisor`` 12. Throughput one row a cycle; never stalls.

    Parameters
    ----------
    config : Config

    Members
    -------
    maximum : In(signed(compared_bits(config)))
        Largest score of the row.
    multiplier, shift : In(16), In(6)
        Factor of the row; the shift is at most 40.
    sink : In(signed(16))
        In 1/256 octaves; ``NO_SINK`` for none.
    e : Out(46)
        What joins the sum.
    divisor : Out(sink_divisor_bits(config))
        What joins the divisor.
    """

    #: Cycles to ``e``, and to ``divisor``.
    LATENCY, DIVISOR = 10, 12

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "maximum": In(signed(compared_bits(config))),
                "multiplier": In(MULTIPLIER_BITS),
                "shift": In(SHIFT_BITS),
                "sink": In(signed(SINK_BITS)),
                "e": Out(SINK_WEIGHT_BITS),
                "divisor": Out(sink_divisor_bits(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        product = multiplied(m, self.maximum, self.multiplier, "product") << 3
        shift = delayed(m, self.shift, 3, "shift")
        sink = delayed(m, self.sink, 5, "sink")
        # Shifted by whole bytes first, then by the rest.
        by_bytes = Signal(product.shape(), reset_less=True)
        octaves = Signal(product.shape(), reset_less=True)
        m.d.sync += [
            by_bytes.eq(product >> (shift[3:] << 3)),
            octaves.eq(by_bytes >> delayed(m, shift[:3], 1, "shift_rest")),
        ]
        # Beyond 17 bits every sink is too far away, or too near.
        most = (1 << SINK_BITS) - 1
        near = Mux(octaves < ~most, ~most, Mux(octaves > most, most, octaves))
        u = Signal(signed(SINK_BITS + 2), reset_less=True)
        absent = Signal(reset_less=True)
        m.d.sync += [u.eq(near - sink), absent.eq(sink == NO_SINK)]

        # From 17 octaves below on nothing is left.
        least, below = -SINK_OCTAVES << 8, 17 << 8
        cut = Signal(signed(14), reset_less=True)
        zero = Signal(reset_less=True)
        m.d.sync += [cut.eq(Mux(u < least, least, u)), zero.eq(absent | (u >= below))]
        table = Array(Const(value, 17) for value in POWERS)
        fraction = Signal(17, reset_less=True)
        m.d.sync += fraction.eq(Mux(zero, 0, table[cut[:8]]))
        octave = delayed(m, cut[8:].as_signed(), 1, "octave")
        right, left = Signal(5), Signal(5)
        m.d.comb += [right.eq(Mux(octave < 0, 0, octave)), left.eq(Mux(octave < 0, -octave, 0))]

        kept = Signal(17, reset_less=True)
        m.d.sync += kept.eq(fraction >> right)
        up = delayed(m, left, 1, "left")
        weight = Signal(17 + top_code(self.config).bit_length(), reset_less=True)
        m.d.sync += [self.e.eq(kept << up), weight.eq(kept * top_code(self.config))]
        # Half a unit is added after the bits below it have gone.
        halves = Signal(len(self.divisor) + 1, reset_less=True)
        m.d.sync += [
            halves.eq((weight << delayed(m, up, 1, "left_late")) >> 11),
            self.divisor.eq((halves + 1) >> 1),
        ]
        return m


def with_sink(m: Module, keys: Value, sink: Value, name: str) -> Signal:
    """Return a row's sum or divisor with what its sink adds, a cycle later.

    Parameters
    ----------
    m : Module
    keys : Value
        What the row's keys give, 0 if it sees none: then the sink adds nothing either.
    sink : Value
    name : str
        Of the result.
    """
    whole = Signal((keys + sink).shape(), name=f"{name}_whole", reset_less=True)
    m.d.sync += whole.eq(keys + Mux(keys == 0, 0, sink))
    return whole
