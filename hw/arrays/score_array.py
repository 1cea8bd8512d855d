"""The variable-speed systolic array: line buffers, PEs and score buffer around a sequencer."""

from amaranth.hdl import Module, Mux, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import Config
from dtqatten.hw.arrays.feeder import Feeder
from dtqatten.hw.arrays.grid import Grid
from dtqatten.hw.arrays.monitor import COUNTER_WIDTH, Monitor
from dtqatten.hw.arrays.score_buffer import ScoreBuffer
from dtqatten.hw.arrays.sequencer import Sequencer
from dtqatten.hw.base.export import place
from dtqatten.hw.base.pipeline import delayed
from dtqatten.hw.payloads.arrays import listed_tile_layout, load_layout, score_row_layout

__all__ = ["CONTROL_LATENCY", "DRAIN_LATENCY", "ScoreArray"]


#: Cycles, beside the ``grid_stages``, from a step to its control entering the first PE and to
#: its drain command.
CONTROL_LATENCY, DRAIN_LATENCY = 2, 4


def observation_layout(config: Config) -> dict[str, Out]:
    """Ports that show a monitored array's PEs, row by row."""
    pes = config.rows * config.cols
    return {
        "acc": Out(data.ArrayLayout(signed(config.score_width), pes)),
        "busy": Out(pes),
        "stalled": Out(pes),
        "busy_cycles": Out(data.ArrayLayout(COUNTER_WIDTH, pes)),
        "stall_cycles": Out(data.ArrayLayout(COUNTER_WIDTH, pes)),
    }


class ScoreArray(wiring.Component):
    """Exact integer scores ``Q @ K.T`` of head after head, at 4 or 8 bit per token.

    Variable-speed systolic array (DTQAtten, DATE 2022): a tile of ``rows`` queries by ``cols``
    keys takes ``steps``, ``2*steps`` or ``4*steps`` cycles, as it has 8-bit tokens on neither, one
    or both of its edges. Row blocks come in query order, each against all keys of the head, while
    keys and queries of later heads are being loaded.

    Latency: row ``r`` of a tile is valid at ``scores`` ``r + hops + grid_stages + 6`` cycles
    after the tile's last step (:class:`~dtqatten.hw.arrays.sequencer.Sequencer`). Throughput: tiles
    follow without a bubble as long as they are loaded and ``scores`` is read; a stall of ``scores``
    delays the start of a tile and loses nothing.

    Parameters
    ----------
    config : Config
    monitored : bool
        Add the observation ports and a pair of counters per PE.

    Members
    -------
    q, k : In(stream.Signature(load_layout(config)))
        Query and key tokens, head by head.
    scores : Out(stream.Signature(score_row_layout(config)))
        Score rows.
    visits : In(stream.Signature(listed_tile_layout(config)))
        With ``skip_tiles``: the tiles that each row block visits, of all those of its head.
    working : Out(1)
        A step is issued.
    clear : In(1)
        Zero the counters.
    steps, tiles, mixed_tiles : Out(32)
        Counters: cycles in which a step was issued, tiles started, and those of them with both
        precisions along an edge, so that PEs stall. They wrap.
    acc : Out(ArrayLayout(signed(score_width), rows * cols))
        If monitored: every accumulator; PE ``(r, c)`` is at ``r * cols + c``.
    busy, stalled : Out(rows * cols)
        If monitored: what every PE does, see :class:`~dtqatten.hw.arrays.monitor.Monitor`.
    busy_cycles, stall_cycles : Out(ArrayLayout(32, rows * cols))
        If monitored: their counts.
    """

    def __init__(self, config: Config, *, monitored: bool = False) -> None:
        self.config = config
        self.monitored = monitored
        super().__init__(
            {
                "q": In(stream.Signature(load_layout(config))),
                "k": In(stream.Signature(load_layout(config))),
                "scores": Out(stream.Signature(score_row_layout(config))),
                **(
                    {"visits": In(stream.Signature(listed_tile_layout(config)))}
                    if config.skip_tiles
                    else {}
                ),
                "working": Out(1),
                "clear": In(1),
                "steps": Out(COUNTER_WIDTH),
                "tiles": Out(COUNTER_WIDTH),
                "mixed_tiles": Out(COUNTER_WIDTH),
                **(observation_layout(config) if monitored else {}),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        q_feeder = place(m, platform, "q_feeder", Feeder, config, "q")
        k_feeder = place(m, platform, "k_feeder", Feeder, config, "k")
        sequencer = place(m, platform, "sequencer", Sequencer, config)
        if self.monitored:
            # Not placed: an instance's outputs are limited to 65536 bits in Amaranth.
            m.submodules.grid = grid = Grid(config, config.score_width, observed=True)
        else:
            grid = place(m, platform, "grid", Grid, config, config.score_width)
        buffer = place(m, platform, "score_buffer", ScoreBuffer, config)
        step = sequencer.step
        stages = config.grid_stages
        control = delayed(m, step.control, CONTROL_LATENCY + stages, "control", reset_less=False)
        drain = delayed(m, step.drain, DRAIN_LATENCY + stages, "drain", reset_less=False)

        connect(m, flipped(self.q), q_feeder.i)
        connect(m, flipped(self.k), k_feeder.i)
        connect(m, buffer.o, flipped(self.scores))
        if config.skip_tiles:
            connect(m, flipped(self.visits), sequencer.visits)
        m.d.comb += [
            sequencer.q_loaded.eq(q_feeder.loaded),
            sequencer.k_loaded.eq(k_feeder.loaded),
            q_feeder.peek.eq(sequencer.q_peek),
            k_feeder.peek.eq(sequencer.k_peek),
            sequencer.q_tile.eq(q_feeder.tile),
            sequencer.k_tile.eq(k_feeder.tile),
            sequencer.score_row_read.eq(buffer.row_read),
            q_feeder.feed.eq(step.q),
            k_feeder.feed.eq(step.k),
            grid.q.eq(q_feeder.operands),
            grid.k.eq(k_feeder.operands),
            grid.control.eq(control),
            buffer.drain.eq(drain),
            buffer.columns.eq(grid.columns),
        ]
        m.d.comb += self.working.eq(step.q.valid)
        for counter, event in (
            (self.steps, self.working),
            (self.tiles, sequencer.tile_started),
            (self.mixed_tiles, sequencer.mixed_started),
        ):
            m.d.sync += counter.eq(Mux(self.clear, 0, counter + event))
        if self.monitored:
            m.submodules.monitor = monitor = Monitor(config)
            m.d.comb += [
                monitor.q_occupied.eq(q_feeder.occupied),
                monitor.q_active.eq(q_feeder.active),
                monitor.k_occupied.eq(k_feeder.occupied),
                monitor.k_active.eq(k_feeder.active),
                monitor.clear.eq(self.clear),
                self.acc.eq(grid.acc),
                self.busy.eq(monitor.busy),
                self.stalled.eq(monitor.stalled),
                self.busy_cycles.eq(monitor.busy_cycles),
                self.stall_cycles.eq(monitor.stall_cycles),
            ]
        return m
