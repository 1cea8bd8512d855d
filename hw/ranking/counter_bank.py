"""The counters of the score accumulator: kept in banks, added to row by row."""

from amaranth.hdl import Cat, Module, Mux, ShapeLike, Signal, unsigned
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.base.pipeline import delayed
from dtqatten.hw.payloads.ranking import IMPORTANCE_BITS
from dtqatten.hw.payloads.softmax import probability_row_layout, tiles

__all__ = ["CounterBank", "RowAdder", "adding_stages", "counters_layout"]


def counters_layout(config: Config) -> data.ArrayLayout:
    """Counters of a tile's keys: a ``sum`` each and, where queries are counted, ``seen``."""
    fields: dict[str, ShapeLike] = {"sum": unsigned(IMPORTANCE_BITS)}
    if config.count_normalize:
        fields["seen"] = range(config.n_max + 1)
    return data.ArrayLayout(data.StructLayout(fields), config.cols)


def adding_stages(config: Config) -> int:
    """Return the cycles from a row to the writing of its sums."""
    return 2 + config.timing.buffered_counters


class CounterBank(wiring.Component):
    """The counters of one run, a word a tile: summed row by row, then read out.

    Latency: ``word`` follows ``accept`` or ``fetch`` by one cycle; with ``buffered_counters`` by
    one more, for fetched words counted from ``moves``, which must not come before the cycle after
    ``fetch``. Sums are written :func:`adding_stages` cycles after ``accept``.

    Parameters
    ----------
    config : Config

    Members
    -------
    summed : In(1)
        The bank's run is being summed; else its words are read out.
    clear : In(1)
        With ``skip_tiles``: a run is to be summed, no tile of which has had a row.
    accept, tile : In(1), In(range(tiles(config)))
        Read the counters of a row; their address.
    write_tile, sums : In(range(tiles(config))), In(counters_layout(config))
        Tile and sums of the row accepted :func:`adding_stages` cycles ago.
    fetch, address : In(1), In(range(tiles(config)))
        Read a word out; its address. With ``skip_tiles`` that of a tile without a row is zero.
    moves : In(1)
        Take a word that is read out into the register behind the memory, where there is one.
    word : Out(counters_layout(config))
        The word read.
    touched : Out(1)
        With ``skip_tiles``: ``tile`` has had a row in this run.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        words = range(tiles(config))
        super().__init__(
            ({"clear": In(1), "touched": Out(1)} if config.skip_tiles else {})
            | {
                "summed": In(1),
                "accept": In(1),
                "tile": In(words),
                "write_tile": In(words),
                "sums": In(counters_layout(config)),
                "fetch": In(1),
                "address": In(words),
                "moves": In(1),
                "word": Out(counters_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, mine = self.config, self.summed
        m.submodules.counters = held = memory.Memory(
            shape=counters_layout(config), depth=tiles(config), init=[]
        )
        write, read = held.write_port(), held.read_port()
        stages = adding_stages(config)
        m.d.comb += [
            write.en.eq(delayed(m, self.accept & mine, stages, "summing", reset_less=False)),
            write.addr.eq(self.write_tile),
            write.data.eq(self.sums),
            read.en.eq(Mux(mine, self.accept, self.fetch)),
            read.addr.eq(Mux(mine, self.tile, self.address)),
        ]
        shown = self._touched(m, read.data) if config.skip_tiles else read.data
        if config.timing.buffered_counters:
            known = Signal(counters_layout(config), name="known", reset_less=True)
            with m.If(mine | self.moves):
                m.d.sync += known.eq(shown)
            shown = known
        m.d.comb += self.word.eq(shown)
        return m

    def _touched(self, m: Module, word: data.View) -> Signal:
        """Keep which tiles have had a row; return the word read, zero without one."""
        rows = Signal(tiles(self.config), name="rows")
        with m.If(self.accept & self.summed):
            m.d.sync += rows.bit_select(self.tile, 1).eq(1)
        with m.If(self.clear):
            m.d.sync += rows.eq(0)
        m.d.comb += self.touched.eq(rows.bit_select(self.tile, 1))
        some = Signal(name="some", reset_less=True)
        with m.If(self.fetch):
            m.d.sync += some.eq(rows.bit_select(self.address, 1))
        shown = Signal.like(self.word, name="shown")
        # A row's own counters are read while the run is summed, and replaced if they are its first.
        with m.If(self.summed | some):
            m.d.comb += shown.eq(word)
        return shown


class RowAdder(wiring.Component):
    """Add rows of probabilities to counters.

    The counters of a row are read when it is accepted, wait in a register, in two with
    ``buffered_counters``, and are added to and written. Sums still in flight are forwarded. A run's
    first row of a tile starts from zero.

    Latency: ``sums`` follow ``accept`` by :func:`adding_stages` cycles. Throughput one row a cycle;
    never stalls.

    Parameters
    ----------
    config : Config

    Members
    -------
    accept, tile : In(1), In(range(tiles(config)))
        A row arrives; its tile.
    row : In(probability_row_layout(config))
        The row.
    fresh : In(1)
        It is its tile's first of the run.
    counting : In(1)
        Queries of this row are counted.
    bank : In(1)
        Which bank is summed. Never changes while rows are in flight.
    words : In(ArrayLayout(counters_layout(config), 2))
        Each bank's counters for the row, with the latency of :class:`CounterBank`.
    in_flight : Out(1)
        Sums of a row accepted in an earlier cycle are written in a later one.
    write_tile : Out(range(tiles(config)))
        The tile of ``sums``.
    sums : Out(counters_layout(config))
        The sums of the row accepted :func:`adding_stages` cycles ago.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        counters = counters_layout(config)
        super().__init__(
            {
                "accept": In(1),
                "tile": In(range(tiles(config))),
                "row": In(probability_row_layout(config)),
                "fresh": In(1),
                "counting": In(1),
                "bank": In(1),
                "words": In(data.ArrayLayout(counters, 2)),
                "in_flight": Out(1),
                "write_tile": Out(range(tiles(config))),
                "sums": Out(counters),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, sums = self.config, self.sums
        stages = adding_stages(config)
        accepted, places = [self.accept], [self.tile]
        for d in range(1, stages + 1):
            name = f"accepted_{d}"
            accepted.append(delayed(m, accepted[-1], 1, name, reset_less=False))
            places.append(delayed(m, places[-1], 1, f"tile_{d}"))
        bank = delayed(m, self.bank, stages - 1, "read_bank")
        counting = delayed(m, self.counting, stages, "counting")
        added = delayed(m, self.row, stages, "added")
        # Zero, or a sum still in flight, replaces the memory's word.
        first = delayed(m, self.fresh, stages - 1, "first")
        follows = [
            delayed(m, accepted[d] & (self.tile == places[d]), stages - 1, f"follows_{d}")
            for d in range(1, stages + 1)
        ]
        totals = [delayed(m, sums, d, f"written_{d}") for d in range(stages)]
        counter = counters_layout(config).elem_shape
        for c in range(config.cols):
            # ``held`` and ``forwarded`` are exclusive, so an OR replaces a multiplexer, for which
            # the memory's delay leaves no time.
            held, forwarded = (
                Signal(counter, name=f"{name}_{c}", reset_less=True)
                for name in ("held", "forwarded")
            )
            before = Signal(counter, name=f"before_{c}")
            with m.If(first | Cat(follows).any()):
                m.d.sync += held.eq(0)
            with m.Else():
                words = [self.words[b][c].as_value() for b in range(2)]
                m.d.sync += held.eq(Mux(bank, words[1], words[0]))
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
        m.d.comb += [
            self.in_flight.eq(Cat(accepted[1:-1]).any()),
            self.write_tile.eq(places[-1]),
        ]
        return m
