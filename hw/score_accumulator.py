"""The score accumulator: sums probabilities over queries and heads into the importance of keys."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.config import Config
from dtqatten.hw.pipeline import delayed
from dtqatten.hw.softmax_layout import probability_row_layout, tiles

__all__ = ["IMPORTANCE_BITS", "ScoreAccumulator", "importance_layout", "run_layout"]

#: Bits of an importance.
IMPORTANCE_BITS = 32


def run_layout(config: Config) -> data.StructLayout:
    """A run: its number of ``heads``."""
    return data.StructLayout({"heads": range(config.heads + 1)})


def importance_layout(config: Config) -> data.StructLayout:
    """Beat of ``importance_lanes`` importances, in the order of the keys.

    ``last`` ends the run; that beat holds ``tokens`` keys, in the lowest lanes. Other beats are
    full. ``seen``, where queries are counted: how many of them saw the key.
    """
    lanes = config.importance_lanes
    fields = {"scores": data.ArrayLayout(unsigned(IMPORTANCE_BITS), lanes)}
    if config.count_normalize:
        fields["seen"] = data.ArrayLayout(range(config.n_max + 1), lanes)
    return data.StructLayout(fields | {"tokens": range(lanes + 1), "last": unsigned(1)})


class ScoreAccumulator(wiring.Component):
    """Importance of each key: the sum of its 16-bit probabilities over queries and heads.

    One read and one write of a word of ``cols`` counters a row. Counters are in two banks: while
    one run is summed the last one's importance leaves. A counter's first row of a run overwrites
    it, so nothing is ever cleared. Where queries are counted, those of the run's first head are:
    masks are alike for all heads.

    32 bits are enough: the configuration limits ``heads * n_max`` rows of at most 65535 each.

    Latency: the first beat of importance is offered 4 cycles after a run's last row, or after the
    last run's importance has left. Throughput one row a cycle, across heads; between runs 2 cycles
    pass. One beat of importance a cycle.

    Parameters
    ----------
    config : Config

    Members
    -------
    runs : In(stream.Signature(run_layout(config)))
        One before each run; ``heads`` at least 1.
    probabilities : In(stream.Signature(probability_row_layout(config)))
        Rows of probabilities, of all heads of the run; all heads have the same keys.
    importance : Out(stream.Signature(importance_layout(config)))
        The run's importance.
    """

    LATENCY = 4

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "runs": In(stream.Signature(run_layout(config))),
                "probabilities": In(stream.Signature(probability_row_layout(config))),
                "importance": Out(stream.Signature(importance_layout(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, words = self.config, tiles(self.config)
        lanes = config.importance_lanes
        fields = {"sum": unsigned(IMPORTANCE_BITS)}
        if config.count_normalize:
            fields["seen"] = range(config.n_max + 1)
        counter = data.StructLayout(fields)
        counters = data.ArrayLayout(counter, config.cols)
        row = self.probabilities.p

        # ``bank`` is being summed, the other one leaves.
        bank = Signal()
        active, ended, leaving = Signal(), Signal(), Signal()
        heads_left = Signal(range(config.heads + 1))
        tile = Signal(range(words))
        first_head, first_block, first_row = Signal(), Signal(init=1), Signal(init=1)

        accept, row_end, block_end, head_end = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            self.runs.ready.eq(~active & ~ended),
            self.probabilities.ready.eq(active),
            accept.eq(self.probabilities.valid & active),
            row_end.eq(row.last_row),
            block_end.eq(row_end & row.last_tile),
            head_end.eq(block_end & row.last_block),
        ]
        with m.If(self.runs.valid & self.runs.ready):
            m.d.sync += [active.eq(1), heads_left.eq(self.runs.p.heads), first_head.eq(1)]
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
        sum_bank = delayed(m, bank, 1, "sum_bank")
        sum_tile = delayed(m, tile, 1, "sum_tile")
        counting = delayed(m, first_head, 1, "counting")
        was_first = delayed(m, first_head & first_block & first_row, 1, "first")
        added = delayed(m, row, 1, "added")
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
                write.en.eq(delayed(m, accept & mine, 1, f"summing_{b}", reset_less=False)),
                write.addr.eq(sum_tile),
                write.data.eq(sums),
                read.en.eq(Mux(mine, accept, fetch)),
                read.addr.eq(Mux(mine, tile, address)),
            ]
            reads.append(read)
        for c in range(config.cols):
            own, before = Signal(counter, name=f"own_{c}"), Signal(counter, name=f"before_{c}")
            m.d.comb += [
                own.eq(Mux(sum_bank, reads[1].data[c].as_value(), reads[0].data[c].as_value())),
                before.eq(Mux(was_first, 0, own.as_value())),
                sums[c].sum.eq(before.sum + added.probabilities[c]),
            ]
            if config.count_normalize:
                m.d.comb += sums[c].seen.eq(before.seen + (counting & added.seen[c]))

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
            fetch.eq(leaving & (~fetched | take) & (next_word + take <= last_held)),
            self.importance.p.tokens.eq(Mux(word_end, left, lanes)),
            self.importance.p.last.eq(final & word_end),
        ]
        for i in range(lanes):
            m.d.comb += self.importance.p.scores[i].eq(word[i].sum)
            if config.count_normalize:
                m.d.comb += self.importance.p.seen[i].eq(word[i].seen)
        m.d.sync += fetched.eq(fetch | (fetched & ~take))
        with m.If(beat):
            m.d.sync += [
                word.eq(word.as_value() >> lanes * counter.size),
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
                last_held.eq(last_word),
                held_tail.eq(tail),
            ]
        return m
