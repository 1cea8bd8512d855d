"""The order in which a layer's slots are fetched, head after head."""

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.base.export import place

__all__ = ["GroupSlots", "RowBlocks", "Slots", "aligned"]


def aligned(four_bit: Value, tokens: Value, tile: int) -> Value:
    """Return :func:`dtqatten.golden.numerics.order.aligned` of the 4-bit tokens of a layer."""
    return Mux(four_bit == tokens, four_bit, four_bit - four_bit % tile)


def _layer_members(config: Config) -> dict[str, wiring.Member]:
    """Members that say which layer, and when to go on: see :class:`RowBlocks`."""
    count = range(config.n_max + 1)
    return {"restart": In(1), "tokens": In(count), "four_bit": In(count), "next": In(1)}


class RowBlocks(wiring.Component):
    """Row blocks of 4-bit and 8-bit queries, alternating.

    In the order of :func:`dtqatten.golden.numerics.order.alternate`.

    Latency: the first block is there 2 cycles after ``restart``. Throughput one block a cycle.

    Parameters
    ----------
    config : Config

    Members
    -------
    restart : In(1)
        Begin a layer of ``tokens`` slots, the first ``four_bit`` of the 4-bit class; both stay for
        it, and ``four_bit`` is a multiple of ``rows`` or ``tokens``.
    tokens, four_bit : In(range(n_max + 1))
    next : In(1)
        Go on to the next block, after the last one to the first of the next head; not in the cycle
        after ``restart``.
    first : Out(range(n_max))
        First slot of the block.
    size : Out(range(rows + 1))
        Slots in it.
    wide : Out(1)
        They are of the 8-bit class.
    last : Out(1)
        It is the head's last.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                **_layer_members(config),
                "first": Out(range(config.n_max)),
                "size": Out(range(config.rows + 1)),
                "wide": Out(1),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows, most = self.config.rows, self.config.n_max
        wide = Signal(range(most + 1))
        m.d.comb += wide.eq(self.tokens - self.four_bit)
        # By class: first slot of its next block, its end, and Bresenham-style progress, on one
        # scale for both.
        start, end, way = (
            [Signal(range(limit), name=f"{name}_{bits}") for bits in (4, 8)]
            for name, limit in (
                ("start", most + 1),
                ("end", most + 1),
                ("way", most * most + most + 1),
            )
        )
        size, full, done = (
            [Signal(range(limit), name=f"{name}_{bits}") for bits in (4, 8)]
            for name, limit in (("size", rows + 1), ("full", 2), ("done", 2))
        )
        other = (wide, self.four_bit)
        m.d.comb += [end[0].eq(self.four_bit), end[1].eq(self.tokens)]
        for i in range(2):
            left = end[i] - start[i]
            m.d.comb += [
                full[i].eq(left >= rows),
                size[i].eq(Mux(full[i], rows, left)),
                done[i].eq(left == size[i]),
            ]
        eight = Signal()
        with m.If(full[0] & full[1]):
            m.d.comb += eight.eq(way[1] < way[0])
        with m.Else():
            # A last block that is not full is the head's last one.
            m.d.comb += eight.eq(~full[0] & (full[1] | (size[0] == 0)))
        # The block that follows the one shown; the first one of a layer is taken at once.
        last, fill, advance = Signal(), Signal(), Signal()
        m.d.sync += fill.eq(self.restart)
        m.d.comb += [
            last.eq(Mux(eight, done[1] & (size[0] == 0), done[0] & (size[1] == 0))),
            advance.eq(fill | self.next),
        ]
        with m.If(advance):
            m.d.sync += [
                self.first.eq(Mux(eight, start[1], start[0])),
                self.size.eq(Mux(eight, size[1], size[0])),
                self.wide.eq(eight),
                self.last.eq(last),
            ]
        for i, chosen in enumerate((~eight, eight)):
            with m.If(advance & chosen):
                m.d.sync += [
                    start[i].eq(start[i] + size[i]),
                    way[i].eq(way[i] + (other[i] << 1)),
                ]
        with m.If(self.restart | (advance & last)):
            m.d.sync += [start[0].eq(0), start[1].eq(self.four_bit)]
            m.d.sync += [way[i].eq(other[i]) for i in range(2)]
        return m


class Slots(wiring.Component):
    """Slots one after the other: in order, or, of queries, by :class:`RowBlocks`.

    Latency: the first slot is there in the cycle after ``restart``, by row blocks a cycle later.
    Throughput one slot a cycle.

    Parameters
    ----------
    config : Config
    in_turns : bool
        Slots of queries: row blocks of both classes alternate.

    Members
    -------
    restart, tokens, four_bit, next
        As of :class:`RowBlocks`, ``next`` by a slot; in order ``four_bit`` only matters to
        ``wide``, and is any number.
    slot : Out(range(n_max))
    wide : Out(1)
        It is of the 8-bit class.
    last : Out(1)
        It is the head's last.
    """

    def __init__(self, config: Config, in_turns: bool) -> None:
        self.config, self.in_turns = config, in_turns
        super().__init__(
            {
                **_layer_members(config),
                "slot": Out(range(config.n_max)),
                "wide": Out(1),
                "last": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        offset = Signal(range(self.config.rows if self.in_turns else self.config.n_max))
        end = Signal()
        if self.in_turns:
            blocks = place(m, platform, "blocks", RowBlocks, self.config)
            m.d.comb += [
                blocks.restart.eq(self.restart),
                blocks.tokens.eq(self.tokens),
                blocks.four_bit.eq(self.four_bit),
                blocks.next.eq(self.next & end),
                end.eq(offset == blocks.size - 1),
                self.slot.eq(blocks.first + offset),
                self.wide.eq(blocks.wide),
                self.last.eq(end & blocks.last),
            ]
        else:
            # Registered beside the slot: what depends on them has no time for a comparison.
            m.d.comb += [self.slot.eq(offset), self.last.eq(end)]
            first = self.restart | end
            with m.If(self.restart | self.next):
                m.d.sync += [
                    end.eq(Mux(first, self.tokens == 1, offset + 2 == self.tokens)),
                    self.wide.eq(Mux(first, self.four_bit == 0, offset + 1 >= self.four_bit)),
                ]
        with m.If(self.next):
            m.d.sync += offset.eq(Mux(end, 0, offset + 1))
        with m.If(self.restart):
            m.d.sync += offset.eq(0)
        return m


class GroupSlots(wiring.Component):
    """Slots of rows in turns, as :class:`Slots` has them, with the query and query head of each.

    A query has a row for each of the ``group`` query heads that share rows; they follow each other.

    Latency: the first slot is there 2 cycles after ``restart``. Throughput one slot a cycle.

    Parameters
    ----------
    config : Config

    Members
    -------
    restart, tokens, four_bit, next, slot, last
        As of :class:`Slots`, of rows.
    group, edge : In(16), In(range(n_max + 1))
        Query heads, and queries in 4 bits: ``four_bit`` is ``edge * group``, or ``tokens``.
    query : Out(range(n_max))
        Of the slot: ``slot // group``.
    member : Out(range(heads))
        Which query head of the group: ``slot % group``.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                **_layer_members(config),
                "group": In(16),
                "edge": In(range(config.n_max + 1)),
                "slot": Out(range(config.n_max)),
                "last": Out(1),
                "query": Out(range(config.n_max)),
                "member": Out(range(config.heads)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        slots = place(m, platform, "slots", Slots, self.config, True)
        wide = Signal()
        m.d.comb += [
            slots.restart.eq(self.restart),
            slots.tokens.eq(self.tokens),
            slots.four_bit.eq(self.four_bit),
            slots.next.eq(self.next),
            self.slot.eq(slots.slot),
            self.last.eq(slots.last),
            wide.eq(slots.wide),
        ]
        # By class, each of which comes in order.
        query = [Signal.like(self.query, name=f"query_{bits}") for bits in (4, 8)]
        member = [Signal.like(self.member, name=f"member_{bits}") for bits in (4, 8)]
        m.d.comb += [
            self.query.eq(Mux(wide, query[1], query[0])),
            self.member.eq(Mux(wide, member[1], member[0])),
        ]
        for i, chosen in enumerate((~wide, wide)):
            end = member[i] + 1 == self.group
            with m.If(self.next & chosen):
                m.d.sync += [
                    query[i].eq(query[i] + end),
                    member[i].eq(Mux(end, 0, member[i] + 1)),
                ]
        with m.If(self.restart | (self.next & self.last)):
            m.d.sync += [query[0].eq(0), query[1].eq(self.edge), member[0].eq(0), member[1].eq(0)]
        return m
