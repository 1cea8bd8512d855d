"""The merger: segments of a row's keys joined one after another, and the row divided at the end."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import connect, flipped
from amaranth.utils import ceil_log2

from dtqatten.configuration.core import Config, ConfigError
from dtqatten.hw.base.export import place
from dtqatten.hw.base.pipeline import delayed
from dtqatten.hw.base.replay_store import ReplayStore
from dtqatten.hw.base.row_ring import RowFifo
from dtqatten.hw.merge.merge_lane import MergeLane
from dtqatten.hw.merge.places import places
from dtqatten.hw.merge.row_merge import RowMerge
from dtqatten.hw.payloads.sums import whole_sum_width
from dtqatten.hw.softmax.normalizer import (
    NormalizerLane,
    dividing_members,
    output_beat_layout,
    part_layout,
)
from dtqatten.hw.softmax.row_parts import describe, row_parts

__all__ = ["Merger", "row_words"]


def row_words(config: Config) -> int:
    """Parts of ``output_lanes`` channels that a row has."""
    lanes, cols = config.output_lanes, config.cols
    passes = [min(cols, config.d_head - left) for left in range(0, config.d_head, cols)]
    return sum(-(-channels // lanes) for channels in passes)


class Merger(wiring.Component):
    """Merge each row's sums of a segment with those so far; divide them after the last segment.

    In place of the :class:`~dtqatten.hw.softmax.normalizer.Normalizer` where rows can be merged,
    with the same lanes to divide, ``output_lanes`` channels a cycle. What is held of a row is its
    sums, in a memory here, and its maximum, divisor and lead, in
    :class:`~dtqatten.hw.merge.row_merge.RowMerge`. Sums of a segment that is not the last one are
    taken, merged and held; only those of the last one give outputs.

    Latency: a part that sets out in cycle ``t`` is offered from ``t + 17`` on. Throughput one part
    a cycle; a head of fewer than 8 parts waits until the parts of the head before, which may be the
    segment before, are held, 8 cycles after they set out. Backpressure of ``outputs`` stops parts
    from setting out, those of other segments too.

    Parameters
    ----------
    config : Config
        With ``merge_rows``.

    Members
    -------
    sums : In(stream.Signature(score_row_layout(config, sum_width)))
        Rows of the value array.
    records : In(stream.Signature(row_record_layout(config)))
        Records of the softmax, one a query and segment.
    outputs : Out(stream.Signature(output_beat_layout(config)))
        Outputs of last segments, in the order of their sums.
    working : Out(1)
        A part sets out.

    Raises
    ------
    ConfigError
        If no row is held.
    """

    #: Row and part read, then at the lanes; merged, which is held then; divided.
    TAKEN = 2
    HELD = TAKEN + MergeLane.LATENCY
    LATENCY = HELD + NormalizerLane.LATENCY

    def __init__(self, config: Config) -> None:
        if not config.merge_rows:
            raise ConfigError(
                "merge_rows is 0: say how many rows the merger holds, or use the normalizer"
            )
        self.config = config
        super().__init__(dividing_members(config))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, lanes = self.config, self.config.output_lanes
        width = whole_sum_width(config)
        beat_layout = output_beat_layout(config)
        merge = place(m, platform, "row_merge", RowMerge, config)
        connect(m, flipped(self.records), merge.i)
        merged_layout = merge.o.p.shape()
        m.submodules.rows = rows = ReplayStore(merged_layout, 1, 2 * config.rows)
        # Beats that set out before the first one is offered, and one more; whether a part gives one
        # is known two cycles late.
        m.submodules.beats = beats = RowFifo(
            beat_layout, self.LATENCY + RowFifo.LATENCY + 1, spare=self.TAKEN
        )
        connect(m, beats.o, flipped(self.outputs))
        words = row_words(config)
        m.submodules.held = held = memory.Memory(
            shape=lanes * width, depth=config.merge_rows << ceil_log2(words), init=[]
        )
        write, read = held.write_port(), held.read_port()

        row, go, part = self.sums.p, Signal(), Signal(part_layout(config))
        last, taken = row_parts(m, config, row, go, part)
        describe(m, beats.row, delayed(m, part, self.LATENCY, "part"))
        block_end = last & row.last_row & row.last_tile
        _, free = places(m, go, block_end & row.last_block, self.HELD, self.HELD - 1)
        # Of the first part of this channel pass, and of the one at hand, among those of a row.
        base, word = Signal(range(words)), Signal(range(words))
        with m.If(go):
            m.d.sync += word.eq(Mux(last, base, word + 1))
            with m.If(last & row.last_row):
                after = Mux(row.last_tile, 0, word + 1)
                m.d.sync += [base.eq(after), word.eq(after)]
        # The row's place comes with what is known of it.
        address = Cat(delayed(m, word, 1, "word"), rows.data[0].place)
        went_early = delayed(m, go, 1, "went_early", reset_less=False)
        m.d.comb += [
            rows.i.valid.eq(merge.o.valid),
            merge.o.ready.eq(rows.i.ready),
            rows.i.p.item.eq(merge.o.p),
            go.eq(self.sums.valid & rows.ready & beats.room & free),
            self.sums.ready.eq(go & last),
            self.working.eq(go),
            # What is known of a row serves each part, and each channel pass over the row block.
            rows.read.eq(go),
            rows.step.eq(last),
            rows.rewind.eq(last & row.last_row),
            rows.release.eq(block_end),
            read.en.eq(went_early),
            read.addr.eq(address),
        ]
        merged = delayed(m, rows.data[0], 1, "merged")
        went = delayed(m, went_early, self.TAKEN - 1, "went", reset_less=False)
        gives = went & merged.last_segment
        after = self.LATENCY - self.TAKEN
        scale = delayed(m, merged.scale, MergeLane.LATENCY, "scale")
        keeps = delayed(
            m, went & ~merged.last_segment, MergeLane.LATENCY, "keeps", reset_less=False
        )
        m.d.comb += [
            beats.reserve.eq(gives),
            beats.write.eq(delayed(m, gives, after, "gives", reset_less=False)),
            write.en.eq(keeps),
            write.addr.eq(delayed(m, address, self.HELD - 1, "address")),
        ]
        sums = []
        for i in range(lanes):
            merging = place(m, platform, f"merge_{i}", MergeLane, config)
            dividing = place(m, platform, f"lane_{i}", NormalizerLane, config)
            with m.If(~merged.step.fresh):
                m.d.comb += merging.old.eq(read.data.word_select(i, width).as_signed())
            m.d.comb += [
                merging.new.eq(taken[i]),
                merging.step.eq(merged.step),
                dividing.sum.eq(merging.sum),
                dividing.scale.eq(scale),
                beats.row.values[i].eq(dividing.value),
            ]
            sums.append(merging.sum)
        m.d.comb += write.data.eq(Cat(sums))
        return m
