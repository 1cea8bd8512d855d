"""The score accumulator: sums probabilities over queries and heads into the importance of keys."""

from amaranth.hdl import Cat, Module, Mux, Signal, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.config import Config
from dtqatten.hw.pipeline import delayed
from dtqatten.hw.ranking_layout import IMPORTANCE_BITS, importance_layout, run_layout
from dtqatten.hw.softmax_layout import probability_row_layout, tiles

__all__ = ["ScoreAccumulator"]


class ScoreAccumulator(wiring.Component):
    """Importance of each key: the sum of its 16-bit probabilities over queries and heads.

    One read and one write of a word of ``cols`` counters a row. Counters are in two banks: while
    one run is summed the last one's importance leaves. A counter's first row of a run overwrites
    it, so nothing is ever cleared. Where queries are counted, those of the run's first head are:
    masks are alike for all heads.

    32 bits are enough: the configuration limits ``heads * n_max`` rows of at most 65535 each.

    A row's counters are read, wait in a register - in two where logic is slow -, and are added to
    and written: three cycles, or four. What the rows before, as many as are under way, have added
    to the same counters is forwarded.

    Latency: the first beat of importance is offered :meth:`latency` cycles after a run's last row,
    5 or 7, or 4 or 5 after the last run's importance has left. Throughput one row a
    cycle, across heads; between runs 3 cycles pass, or 4. One beat of importance a cycle.

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

    @staticmethod
    def stages(config: Config) -> int:
        """Cycles from a row to the writing of its sums."""
        return 2 + config.slow_logic

    @staticmethod
    def latency(config: Config) -> int:
        """Cycles from a run's last row to its importance."""
        return 5 + 2 * config.slow_logic

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

        # Read in the cycle of the row, added and written this many cycles later.
        stages = self.stages(config)
        accepted, places = [accept], [tile]
        for d in range(1, stages + 1):
            name = f"accepted_{d}"
            accepted.append(delayed(m, accepted[-1], 1, name, reset_less=False))
            places.append(delayed(m, places[-1], 1, f"tile_{d}"))
        read_bank = delayed(m, bank, stages - 1, "read_bank")
        counting = delayed(m, first_head, stages, "counting")
        # Not the memory's word: nothing before, or a sum of the rows that it does not hold yet.
        first = delayed(m, first_head & first_block & first_row, stages - 1, "first")
        follows = [
            delayed(m, accepted[d] & (tile == places[d]), stages - 1, f"follows_{d}")
            for d in range(1, stages + 1)
        ]
        added = delayed(m, row, stages, "added")
        # Of the bank that leaves: a word is read, and goes on from the memory.
        address = Signal(range(words))
        fetch, moves = Signal(), Signal()
        reads = []
        sums = Signal(counters)
        for b in range(2):
            m.submodules[f"bank_{b}"] = held = memory.Memory(shape=counters, depth=words, init=[])
            write, read = held.write_port(), held.read_port()
            mine = bank == b
            m.d.comb += [
                write.en.eq(delayed(m, accept & mine, stages, f"summing_{b}", reset_less=False)),
                write.addr.eq(places[-1]),
                write.data.eq(sums),
                read.en.eq(Mux(mine, accept, fetch)),
                read.addr.eq(Mux(mine, tile, address)),
            ]
            known = read.data
            if config.slow_logic:
                known = Signal(counters, name=f"word_{b}", reset_less=True)
                with m.If(mine | moves):
                    m.d.sync += known.eq(read.data)
            reads.append(known)
        totals = [delayed(m, sums, d, f"written_{d}") for d in range(stages)]
        for c in range(config.cols):
            # Of the two one is zero: memories are slow, so little may come behind them.
            held, forwarded = (
                Signal(counter, name=f"{name}_{c}", reset_less=True)
                for name in ("held", "forwarded")
            )
            before = Signal(counter, name=f"before_{c}")
            with m.If(first | Cat(follows).any()):
                m.d.sync += held.eq(0)
            with m.Else():
                m.d.sync += held.eq(Mux(read_bank, reads[1][c].as_value(), reads[0][c].as_value()))
            latest = totals[-1][c].as_value()
            for follow, total in zip(follows[-2::-1], totals[-2::-1], strict=True):
                latest = Mux(follow, total[c].as_value(), latest)
            with m.If(first | ~Cat(follows).any()):
                m.d.sync += forwarded.eq(0)
            with m.Else():
                m.d.sync += forwarded.eq(latest)
            m.d.comb += [
                before.eq(held.as_value() | forwarded.as_value()),
                sums[c].sum.eq(before.sum + added.probabilities[c]),
            ]
            if config.count_normalize:
                m.d.comb += sums[c].seen.eq(before.seen + (counting & added.seen[c]))

        # The importance leaves: memory, and the register behind it, hold the words after the one on
        # offer.
        fetched, there, take, beat, word_end = Signal(), Signal(), Signal(), Signal(), Signal()
        word = Signal(counters, reset_less=True)
        last_held, all_fetched, ends = Signal(range(words)), Signal(), Signal()
        held_tail = Signal(range(config.cols + 1))
        left, final = Signal(range(config.cols + 1)), Signal()
        m.d.comb += [
            beat.eq(self.importance.valid & self.importance.ready),
            word_end.eq(left <= lanes),
            take.eq(there & (~self.importance.valid | (beat & word_end))),
            fetch.eq(leaving & (~fetched | moves) & ~all_fetched),
            self.importance.p.tokens.eq(Mux(word_end, left, lanes)),
            self.importance.p.last.eq(final & word_end),
        ]
        if config.slow_logic:
            m.d.comb += moves.eq(fetched & (~there | take))
            m.d.sync += there.eq(moves | (there & ~take))
            with m.If(moves):
                m.d.sync += ends.eq(all_fetched)
        else:
            m.d.comb += [there.eq(fetched), moves.eq(take), ends.eq(all_fetched)]
        for i in range(lanes):
            m.d.comb += self.importance.p.scores[i].eq(word[i].sum)
            if config.count_normalize:
                m.d.comb += self.importance.p.seen[i].eq(word[i].seen)
        m.d.sync += fetched.eq(fetch | (fetched & ~moves))
        with m.If(fetch):
            m.d.sync += [address.eq(address + 1), all_fetched.eq(address == last_held)]
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
                word.eq(Mux(bank, reads[0].as_value(), reads[1].as_value())),
                left.eq(Mux(ends, held_tail, config.cols)),
                final.eq(ends),
                self.importance.valid.eq(1),
            ]
        # The last row's sums are written in the cycle before the first word is read.
        with m.If(ended & ~leaving & ~Cat(accepted[1:-1]).any()):
            m.d.sync += [
                ended.eq(0),
                leaving.eq(1),
                bank.eq(~bank),
                address.eq(0),
                all_fetched.eq(0),
                last_held.eq(last_word),
                held_tail.eq(tail),
            ]
        return m
