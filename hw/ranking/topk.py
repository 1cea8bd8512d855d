"""Two-threshold top-k: a search for both thresholds, then a filter in token order."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.choices import TopKEngine
from dtqatten.hw.base.export import place
from dtqatten.hw.payloads.topk import TopKConfig, ids_layout, scores_layout, thresholds_layout
from dtqatten.hw.ranking.counting_search import CountingSearch
from dtqatten.hw.ranking.id_packer import IdPacker
from dtqatten.hw.ranking.quick_select import QuickSelect
from dtqatten.hw.ranking.run_memory import RunMemory
from dtqatten.hw.ranking.token_filter import TokenFilter

__all__ = ["TopK"]


class Phase(enum.Enum, shape=2):  # type: ignore[call-arg]
    """What the engine does: fill its memory, search for the thresholds, read ids out of it."""

    LOAD = 0
    SEARCH = 1
    EMIT = 2


class TopK(wiring.Component):
    """Find the ``k0`` largest scores of each run, and the ``k1`` largest among them.

    Bit-exact with :func:`dtqatten.golden.numerics.select.select`, cycle-exact with
    :class:`dtqatten.golden.cycles.topk.TopKModel`: of equal scores the lowest id wins, ids ascend
    inside a class, the 4-bit class (kept, not among the ``k1``) comes first.

    ``config.engine`` chooses the search. Counting: a pass over the tokens counts how many reach
    each of ``2**index_bits`` indices, which resolves that many bits of both thresholds at once, or
    one bit less of each after they have parted. The first pass is the loading itself, with its
    window placed by the first beat's scores; it is repeated only if the 8-bit threshold lies above
    that window. A threshold is known as soon as it separates the right number of tokens.
    Quick-select: :class:`~dtqatten.hw.ranking.quick_select.QuickSelect`.

    Latency: with ``R`` beats of scores, the last accepted in cycle ``t``, both thresholds are
    known in cycle ``t + 12 + p * (R + 10)`` after ``p`` more passes, typically one, at most
    ``1 + ceil((score_width - index_bits) / (index_bits - 1))`` whatever the scores; with slow logic
    loading and each pass take a cycle more. With quick-select they are known in cycle ``t + 8`` and
    ``m + 7`` cycles later for each pass over a partition of ``m`` rows, at most
    ``t + 8 + pivots * (R + 7) + score_width * (R + 15)`` whatever the scores. From then on the ids
    of each class take ``R + 1`` cycles, the first 7 cycles later; the next run is accepted in the
    cycle after the last beat of ids is taken. Stalls of the source delay only the loading, those of
    the sink only the ids.

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
        ones are in. With ``k1 = 0`` the 8-bit threshold equals the other. Other engines may find
        other thresholds, but the same tokens.
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
        m.submodules.run = run = RunMemory(config)
        tokens_filter = place(m, platform, "filter", TokenFilter, config)
        packer = place(m, platform, "packer", IdPacker, config)
        advance = packer.advance

        phase = Signal(Phase)
        first_pass, pass_end, pass_last, finish = Signal(), Signal(), Signal(), Signal()
        search: CountingSearch | QuickSelect
        if config.engine is TopKEngine.QUICK_SELECT:
            search = QuickSelect(config)
            m.d.comb += [
                search.first.eq(self.scores.p.scores[0]),
                search.tokens.eq(run.tokens),
                pass_last.eq(run.pass_last | search.last),
                # Further passes do not read the run.
                run.pass_end.eq(pass_end & search.finished),
            ]
        else:
            search = CountingSearch(config)
            m.d.comb += [
                search.seen.eq(run.seen),
                pass_last.eq(run.pass_last),
                run.pass_end.eq(pass_end),
            ]
        m.submodules.search = search
        with m.If(run.beat):
            m.d.sync += first_pass.eq(1)
            with m.If(run.last):
                m.d.sync += phase.eq(Phase.SEARCH)
        with m.If(pass_end):
            m.d.sync += first_pass.eq(0)
            with m.If(search.finished):
                m.d.sync += phase.eq(Phase.EMIT)
        with m.If(finish):
            m.d.sync += phase.eq(Phase.LOAD)
        # A pass's last row, on its way to the pass's end.
        final = Signal(search.latency(config))
        m.d.sync += final.eq(Cat(pass_last, final[:-1]))
        kept, eight = self._ranks(m, run, first_pass & final[0], first_pass & final[1])
        some_wide, only_wide = Signal(), Signal()
        m.d.sync += [some_wide.eq(eight != 0), only_wide.eq(kept == eight)]

        connect(m, flipped(self.scores), run.i)
        connect(m, packer.o, flipped(self.ids))
        m.d.comb += [
            pass_end.eq(final[-1]),
            finish.eq(self.ids.valid & self.ids.ready & self.ids.p.last),
            self.known.eq(phase == Phase.EMIT),
            self.thresholds.kept.eq(search.low[0]),
            self.thresholds.wide.eq(search.low[1]),
            run.open.eq(phase == Phase.LOAD),
            run.clear.eq(finish),
            run.advance.eq(advance),
            run.finished.eq(search.finished),
            run.some_wide.eq(some_wide),
            run.only_wide.eq(only_wide),
            # The search.
            search.begin.eq(run.beat & run.fresh),
            search.advance.eq(advance),
            *(
                getattr(search, name).eq(getattr(run, name))
                for name in ("scores", "fetched", "lanes", "class_row")
            ),
            search.final.eq(final),
            search.ranked.eq(first_pass & final[2]),
            search.ranks[0].eq(kept),
            search.ranks[1].eq(Mux(eight == 0, kept, eight)),
            # The ids.
            tokens_filter.advance.eq(advance),
            tokens_filter.class_row.eq(search.class_row_next),
            tokens_filter.inside.eq(search.inside),
            tokens_filter.beyond.eq(search.beyond),
            tokens_filter.need.eq(search.need),
            tokens_filter.any_wide.eq(some_wide),
            packer.class_row.eq(tokens_filter.class_row_next),
            packer.take.eq(tokens_filter.take),
            packer.counts[0].eq(kept - eight),
            packer.counts[1].eq(eight),
        ]
        return m

    def _ranks(
        self, m: Module, run: RunMemory, limit_kept: Value, limit_eight: Value
    ) -> tuple[Signal, Signal]:
        """Return the tokens to keep and those in 8 bits, limited by the tokens of the run.

        Parameters
        ----------
        m : Module
        run : RunMemory
        limit_kept : Value
            Limit the first to the tokens of the run.
        limit_eight : Value
            Limit the second to the first; in a later cycle.
        """
        counts = range(self.config.capacity + 1)
        asked = Signal(data.ArrayLayout(counts, 2))
        kept, eight = Signal(counts), Signal(counts)
        with m.If(run.beat):
            m.d.sync += [asked[0].eq(self.k0), asked[1].eq(self.k1)]
        with m.If(limit_kept):
            most = Mux(asked[0] > run.tokens, run.tokens, asked[0])
            m.d.sync += kept.eq(Mux(asked[0] == 0, 1, most))
        with m.If(limit_eight):
            m.d.sync += eight.eq(Mux(asked[1] > kept, kept, asked[1]))
        return kept, eight
