"""The sequencer of the value array: row blocks of weights by the channels of the values."""

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import BANKS, Config
from dtqatten.hw.arrays.score_buffer import tile_fits
from dtqatten.hw.arrays.value_order import NextTile, order
from dtqatten.hw.base.pipeline import counted, delayed
from dtqatten.hw.payloads.arrays import (
    group_layout,
    listed_block_layout,
    value_head_layout,
    value_step_layout,
    weight_block_layout,
)

__all__ = ["ValueSequencer"]


class ValueSequencer(wiring.Component):
    """Issue one step of weighted sums a cycle: every row block against all channels of its head.

    A tile is a row block by ``cols`` channels. Its reduction runs over groups of ``depth`` tokens:
    for each, all ``planes`` of the weights by the high plane of the values, and by their low plane
    where the group is wide; ``planes * (groups + wide groups)`` steps. Where weights follow their
    tokens' precision, a group that is not wide takes the highest plane of the weights only:
    ``groups + (2 * planes - 1) * wide groups`` steps. A narrow row block takes that plane only, of
    all groups: ``groups + wide groups`` steps. Plane-major, pairs of planes come by weight, the
    heaviest first; interleaved, all pairs of a group come together.

    A tile starts in the cycle after the previous one ended, if its row block and all values of the
    head are loaded, the result buffer has room for ``rows`` more rows and its end leaves the
    previous tile ``drain_interval`` cycles. Once started it never stalls.

    Latency: ``step`` is registered; a tile whose row block's or head's ``loaded`` pulses last, in
    cycle ``t``, has its first step at ``t + 5``, when the descriptions, and whether the wait that
    they ask for is over, are in registers.

    Parameters
    ----------
    config : Config

    Members
    -------
    block_loaded, head_loaded : In(1)
        A row block of weights, or a head's values, is complete.
    block_used, head_used : Out(1)
        The row block's, the head's last step is issued.
    block_bank, head_bank : In
        Where the current ones are.
    block, block_after : In(weight_block_layout(config))
        The current row block and the one after it, as of
        :class:`~dtqatten.hw.base.descriptions.Descriptions`; with ``skip_tiles`` of
        ``listed_block_layout``, and complete only with its head.
    head, head_after : In(value_head_layout(config))
    wide_peek : Out
        Index into the head's wide groups, or the group asked about.
    wide_group : In(group_layout(config))
    is_wide : In(1)
    listed_group : In(group_layout(config))
        With ``skip_tiles``: the row block's group ``wide_peek``. Heads are not described then:
        ``head_loaded``, ``head_used``, ``head_bank``, ``head`` and ``head_after`` are missing.
    row_read : In(1)
        A row left the result buffer.
    step : Out(value_step_layout(config))
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        heads = {
            "head_loaded": In(1),
            "head_used": Out(1),
            "head_bank": In(range(BANKS)),
            "head": In(value_head_layout(config)),
            "head_after": In(value_head_layout(config)),
        }
        listed = {"listed_group": In(group_layout(config))}
        block = listed_block_layout(config) if config.skip_tiles else weight_block_layout(config)
        super().__init__(
            {
                "block_loaded": In(1),
                "block_used": Out(1),
                "block_bank": In(range(config.weight_banks)),
                "block": In(block),
                "block_after": In(block),
                **(listed if config.skip_tiles else heads),
                "wide_peek": Out(range(config.key_tiles * config.parts)),
                "wide_group": In(group_layout(config)),
                "is_wide": In(1),
                "row_read": In(1),
                "step": Out(value_step_layout(config)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config, passes = self.config, self.config.channel_passes
        block = self.block
        channel_pass = Signal(range(passes))
        last_pass = channel_pass == passes - 1
        running, start, issue = Signal(), Signal(), Signal()
        m.submodules.order = steps = order(config)
        final = steps.final

        # A block or head counts until its last tile starts, so that the counts may be registered.
        begun = start & last_pass

        def here(loaded: Value, begins: Value, name: str, most: int) -> Value:
            described = delayed(m, loaded, 3, f"{name}_described", reset_less=False)
            return counted(m, described, begins, name, most=most)

        blocks = here(self.block_loaded, begun, "blocks", config.weight_banks)
        head_used = Signal()
        if config.skip_tiles:
            heads: Value = Const(1)
            head_bank = Signal(range(BANKS))
            m.d.sync += head_bank.eq(head_bank ^ head_used)
            described = [
                self._as_head(m, self.block, "now"),
                self._as_head(m, self.block_after, "after"),
            ]
            m.d.comb += steps.listed_group.eq(self.listed_group)
        else:
            heads = here(self.head_loaded, begun & block.last, "heads", BANKS)
            head_bank, described = self.head_bank, [self.head, self.head_after]
            m.d.comb += self.head_used.eq(head_used)
        head, head_after = described
        tile = NextTile(block, self.block_after, head, head_after, last_pass, config.skip_tiles)
        fits = tile_fits(m, config, start, block.rows, self.row_read)
        m.d.comb += [
            start.eq(~running & blocks & heads & fits & self._drained(m, final, tile)),
            issue.eq(start | running),
            self.block_used.eq(final & last_pass),
            head_used.eq(self.block_used & block.last),
            steps.issue.eq(issue),
            steps.last_pass.eq(last_pass),
            *(steps.block[name].eq(block[name]) for name, _ in weight_block_layout(config)),
            *(
                steps.block_after[name].eq(self.block_after[name])
                for name, _ in weight_block_layout(config)
            ),
            steps.head.eq(head),
            steps.head_after.eq(head_after),
            steps.wide_group.eq(self.wide_group),
            steps.is_wide.eq(self.is_wide),
            self.wide_peek.eq(steps.index),
        ]
        with m.If(final):
            m.d.sync += channel_pass.eq(Mux(last_pass, 0, channel_pass + 1))
        m.d.sync += running.eq(issue & ~final)

        weight, value = self.step.weight, self.step.value
        control, drain = self.step.control, self.step.drain
        # The last channel pass may leave columns without a channel.
        channels = Mux(last_pass, config.d_head - (passes - 1) * config.cols, config.cols)
        m.d.sync += [
            weight.valid.eq(issue),
            weight.bank.eq(self.block_bank),
            weight.tile.eq(steps.group.tile),
            weight.part.eq(steps.group.part),
            weight.plane.eq(steps.plane),
            weight.release.eq(self.block_used),
            value.valid.eq(issue),
            value.bank.eq(head_bank),
            value.channel_pass.eq(channel_pass),
            value.tile.eq(steps.group.tile),
            value.part.eq(steps.group.part),
            value.plane.eq(steps.low),
            value.release.eq(head_used),
            control.first.eq(start),
            control.shift.eq(Mux(issue, steps.shift, 0)),
            control.last.eq(final),
            drain.valid.eq(final),
            drain.rows.eq(block.rows),
            drain.keys.eq(channels),
            drain.lift.eq(steps.lift),
            drain.last_tile.eq(last_pass),
            drain.last_block.eq(block.last),
        ]
        return m

    def _as_head(self, m: Module, block: data.View, name: str) -> data.View:
        """Return what a listed row block says of its head."""
        head = Signal(value_head_layout(self.config), name=f"head_{name}")
        m.d.comb += [head[field].eq(block[field]) for field, _ in head.shape()]
        return head

    def _drained(self, m: Module, final: Value, tile: NextTile) -> Signal:
        """Return a register that says whether the next tile leaves the previous one time to drain.

        Cycles are counted from the previous tile's ``final`` step, and compared one cycle early.
        """
        interval = self.config.drain_interval
        since = Signal(range(interval + 1), init=interval)
        waited = Signal()

        def wait(block: data.View, head: data.View) -> Value:
            return Mux(block.narrow, head.narrow_wait, head.wait)

        m.d.sync += waited.eq(
            Mux(
                final,
                tile.said(lambda block, head: wait(block, head) == 0),
                since >= wait(tile.block, tile.head),
            )
        )
        with m.If(final):
            m.d.sync += since.eq(1)
        with m.Elif(since != interval):
            m.d.sync += since.eq(since + 1)
        return waited
