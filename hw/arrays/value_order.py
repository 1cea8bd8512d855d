"""The order of steps in a tile of weighted sums: pairs of planes and groups, a schedule each."""

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config, Schedule
from dtqatten.hw.payloads.arrays import (
    control_layout,
    group_layout,
    value_head_layout,
    weight_block_layout,
)

__all__ = ["InterleavedOrder", "NextTile", "Order", "PlaneMajorOrder", "order"]

#: A property of a row block and a head.
Said = Callable[[data.View, data.View], Value]


@dataclass(frozen=True)
class NextTile:
    """The current tile and the one after it.

    Parameters
    ----------
    block, block_after : View of weight_block_layout(config)
        The current row block and the one after it.
    head, head_after : View of value_head_layout(config)
        The current head and the one after it.
    last_pass : Value
        The tile is its row block's last.
    each : bool
        ``head`` and ``head_after`` are what the row blocks themselves say of their heads.
    """

    block: data.View
    block_after: data.View
    head: data.View
    head_after: data.View
    last_pass: Value
    each: bool = False

    def said(self, of: Said) -> Value:
        """Return the property ``of`` the tile after the current one."""
        later = of(self.block_after, self.head_after)
        if not self.each:
            later = Mux(self.block.last, later, of(self.block_after, self.head))
        return Mux(self.last_pass, later, of(self.block, self.head))


