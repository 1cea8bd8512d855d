"""The score accumulator: sums probabilities over queries and heads into the importance of keys."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import Config
from dtqatten.hw.payloads.ranking import importance_layout, ranking_run_layout
from dtqatten.hw.payloads.softmax import probability_row_layout, tiles
from dtqatten.hw.ranking.counter_bank import CounterBank, RowAdder, adding_stages
from dtqatten.hw.ranking.importance_drain import ImportanceDrain

__all__ = ["ScoreAccumulator"]


class ScoreAccumulator(wiring.Component):
    """Importance of each key: the sum of its 16-bit probabilities over queries and heads.

    A row reads and writes one word of ``cols`` counters. Counters are in two banks: while one run
    is summed, the previous run's importance is read out. A counter's first row of a run overwrites
    it, so nothing is ever cleared; where tiles are skipped, it may be any row, and tiles without a
    row have importance 0. Queries are counted in the run's first head only: all heads have
    the same mask.

    32 bits suffice: the configuration limits ``heads * n_max`` rows of at most 65535 each.

    A row's counters are read, wait in a register, in two with ``buffered_counters``, and are added
    to and written: three cycles, or four. Sums still in flight are forwarded.

    Latency: the first beat of importance is offered :meth:`latency` cycles after a run's last row,
    5 (7 where logic is slow), or 4 (5) after the previous run's importance has left. Throughput
    one row a cycle, across heads, with 3 (4) cycles between runs; one beat of importance a cycle.

    Parameters
    ----------
    config : Config

    Members
    -------
    runs : In(stream.Signature(ranking_run_layout(config)))
        One before each run; ``heads`` at least 1.
    probabilities : In(stream.Signature(probability_row_layout(config)))
        Rows of probabilities, of all heads of the run; all heads have the same keys.
    importance : Out(stream.Signature(importance_layout(config)))
        The run's importance.
    """

    @staticmethod
    def latency(config: Config) -> int:
        """Cycles from a run's last row to its importance."""
        return adding_stages(config) + ImportanceDrain.latency(config)

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "runs": In(stream.Signature(ranking_run_layout(config))),
                "probabilities": In(stream.Signature(probability_row_layout(config))),
                "importance": Out(stream.Signature(importance_layout(config))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, row = self.config, self.probabilities.p
        m.submodules.adder = adder = RowAdder(config)
        m.submodules.drain = drain = ImportanceDrain(config)
        connect(m, drain.o, flipped(self.importance))

        # The run: which tile of which row comes, and whether it is the run's first.
        active, ended = Signal(), Signal()
        heads_left = Signal(range(config.heads + 1))
        tile = Signal(range(tiles(config)))
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
            if not config.skip_tiles:
                with m.If(row_end):
                    m.d.sync += tile.eq(Mux(row.last_tile, 0, tile + 1))
            with m.If(block_end):
                m.d.sync += first_block.eq(row.last_block)
            with m.If(head_end):
                m.d.sync += [first_head.eq(0), heads_left.eq(heads_left - 1)]
                with m.If(heads_left == 1):
                    m.d.sync += [active.eq(0), ended.eq(1)]
        final: Value = accept & row.last_tile
        if config.skip_tiles:
            # A head's last row block visits the head's last tile; others may not.
            final = final & row.last_block
            m.d.comb += tile.eq(row.tile)
        with m.If(final):
            m.d.sync += [drain.tail.eq(row.keys), drain.last_word.eq(tile)]

        # ``bank`` is being summed, the other one leaves. They change places when the last row's
        # sums are written, in the cycle before the first word is read.
        bank, swap = Signal(), Signal()
        m.d.comb += swap.eq(ended & ~drain.leaving & ~adder.in_flight)
        with m.If(swap):
            m.d.sync += [ended.eq(0), bank.eq(~bank)]
        m.d.comb += [
            adder.accept.eq(accept),
            adder.tile.eq(tile),
            adder.row.eq(row),
            adder.counting.eq(first_head),
            adder.bank.eq(bank),
            drain.start.eq(swap),
        ]
        words = []
        fresh: Value = first_head & first_block & first_row
        for b in range(2):
            m.submodules[f"bank_{b}"] = held = CounterBank(config)
            m.d.comb += [
                held.summed.eq(bank == b),
                held.accept.eq(accept),
                held.tile.eq(tile),
                held.write_tile.eq(adder.write_tile),
                held.sums.eq(adder.sums),
                held.fetch.eq(drain.fetch),
                held.address.eq(drain.address),
                held.moves.eq(drain.moves),
                adder.words[b].eq(held.word),
            ]
            if config.skip_tiles:
                m.d.comb += held.clear.eq(swap & (bank != b))
                fresh = ~held.touched if b == 0 else Mux(bank, ~held.touched, fresh)
            words.append(held.word.as_value())
        m.d.comb += [adder.fresh.eq(fresh), drain.word.eq(Mux(bank, words[0], words[1]))]
        return m
