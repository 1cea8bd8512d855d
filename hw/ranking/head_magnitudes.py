"""Magnitudes of outputs, added up head by head on their way to the writer."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.base.pipeline import delayed, multiplied, reduced, reduction_latency
from dtqatten.hw.base.row_ring import RowFifo
from dtqatten.hw.payloads.heads import weight_layout
from dtqatten.hw.payloads.ranking import IMPORTANCE_BITS
from dtqatten.hw.softmax.normalizer import OUTPUT_BITS, output_beat_layout

__all__ = ["HeadMagnitudes"]

#: Heads whose sums wait to be ranked, or are under way.
SUMS = 4


class HeadMagnitudes(wiring.Component):
    """Add up the magnitudes of each head's outputs, weighted, while they pass.

    ``min((sum(|o|) * multiplier) >> shift, 2**32 - 1)``, as
    :func:`dtqatten.golden.numerics.heads.drawn`.

    Latency: none of the outputs; a sum is offered ``8 + log2(output_lanes)`` cycles after its
    head's last beat. Throughput a beat a cycle. The last beat of a head waits for its weight, and
    for the sums of four heads before it: they are taken much faster than heads are computed.

    Parameters
    ----------
    config : Config

    Members
    -------
    i, o : In, Out(stream.Signature(output_beat_layout(config)))
        Outputs of the core, head by head, and the same for the writer.
    weights : In(stream.Signature(weight_layout()))
        Of each head, in their order.
    sums : Out(stream.Signature(32))
        Of each head.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "i": In(stream.Signature(output_beat_layout(config))),
                "weights": In(stream.Signature(weight_layout())),
                "o": Out(stream.Signature(output_beat_layout(config))),
                "sums": Out(stream.Signature(unsigned(IMPORTANCE_BITS))),
            }
        )

    @staticmethod
    def sum_bits(config: Config) -> int:
        """Bits of a head's sum before it is weighted."""
        return (config.n_max * config.d_head << OUTPUT_BITS - 1).bit_length()

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, beat = self.config, self.i.p
        lanes = config.output_lanes
        layout = data.StructLayout({"sum": unsigned(IMPORTANCE_BITS)})
        m.submodules.fifo = fifo = RowFifo(layout, SUMS)
        m.d.comb += [
            self.sums.valid.eq(fifo.o.valid),
            self.sums.p.eq(fifo.o.p.sum),
            fifo.o.ready.eq(self.sums.ready),
        ]
        ends, may, moves = Signal(), Signal(), Signal()
        m.d.comb += [
            ends.eq(beat.last_part & beat.last_row & beat.last_tile & beat.last_block),
            may.eq(~ends | (fifo.room & self.weights.valid)),
            self.o.valid.eq(self.i.valid & may),
            self.o.p.eq(beat),
            moves.eq(self.o.valid & self.o.ready),
            self.i.ready.eq(moves),
            self.weights.ready.eq(moves & ends),
            fifo.reserve.eq(moves & ends),
        ]

        # A beat's magnitudes, then their sum.
        sizes = [Signal(unsigned(OUTPUT_BITS), name=f"size_{i}") for i in range(lanes)]
        for size, value in zip(sizes, beat.values, strict=True):
            m.d.sync += size.eq(Mux(value < 0, -value, value))
        latency = 1 + reduction_latency(lanes)
        added = reduced(m, sizes, lambda a, b: a + b, "added")
        adds = delayed(m, moves, latency, "adds", reset_less=False)
        closes = delayed(m, self.weights.ready, latency, "closes", reset_less=False)
        weight = delayed(m, self.weights.p, latency, "weight")
        # A head's sum; the first beat of a head begins it.
        total, fresh = Signal(self.sum_bits(config), reset_less=True), Signal(init=1)
        with m.If(adds):
            m.d.sync += [total.eq(Mux(fresh, 0, total) + added), fresh.eq(closes)]
        # It is weighted in four cycles.
        multiplier = delayed(m, weight.multiplier, 1, "multiplier")
        shift = delayed(m, weight.shift, 4, "shift")
        product = multiplied(m, total, multiplier, "product")
        scaled = Signal(len(product), reset_less=True)
        m.d.sync += scaled.eq(product >> shift)
        over = scaled[IMPORTANCE_BITS:].any() if len(scaled) > IMPORTANCE_BITS else 0
        m.d.comb += [
            fifo.row.sum.eq(Mux(over, (1 << IMPORTANCE_BITS) - 1, scaled)),
            fifo.write.eq(delayed(m, closes, 5, "written", reset_less=False)),
        ]
        return m
