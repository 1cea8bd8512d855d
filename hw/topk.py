"""Two-threshold top-k: radix selection by counting, then a filter in token order."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, enum, memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.hw.export import place
from dtqatten.hw.id_packer import IdPacker
from dtqatten.hw.rank_counter import RankCounter, any_of
from dtqatten.hw.threshold_search import ThresholdSearch
from dtqatten.hw.token_filter import TokenFilter
from dtqatten.hw.topk_config import (
    TopKConfig,
    ids_layout,
    scores_layout,
    slot_layout,
    thresholds_layout,
)

__all__ = ["TopK"]


class Phase(enum.Enum, shape=2):  # type: ignore[call-arg]
    """What the engine does with its memory: fill it, count in it, read ids out of it."""

    LOAD = 0
    COUNT = 1
    EMIT = 2


class TopK(wiring.Component):
    """Find the ``k0`` largest scores, and among them the ``k1`` largest, of run after run.

    Bit-exact with :func:`dtqatten.golden.select.select`, cycle-exact with
    :class:`dtqatten.golden.topk.TopKModel`: of equal scores the lowest id wins, ids ascend inside
    a class, the 4-bit class (kept, not among the ``k1``) comes first.

    A pass over the tokens counts how many reach each of ``2**index_bits`` indices, which resolves
    that many bits of both thresholds at once, or one bit less of each after they have parted. The
    first pass is the loading itself, its window put where the first beat's scores are; only if
    the 8-bit threshold proves to be above that window is it repeated. A threshold is known as soon
    as it separates the right number of tokens.

    Latency: with ``R`` beats of scores, the last accepted in cycle ``t``, both thresholds are
    known in cycle ``t + 12 + p * (R + 10)`` after ``p`` more passes, typically one, at most
    ``1 + ceil((score_width - index_bits) / (index_bits - 1))`` whatever the scores; with slow logic
    loading and each pass take a cycle more. From then on the ids of each class take ``R + 1``
    cycles, the first 7 cycles later; the next run is accepted in the cycle after the last beat of
    ids is taken. Stalls of the source delay only the loading, those of the sink only the ids.

    Parameters
    ----------
    config : TopKConfig

    Members
    -------
    scores : In(stream.Signature(scores_layout(config)))
        Scores of a run.
    k0, k1 : In(range(capacity + 1))
        Tokens to keep, and of those in 8 bits; sampled with the run's last beat. ``k0`` is
        limited to 1 and the tokens of the run, ``k1`` to ``k0``.
    ids : Out(stream.Signature(ids_layout(config)))
        Kept tokens. A class without tokens has no beat.
    known : Out(1)
        ``thresholds`` are valid: from the end of the search to the last beat of ids.
    thresholds : Out(thresholds_layout(config))
        A score above its threshold is in, one below is out, and of those equal to it the first
        ones are in. With ``k1 = 0`` the 8-bit threshold equals the other.
    """

    def __init__(self, config: TopKConfig) -> None:
        self.config = config
        super().__init__(
            {
                "scores": In(stream.Signature(scores_layout(config))),
                "k0": In(range(config.capacity + 1)),
                "k1": In(range(config.capacity + 1)),
                "ids": Out(stream.Signature(ids_layout(config))),
                "known": Out(1),
                "thresholds": Out(thresholds_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        lanes, width, index_bits = config.lanes, config.score_width, config.index_bits
        counter = place(m, platform, "counter", RankCounter, config)
        search = place(m, platform, "search", ThresholdSearch, config)
        tokens_filter = place(m, platform, "filter", TokenFilter, config)
        packer = place(m, platform, "packer", IdPacker, config)
        every_lane = Const(-1, lanes)
        all_counts = range(config.capacity + 1)

        phase = Signal(Phase)
        row = Signal(range(config.rows + 1))
        row_before_last = Signal.like(row)
        single = Signal()
        tail_lanes = Signal(lanes)
        update = Signal()
        finish = Signal()

        # Loading. Rows are read back in the cycle after they are written: the first pass.
        beat, beat_last, partial = Signal(), Signal(), Signal()
        beat_lanes = Signal(lanes)
        m.d.comb += [
            self.scores.ready.eq(phase == Phase.LOAD),
            beat.eq(self.scores.valid & self.scores.ready),
            beat_last.eq(self.scores.p.last | (row == config.rows - 1)),
            partial.eq(
                self.scores.p.last & (self.scores.p.tokens != 0) & (self.scores.p.tokens < lanes)
            ),
            beat_lanes.eq(Mux(partial, (1 << self.scores.p.tokens) - 1, every_lane)),
        ]
        m.submodules.memory = scores = memory.Memory(
            shape=data.ArrayLayout(unsigned(width), lanes), depth=config.rows, init=[]
        )
        write, read = scores.write_port(), scores.read_port()
        m.d.comb += [
            write.en.eq(beat),
            write.addr.eq(row),
            write.data.eq(self.scores.p.scores),
        ]
        loading, written = Signal(), Signal()
        written_row = Signal(range(config.rows))
        fresh = Signal(init=1)
        seen = Signal(width)
        beat_scores = [Mux(beat_lanes[i], self.scores.p.scores[i], 0) for i in range(lanes)]
        asked = Signal(data.ArrayLayout(all_counts, 2))
        tokens = Signal(all_counts)
        written_last = Signal()
        m.d.sync += [
            written.eq(beat),
            written_row.eq(row),
            written_last.eq(beat & beat_last),
        ]
        with m.If(beat):
            m.d.sync += [
                loading.eq(1),
                fresh.eq(0),
                row.eq(Mux(beat_last, 0, row + 1)),
                row_before_last.eq(row - 1),
                single.eq(fresh),
                tail_lanes.eq(beat_lanes),
                seen.eq(Mux(fresh, 0, seen) | any_of(beat_scores)),
                tokens.eq(row * lanes + Mux(partial, self.scores.p.tokens, lanes)),
                asked[0].eq(self.k0),
                asked[1].eq(self.k1),
            ]
            with m.If(beat_last):
                m.d.sync += phase.eq(Phase.COUNT)

        # Reading: the row just written, the rows of a further pass, or those of a class.
        # ``row_last`` says that ``row`` is the last one, in a pass or class.
        counting, emitting = Signal(), Signal()
        wide = Signal()
        fetch_row = Signal.like(row)
        row_last, at_end, past_end = Signal(), Signal(), Signal()
        fetch_final = Signal()
        fetched = Signal()
        fetched_lanes = Signal(lanes)
        slot = Signal(slot_layout(config))
        advance = packer.advance
        m.d.comb += [
            fetch_row.eq(Mux(written, written_row, row)),
            at_end.eq(Mux(written, written_last, row_last)),
            fetch_final.eq(written_last | (counting & row_last)),
            read.addr.eq(fetch_row),
            read.en.eq(advance),
        ]
        m.d.sync += fetched.eq(written | counting)
        with m.If(counting):
            m.d.sync += [
                row.eq(Mux(row_last, 0, row + 1)),
                row_last.eq(Mux(row_last, single, row == row_before_last)),
            ]
            with m.If(row_last):
                m.d.sync += counting.eq(0)
        kept, eight = Signal(all_counts), Signal(all_counts)
        some_wide, same = Signal(), Signal()
        with m.If(advance):
            m.d.sync += [
                fetched_lanes.eq(Mux(at_end, tail_lanes, every_lane)),
                slot.valid.eq(emitting),
                slot.row.eq(row),
                slot.first.eq(row == 0),
                slot.wide.eq(wide),
                slot.final.eq(wide | ~some_wide),
            ]
            with m.If(emitting):
                # One slot past the last row lets the packer empty itself.
                m.d.sync += [
                    row.eq(Mux(past_end, 0, row + 1)),
                    row_last.eq(Mux(past_end, single, row == row_before_last)),
                    past_end.eq(row_last),
                ]
                with m.If(past_end):
                    m.d.sync += [
                        fetched_lanes.eq(0),
                        wide.eq(1),
                        emitting.eq(~wide & some_wide),
                    ]

        # Lanes: in which range a score is, and where in it. Memories are slow, so their words
        # wait for a cycle, and so does what the comparisons say.
        word = Signal(data.ArrayLayout(unsigned(width), lanes), reset_less=True)
        in_range = [Signal(lanes, name=f"in_range_{t}") for t in range(2)]
        beyond = [Signal(lanes, name=f"beyond_{t}") for t in range(2)]
        compared, compared_lanes = fetched, fetched_lanes
        with m.If(advance):
            m.d.sync += word.eq(read.data)
            for i in range(2):
                # The word's, then the comparisons'.
                last = compared, compared_lanes, slot
                compared = Signal(name=f"fetched_{i}")
                compared_lanes = Signal(lanes, name=f"fetched_lanes_{i}")
                slot = Signal(slot_layout(config), name=f"slot_{i}")
                m.d.sync += [
                    compared.eq(last[0]),
                    compared_lanes.eq(last[1]),
                    slot.eq(last[2]),
                ]
        top = (1 << index_bits) - 1
        for lane in range(lanes):
            # Shifted by a multiple of 4 with the comparisons, by the rest behind them.
            part = Signal(index_bits + 3, name=f"part_{lane}", reset_less=True)
            digit = Signal(index_bits, name=f"digit_{lane}")
            m.d.comb += digit.eq(part >> search.shift[:2])
            with m.If(advance):
                m.d.sync += part.eq(word[lane] >> Cat(Const(0, 2), search.shift[2:]))
            for t in range(2):
                differs = Signal(2, name=f"differs_{lane}_{t}", reset_less=True)  # a bit a half
                reaches = Signal(name=f"reaches_{lane}_{t}", reset_less=True)
                bits = (word[lane] ^ search.low[t]) & search.mask[t]
                with m.If(advance):
                    m.d.sync += [
                        differs.eq(Cat(bits[: width // 2].any(), bits[width // 2 :].any())),
                        reaches.eq(word[lane] >= search.low[t]),
                    ]
                m.d.comb += [
                    in_range[t][lane].eq(differs == 0),
                    beyond[t][lane].eq(reaches & (differs != 0)),
                ]
            inside = [in_range[t][lane] for t in range(2)]
            with m.If(search.calibrated):
                m.d.sync += [
                    counter.valid[lane].eq(1),
                    counter.index[lane].eq(Mux(inside[0], digit, top)),
                ]
            with m.Elif(search.parted):
                m.d.sync += [
                    counter.valid[lane].eq(inside[0] | inside[1]),
                    counter.index[lane].eq(Cat(digit[:-1], inside[1])),
                ]
            with m.Else():
                m.d.sync += [
                    counter.valid[lane].eq(Mux(search.lead, inside[1], inside[0])),
                    counter.index[lane].eq(digit),
                ]
            with m.If(~compared | ~compared_lanes[lane]):
                m.d.sync += counter.valid[lane].eq(0)

        # A pass's last row, on its way to the ranks found: its indices take five cycles.
        final = Signal(RankCounter.latency(config) + 5)
        m.d.sync += final.eq(Cat(fetch_final, final[:-1]))
        with m.If(loading & final[0]):
            m.d.sync += kept.eq(Mux(asked[0] == 0, 1, Mux(asked[0] > tokens, tokens, asked[0])))
        with m.If(loading & final[1]):
            m.d.sync += eight.eq(Mux(asked[1] > kept, kept, asked[1]))
        m.d.comb += [
            update.eq(final[-1]),
            counter.clear.eq(update),
            counter.targets.eq(search.targets),
            search.calibrate.eq(beat & fresh),
            search.seen.eq(seen),
            search.overflow.eq(compared & (compared_lanes & ~in_range[0]).any()),
            search.ranked.eq(loading & final[2]),
            search.ranks[0].eq(kept),
            search.ranks[1].eq(Mux(eight == 0, kept, eight)),
            search.aim.eq(final[3]),
            search.update.eq(update),
            search.found.eq(counter.found),
        ]
        m.d.sync += [some_wide.eq(eight != 0), same.eq(kept == eight)]
        with m.If(update):
            m.d.sync += [loading.eq(0), counting.eq(1), row_last.eq(single)]
            with m.If(search.finished):
                m.d.sync += [
                    phase.eq(Phase.EMIT),
                    counting.eq(0),
                    emitting.eq(1),
                    past_end.eq(0),
                    wide.eq(same),
                ]

        # The ids.
        for t in range(2):
            m.d.comb += [
                tokens_filter.inside[t].eq(in_range[t] & compared_lanes),
                tokens_filter.beyond[t].eq(beyond[t] & compared_lanes),
            ]
        m.d.comb += [
            tokens_filter.advance.eq(advance),
            tokens_filter.slot.eq(slot),
            tokens_filter.need.eq(search.need),
            tokens_filter.any_wide.eq(some_wide),
            packer.slot.eq(tokens_filter.slot_next),
            packer.take.eq(tokens_filter.take),
            packer.counts[0].eq(kept - eight),
            packer.counts[1].eq(eight),
            finish.eq(self.ids.valid & self.ids.ready & self.ids.p.last),
            self.known.eq(phase == Phase.EMIT),
            self.thresholds.kept.eq(search.low[0]),
            self.thresholds.wide.eq(search.low[1]),
        ]
        connect(m, packer.o, flipped(self.ids))
        with m.If(finish):
            # Rows under way hold no token of a class any more.
            m.d.sync += [phase.eq(Phase.LOAD), row.eq(0), emitting.eq(0), fresh.eq(1)]
        return m