class Order(wiring.Component):
    """Position in a tile: weight plane, value plane, group; all zero between tiles.

    Each schedule is a subclass.

    Latency: the position is that of this cycle's step; it moves on in the cycle after ``issue``.
    Flags that depend on block and head are registered one cycle early: with ``final`` those of the
    next tile, while idle those of the tile that waits. So ``block`` and ``head`` must be valid one
    cycle before a tile starts.

    Parameters
    ----------
    config : Config

    Members
    -------
    issue : In(1)
        There is a step.
    last_pass : In(1)
        The tile is its row block's last.
    block, block_after : In(weight_block_layout(config))
        The current row block and the one after it.
    head, head_after : In(value_head_layout(config))
        The current head and the one after it; with ``skip_tiles`` as the row blocks see theirs.
    index : Out(range(key_tiles * parts))
        Number of the step's group among those visited, or among the wide ones of them where only
        these are.
    listed_group : In(group_layout(config))
        With ``skip_tiles``: the visited group number ``index``, in the same cycle.
    wide_group : In(group_layout(config))
        The wide group number ``index``, in the same cycle; plane-major only.
    is_wide : In(1)
        Group ``index`` is wide, in the same cycle; interleaved only.
    group : Out(group_layout(config))
        The step's group.
    plane : Out(range(planes))
        The step's plane of the weights, 0 the highest.
    low : Out(1)
        The step's plane of the values.
    final : Out(1)
        The step is the tile's last.
    shift : Out(control_layout(config)["shift"])
        Shift of the accumulator (plane-major) or of the product (interleaved).
    lift : Out(range(planes + 1))
        Power of 16 by which the tile's sums are multiplied.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        groups = range(config.key_tiles * config.parts)
        super().__init__(
            {
                "issue": In(1),
                "last_pass": In(1),
                "block": In(weight_block_layout(config)),
                "block_after": In(weight_block_layout(config)),
                "head": In(value_head_layout(config)),
                "head_after": In(value_head_layout(config)),
                "index": Out(groups),
                **({"listed_group": In(group_layout(config))} if config.skip_tiles else {}),
                "wide_group": In(group_layout(config)),
                "is_wide": In(1),
                "group": Out(group_layout(config)),
                "plane": Out(range(config.planes)),
                "low": Out(1),
                "final": Out(1),
                "shift": Out(control_layout(config)["shift"].shape),
                "lift": Out(range(config.planes + 1)),
            }
        )

    def ahead(self, m: Module, name: str, first: Said) -> Signal:
        """Return a register that holds ``first`` of block and head when a tile starts."""
        tile = NextTile(
            self.block,
            self.block_after,
            self.head,
            self.head_after,
            self.last_pass,
            self.config.skip_tiles,
        )
        known = Signal(name=name)
        with m.If(self.final):
            m.d.sync += known.eq(tile.said(first))
        with m.Elif(~self.issue):
            m.d.sync += known.eq(first(self.block, self.head))
        return known

    def at_last(
        self, m: Module, single: str, before_last: str, moves: Value, pass_end: Value
    ) -> Signal:
        """Return a register that says whether the step's group is the last one of its pass.

        Parameters
        ----------
        m : Module
        single, before_last : str
            Fields of a head's description: the pass visits one group; number of the last but one.
        moves, pass_end : Value
            The next step is at the next group of the pass; at the first one.
        """
        known = self.ahead(m, f"at_{single}", lambda block, head: head[single])
        with m.If(self.issue & ~self.final):
            with m.If(pass_end):
                m.d.sync += known.eq(self.head[single])
            with m.Elif(moves):
                m.d.sync += known.eq(self.index == self.head[before_last])
        return known

    def next_group(self, m: Module, group: data.View) -> None:
        """Move on by one group."""
        m.d.sync += self.index.eq(self.index + 1)
        if self.config.skip_tiles:
            return
        m.d.sync += group.part.eq(group.part + 1)
        with m.If(group.part == self.config.parts - 1):
            m.d.sync += [group.part.eq(0), group.tile.eq(group.tile + 1)]

    def first_group(self, m: Module, group: data.View) -> None:
        """Begin with the first group again."""
        m.d.sync += self.index.eq(0)
        if not self.config.skip_tiles:
            m.d.sync += group.eq(0)

    def listed_groups(self, m: Module, group: data.View) -> None:
        """Take groups from the list, where there is one."""
        if self.config.skip_tiles:
            m.d.comb += group.eq(self.listed_group)


class InterleavedOrder(Order):
    """Group by group, each with all pairs of planes that it needs.

    All weight planes by the high plane of the values, then, of a wide group, all weight planes by
    the low one. Each product is shifted on its own, so sums need no ``lift``.
    """

    def elaborate(self, platform: object) -> Module:
        m = Module()
        planes, plane, low, group = self.config.planes, self.plane, self.low, self.group
        pairs_end, moves, pass_end = Signal(), Signal(), Signal()
        self.listed_groups(m, group)
        last_group = self.at_last(m, "single", "before_last", moves, pass_end)
        last_plane = self.block.narrow | (plane == planes - 1)
        m.d.comb += [
            pairs_end.eq(Mux(self.is_wide, low & last_plane, self.head.follows | last_plane)),
            moves.eq(self.issue & pairs_end),
            pass_end.eq(pairs_end & last_group),
            self.final.eq(self.issue & pass_end),
            self.shift.eq(planes - plane - low),
        ]
        with m.If(self.issue):
            m.d.sync += plane.eq(plane + 1)
            with m.If(last_plane):
                m.d.sync += [plane.eq(0), low.eq(1)]
            with m.If(pairs_end):
                m.d.sync += [plane.eq(0), low.eq(0)]
                self.next_group(m, group)
                with m.If(last_group):
                    self.first_group(m, group)
        with m.If(self.final):
            m.d.sync += [plane.eq(0), low.eq(0)]
        return m


class PlaneMajorOrder(Order):
    """Pair by pair of planes, each over all groups that need it.

    Pairs come by total weight, the heaviest first: (0,0) (1,0)(0,1) (2,0)(1,1) ..., the low plane
    of the values last. The accumulator is shifted where the weight falls.
    """

    def elaborate(self, platform: object) -> Module:
        m = Module()
        planes, plane, low = self.config.planes, self.plane, self.low
        follows, some_wide, narrow = self.head.follows, self.head.some_wide, self.block.narrow
        group = Signal(self.group.shape())
        self.listed_groups(m, group)
        pass_end = Signal()
        last_group = self.at_last(m, "single", "before_last", self.issue, pass_end)
        next_plane, next_low = Signal.like(plane), Signal.like(low)
        m.d.comb += [next_plane.eq(plane + 1), next_low.eq(low)]
        with m.If(~low):
            with m.If(narrow):
                m.d.comb += [next_plane.eq(plane), next_low.eq(1)]
            with m.Elif(some_wide & (plane != 0)):
                m.d.comb += [next_plane.eq(plane - 1), next_low.eq(1)]
        with m.Elif(plane + 2 <= planes - 1):
            m.d.comb += [next_plane.eq(plane + 2), next_low.eq(0)]

        # ``listed``: this pass visits wide groups only. ``last_pair``: it is the tile's last.
        listed = self.ahead(m, "listed", lambda block, head: Const(0))
        last_pair = self.ahead(
            m, "last_pair", lambda block, head: ~head.some_wide & (head.follows | block.narrow)
        )
        last_wide = self.at_last(m, "single_wide", "before_last_wide", self.issue, pass_end)
        lighter = Mux(low, narrow | (plane == planes - 1), plane != 0)
        m.d.comb += [
            self.group.eq(Mux(listed, self.wide_group, group)),
            pass_end.eq(Mux(listed, last_wide, last_group)),
            self.final.eq(self.issue & pass_end & last_pair),
            self.shift.eq((self.index == 0) & lighter),
            self.lift.eq(
                Mux(some_wide, Mux(narrow, planes - 1, 0), Mux(narrow | follows, planes, 1))
            ),
        ]
        with m.If(self.issue):
            self.next_group(m, group)
            with m.If(pass_end):
                self.first_group(m, group)
                m.d.sync += [plane.eq(next_plane), low.eq(next_low)]
        with m.If(self.issue & pass_end & ~self.final):
            last_plane = narrow | (next_plane == planes - 1)
            m.d.sync += [
                listed.eq(next_low | (follows & (next_plane != 0))),
                last_pair.eq(Mux(some_wide, next_low & last_plane, follows | last_plane)),
            ]
        with m.If(self.final):
            m.d.sync += [plane.eq(0), low.eq(0)]
        return m


def order(config: Config) -> Order:
    """Return the order of the configuration's schedule."""
    if config.schedule is Schedule.INTERLEAVED:
        return InterleavedOrder(config)
    return PlaneMajorOrder(config)
