"""The value array: weighted sums ``P @ V`` of head after head, around a second grid."""

from amaranth.hdl import Const, Module, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import Config
from dtqatten.hw.arrays.grid import Grid
from dtqatten.hw.arrays.group_lister import GroupLister
from dtqatten.hw.arrays.score_array import CONTROL_LATENCY, DRAIN_LATENCY
from dtqatten.hw.arrays.score_buffer import ScoreBuffer
from dtqatten.hw.arrays.value_feeder import ValueFeeder
from dtqatten.hw.arrays.value_sequencer import ValueSequencer
from dtqatten.hw.arrays.weight_feeder import WeightFeeder
from dtqatten.hw.base.export import place
from dtqatten.hw.base.fork import fork
from dtqatten.hw.base.pipeline import delayed
from dtqatten.hw.payloads.arrays import score_row_layout, value_layout
from dtqatten.hw.payloads.choices import choice_stream
from dtqatten.hw.payloads.softmax import weight_row_layout

__all__ = ["ValueArray"]


class ValueArray(wiring.Component):
    """Exact integer weighted sums ``N = P @ V``, values at 4 or 8 bit per token.

    Where tiles have exponents, a weight counts ``2**(3 - exponent)``.

    The precision varies only along the reduction, which all PEs share: no PE ever waits for
    another. A row block takes ``s * ceil(d_head / cols)`` cycles, where ``s`` is ``planes * (groups
    + wide groups)``, with weights that follow their tokens' precision ``groups + (2 * planes - 1) *
    wide groups``, and with weights that are all narrow ``groups + wide groups``.

    Latency: row ``r`` of a tile is valid at ``sums`` ``r + hops + grid_stages + 6`` cycles after
    the tile's last step. Throughput: tiles follow without a bubble as long as weights and values
    are there and ``sums`` is read; a stall of ``sums`` delays the start of a tile and loses
    nothing.

    Parameters
    ----------
    config : Config
    observed : bool
        Add the port ``acc``.

    Members
    -------
    weights : In(stream.Signature(weight_row_layout(config)))
        Rows of ``P``, in the order in which scores leave the score array.
    values : In(stream.Signature(value_layout(config)))
        Tokens of ``V``, in the order of the keys.
    sums : Out(stream.Signature(score_row_layout(config, sum_width)))
        Rows of ``N``: of a row block, the rows of channels ``0..cols-1``, then those of the next
        ``cols`` channels; ``keys`` counts channels, ``last_tile`` marks the last of them.
    choices : Out(choice_stream(config))
        With ``chosen_values``: groups of heads whose weight rows have a ``share``; their values
        come then, and no others of these heads.
    working : Out(1)
        A step is issued.
    acc : Out(ArrayLayout(signed(sum_width), rows * cols))
        If observed: every accumulator, row by row.
    """

    def __init__(self, config: Config, *, observed: bool = False) -> None:
        self.config = config
        self.observed = observed
        self.width = config.sum_width
        ports = {
            "weights": In(stream.Signature(weight_row_layout(config))),
            "values": In(stream.Signature(value_layout(config))),
            "sums": Out(stream.Signature(score_row_layout(config, self.width))),
            "working": Out(1),
            **({"choices": Out(choice_stream(config))} if config.chosen_values else {}),
        }
        if observed:
            pes = config.rows * config.cols
            ports["acc"] = Out(data.ArrayLayout(signed(self.width), pes))
        super().__init__(ports)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config.of_values
        kind = (config, self.width, config.unsigned_weights, config.block_exponents)
        weights = place(m, platform, "weights_feeder", WeightFeeder, config)
        values = place(m, platform, "values_feeder", ValueFeeder, config)
        sequencer = place(m, platform, "sequencer", ValueSequencer, config)
        if self.observed:
            # Not placed: an instance's outputs are limited to 65536 bits in Amaranth.
            m.submodules.grid = grid = Grid(*kind, observed=True)
            m.d.comb += self.acc.eq(grid.acc)
        else:
            grid = place(m, platform, "grid", Grid, *kind)
        buffer = place(m, platform, "sum_buffer", ScoreBuffer, config, self.width)
        step = sequencer.step
        stages = config.grid_stages
        control = delayed(m, step.control, CONTROL_LATENCY + stages, "control", reset_less=False)
        drain = delayed(m, step.drain, DRAIN_LATENCY + stages, "drain", reset_less=False)

        if config.block_exponents:
            m.d.comb += grid.exponents.eq(weights.exponents)
        connect(m, flipped(self.weights), weights.i)
        connect(m, flipped(self.values), values.i)
        connect(m, buffer.o, flipped(self.sums))
        if config.skip_tiles:
            self._list(m, weights, values, sequencer)
        else:
            self._describe(m, weights, values, sequencer)
        m.d.comb += [
            sequencer.row_read.eq(buffer.row_read),
            weights.feed.eq(step.weight),
            values.feed.eq(step.value),
            grid.q.eq(weights.operands),
            grid.k.eq(values.operands),
            grid.control.eq(control),
            buffer.drain.eq(drain),
            buffer.columns.eq(grid.columns),
            self.working.eq(step.value.valid),
        ]
        return m

    def _describe(
        self, m: Module, weights: WeightFeeder, values: ValueFeeder, sequencer: ValueSequencer
    ) -> None:
        """Let the feeders describe row blocks and heads to the sequencer.

        Parameters
        ----------
        m : Module
        weights : WeightFeeder
        values : ValueFeeder
        sequencer : ValueSequencer
        """
        m.d.comb += [
            sequencer.block_loaded.eq(weights.loaded),
            weights.used.eq(sequencer.block_used),
            sequencer.block_bank.eq(weights.bank),
            sequencer.block.eq(weights.block),
            sequencer.block_after.eq(weights.block_after),
            sequencer.head_loaded.eq(values.loaded),
            values.used.eq(sequencer.head_used),
            sequencer.head_bank.eq(values.bank),
            sequencer.head.eq(values.head),
            sequencer.head_after.eq(values.head_after),
            values.wide_peek.eq(sequencer.wide_peek),
            sequencer.wide_group.eq(values.wide_group),
            sequencer.is_wide.eq(values.is_wide),
        ]

    def _list(
        self, m: Module, weights: WeightFeeder, values: ValueFeeder, sequencer: ValueSequencer
    ) -> None:
        """List the groups of the tiles that each row block visits for the sequencer.

        Parameters
        ----------
        m : Module
        weights : WeightFeeder
        values : ValueFeeder
        sequencer : ValueSequencer
        """
        m.submodules.groups = groups = GroupLister(self.config.of_values)
        m.d.comb += [
            groups.ended.eq(values.ended),
            groups.options.eq(values.options),
            groups.visited_valid.eq(weights.visited_valid),
            groups.visited.eq(weights.visited),
            *(
                (groups.levels_valid.eq(weights.levels_valid), groups.levels.eq(weights.levels))
                if self.config.local_values
                else ()
            ),
            groups.used.eq(sequencer.block_used),
            groups.index.eq(sequencer.wide_peek),
            sequencer.block_loaded.eq(groups.loaded),
            sequencer.block_bank.eq(groups.bank),
            sequencer.block.eq(groups.block),
            sequencer.block_after.eq(groups.block_after),
            sequencer.listed_group.eq(groups.group),
            sequencer.wide_group.eq(groups.wide_group),
            sequencer.is_wide.eq(groups.is_wide),
        ]
        if self.config.chosen_values:
            sinks = [values.choices, self.choices]
            fork(m, groups.choices, sinks, [Const(1), Const(1)], "choice")
            m.d.comb += [sink.p.eq(groups.choices.p) for sink in sinks]
