"""The score accumulator: sums probabilities over queries and heads into the importance of keys."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.config import Config
from dtqatten.hw.pipeline import delayed
from dtqatten.hw.softmax_layout import EXPONENTIAL_BITS, probability_row_layout, tiles

__all__ = ["IMPORTANCE_BITS", "ScoreAccumulator", "importance_layout", "run_layout"]

#: Bits of an importance.
IMPORTANCE_BITS = 32


def run_layout(heads: int) -> data.StructLayout:
    """A run: its number of ``heads``, and whether to ``keep`` and add to the last run's sums."""
    return data.StructLayout({"heads": range(heads + 1), "keep": unsigned(1)})


def importance_layout(lanes: int) -> data.StructLayout:
    """Beat of importance, in the order of the keys.

    ``last`` ends the run; that beat holds ``tokens`` keys, in the lowest lanes. Other beats are
    full. The same as a beat of :func:`dtqatten.hw.topk_config.scores_layout`.
    """
    return data.StructLayout(
        {
            "scores": data.ArrayLayout(unsigned(IMPORTANCE_BITS), lanes),
            "tokens": range(lanes + 1),
            "last": unsigned(1),
        }
    )


class ScoreAccumulator(wiring.Component):
    """Importance of each key: the sum of its 16-bit probabilities over queries and heads.

    One read and one write of a word of ``cols`` counters a row. Counters are in two banks: while
    one run is summed the last one's importance leaves. A counter's first row of a run overwrites
    it, so nothing is ever cleared; a run that keeps adds there to the other bank's counter (0
    for keys beyond the last run's). After reset there is nothing to keep.

    32 bits are enough: ``n_max * heads`` rows of at most 65535 each.

    Latency: the first beat of importance is offered 4 cycles after a run's last row, or after the
    last run's importance has left. Throughput one row a cycle, across heads; between runs 2 cycles
    pass. One beat of importance a cycle, but for cycles in which a run that keeps reads the bank
    that leaves, once for each tile.

    Parameters
    ----------
    config : Config
    heads : int
        Most heads of a run; with those of all runs that are kept in a sum.
    lanes : int, optional
        Importances a beat, a divisor of ``cols``; all if None.

    Members
    -------
    runs : In(stream.Signature(run_layout(heads)))
        One before each run; ``heads`` at least 1.
    probabilities : In(stream.Signature(probability_row_layout(config)))
        Rows of probabilities, of all heads of the run; all heads have the same keys.
    importance : Out(stream.Signature(importance_layout(lanes)))
        The run's importance.

    Raises
    ------
    ValueError
        If ``lanes`` does not divide ``cols``, or a sum could exceed 32 bits.
    """

    LATENCY = 4

    def __init__(self, config: Config, *, heads: int, lanes: int | None = None) -> None:
        self.config, self.heads = config, heads
        self.lanes = config.cols if lanes is None else lanes
        if not 1 <= self.lanes <= config.cols or config.cols % self.lanes:
            fit = [n for n in range(1, config.cols + 1) if config.cols % n == 0]
            raise ValueError(
                f"lanes is {self.lanes}, which does not divide cols = {config.cols}: "
                f"use one of {', '.join(map(str, fit))}"
            )
        most = ((1 << IMPORTANCE_BITS) - 1) // ((1 << EXPONENTIAL_BITS) - 1)
        if not 1 <= heads <= most // config.n_max:
            raise ValueError(
                f"heads is {heads}, outside 1..{most // config.n_max}: {most} rows of up to "
                f"n_max = {config.n_max} queries a head fit 32 bits; sum fewer heads a run"
            )
        super().__init__(
            {
                "runs": In(stream.Signature(run_layout(heads))),
                "probabilities": In(stream.Signature(probability_row_layout(config))),
                "importance": Out(stream.Signature(importance_layout(self.lanes))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, lanes, words = self.config, self.lanes, tiles(self.config)
        counters = data.ArrayLayout(unsigned(IMPORTANCE_BITS), config.cols)
        row = self.probabilities.p

        # ``bank`` is being summed, the other one leaves.
        bank = Signal()
        active, ended, leaving = Signal(), Signal(), Signal()
        heads_left = Signal(range(self.heads + 1))
        keep = Signal()
        tile = Signal(range(words))
        first_head, first_block, first_row = Signal(), Signal(init=1), Signal(init=1)
        held_words = Signal(range(words + 1))  # in the bank that leaves or has left

        accept, row_end, block_end, head_end = Signal(), Signal(), Signal(), Signal()
        first, add_other = Signal(), Signal()
        m.d.comb += [
            self.runs.ready.eq(~active & ~ended),
            self.probabilities.ready.eq(active),
            accept.eq(self.probabilities.valid & active),
            row_end.eq(row.last_row),
            block_end.eq(row_end & row.last_tile),
            head_end.eq(block_end & row.last_block),
            first.eq(first_head & first_block & first_row),
            add_other.eq(accept & first & keep & (tile < held_words)),
        ]
        with m.If(self.runs.valid & self.runs.ready):
            m.d.sync += [
                active.eq(1),
                heads_left.eq(self.runs.p.heads),
                keep.eq(self.runs.p.keep),
                first_head.eq(1),
            ]
        with m.If(accept):
            m.d.sync += first_row.eq(row_end)
            with m.If(row_end):
                m.d.sync += tile.eq(Mux(row.last_tile, 0, tile + 1))
            with m.If(block_end):
                m.d.sync += first_block.eq(row.last_block)
            with m.If(head_end):
                m.d.sync += [first_head.eq(0), heads_left.eq(heads_left - 1)]
                with m.If(heads_left == 1):
                    m.d.sync += [active.eq(0), ended.eq(1)]
        tail, last_word = Signal(range(config.cols + 1)), Signal(range(words))
        with m.If(accept & row.last_tile):
            m.d.sync += [tail.eq(row.keys), last_word.eq(tile)]

        # Read in the cycle of the row, add and write in the next.
        summing = delayed(m, accept, 1, "summing", reset_less=False)
        sum_bank = delayed(m, bank, 1, "sum_bank")
        sum_tile = delayed(m, tile, 1, "sum_tile")
        was_first = delayed(m, first, 1, "first")
        added_other = delayed(m, add_other, 1, "added_other")
        added = delayed(m, row.probabilities, 1, "added")
        added_keys = delayed(m, row.keys, 1, "added_keys")
        address = Signal(range(words))
        fetch = Signal()
        reads = []
        sums = Signal(counters)
        for b in range(2):
            m.submodules[f"bank_{b}"] = held = memory.Memory(shape=counters, depth=words, init=[])
            write = held.write_port()
            read = held.read_port(transparent_for=(write,))
            mine = bank == b
            m.d.comb += [
                write.en.eq(summing & (sum_bank == b)),
                write.addr.eq(sum_tile),
                write.data.eq(sums),
                read.en.eq(Mux(mine, accept, add_other | fetch)),
                read.addr.eq(Mux(mine | add_other, tile, address)),
            ]
            reads.append(read)
        for c in range(config.cols):
            values = [read.data[c] for read in reads]
            own, other = Signal(32, name=f"own_{c}"), Signal(32, name=f"other_{c}")
            before = Signal(32, name=f"before_{c}")
            m.d.comb += [
                own.eq(Mux(sum_bank, values[1], values[0])),
                other.eq(Mux(sum_bank, values[0], values[1])),
                before.eq(Mux(was_first, Mux(added_other, other, 0), own)),
                # What an earlier run left past this run's keys is not kept.
                sums[c].eq(Mux(c < added_keys, before + added[c], 0)),
            ]

        # The importance leaves: the bank's read register holds the word after the one on offer.
        fetched, take, beat, word_end = Signal(), Signal(), Signal(), Signal()
        word = Signal(counters, reset_less=True)
        next_word, last_held = Signal(range(words + 1)), Signal(range(words))
        held_tail = Signal(range(config.cols + 1))
        left, final = Signal(range(config.cols + 1)), Signal()
        taken_final = next_word == last_held
        m.d.comb += [
            beat.eq(self.importance.valid & self.importance.ready),
            word_end.eq(left <= lanes),
            take.eq(fetched & (~self.importance.valid | (beat & word_end))),
            address.eq(next_word + take),
            fetch.eq(leaving & ~add_other & (~fetched | take) & (next_word + take <= last_held)),
            self.importance.p.tokens.eq(Mux(word_end, left, lanes)),
            self.importance.p.last.eq(final & word_end),
        ]
        m.d.comb += [self.importance.p.scores[i].eq(word[i]) for i in range(lanes)]
        # A run that keeps overwrites the read register: fetch again.
        m.d.sync += fetched.eq(fetch | (fetched & ~take & ~add_other))
        with m.If(beat):
            m.d.sync += [
                word.eq(word.as_value() >> lanes * IMPORTANCE_BITS),
                left.eq(left - lanes),
                self.importance.valid.eq(~word_end),
            ]
            with m.If(self.importance.p.last):
                m.d.sync += leaving.eq(0)
        with m.If(take):
            m.d.sync += [
                word.eq(Mux(bank, reads[0].data.as_value(), reads[1].data.as_value())),
                left.eq(Mux(taken_final, held_tail, config.cols)),
                final.eq(taken_final),
                self.importance.valid.eq(1),
                next_word.eq(next_word + 1),
            ]
        with m.If(ended & ~leaving):
            m.d.sync += [
                ended.eq(0),
                leaving.eq(1),
                bank.eq(~bank),
                next_word.eq(0),
                held_words.eq(last_word + 1),
                last_held.eq(last_word),
                held_tail.eq(tail),
            ]
        return m
