"""One tensor of a layer: both planes fetched, joined, and replayed for shared heads."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.bus.read_channel import ReadChannel, read_port
from dtqatten.hw.memory.joiner import Joiner, Replayer, joined_layout
from dtqatten.hw.memory.run_table import place_run_layout
from dtqatten.hw.memory.run_walker import RunWalker, progress_layout
from dtqatten.hw.memory.walker import PlaneWalker, plan_layout

__all__ = ["TensorFetcher"]


def run_members(core: Config) -> dict[str, wiring.Member]:
    """Members of a tensor that is fetched run by run."""
    return {
        "run": In(place_run_layout(core)),
        "count": In(range(core.n_max + 1)),
        "head": Out(16).array(2),
        "busy": Out(2),
    }


class TensorFetcher(wiring.Component):
    """Fetch the tokens of a tensor, head by head, in the planes that they need.

    It runs ahead of the core while read buffers and the core's line buffers have room.

    Latency: from the first run (:class:`~dtqatten.hw.memory.walker.PlaneWalker` for Q,
    :class:`~dtqatten.hw.memory.run_walker.RunWalker` for K and V) 6 cycles and the memory's to the
    first beat. Throughput one beat a cycle, if runs and the bus keep up.

    Parameters
    ----------
    system : SystemConfig
    nibbles : int
        Nibbles of a beat.
    replayed : int
        1: heads are replayed for all query heads that share them (K and V); 0: ``repeats`` is
        ignored, and row blocks of both classes alternate (Q).

    Members
    -------
    start : In(1)
        Begin with ``plan``, which stays until ``idle``. Only while ``idle``.
    plan : In(plan_layout(system))
        What to fetch.
    idle : Out(1)
        All heads have been offered at ``o``.
    asked, granted : Out(2), In(2)
        Reading of tokens for the high and the low plane; of K and V reading of runs.
    index, entry, run, count
        See :class:`~dtqatten.hw.memory.token_table.TokenTable`; ``entry`` for Q, the others, and
        ``head`` and ``busy`` of each plane's walker, for K and V.
    high, low
        Read ports.
    o : Out(stream.Signature(joined_layout(nibbles)))
        Beats.
    """

    def __init__(self, system: SystemConfig, nibbles: int, replayed: int) -> None:
        self.system, self.nibbles, self.replayed = system, nibbles, replayed
        core = system.core
        super().__init__(
            {
                "start": In(1),
                "plan": In(plan_layout(system)),
                "idle": Out(1),
                "asked": Out(2),
                "granted": In(2),
                "index": Out(range(core.n_max)).array(2),
                **(run_members(core) if replayed else {"entry": In(range(core.positions))}),
                "high": Out(read_port(system)),
                "low": Out(read_port(system)),
                "o": Out(stream.Signature(joined_layout(nibbles))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system, nibbles = self.system, self.nibbles
        in_turns = not self.replayed
        walker: PlaneWalker | RunWalker
        walkers = []
        joiner = place(m, platform, "joiner", Joiner, system, nibbles, in_turns)
        idle = joiner.idle
        for i, (plane, port) in enumerate((("high", self.high), ("low", self.low))):
            channel = place(
                m, platform, f"{plane}_channel", ReadChannel, system, nibbles, system.plane_bytes
            )
            if self.replayed:
                walker = place(m, platform, f"{plane}_walker", RunWalker, system, plane)
                m.d.comb += [
                    walker.waiting.eq(channel.waiting),
                    walker.run.eq(self.run),
                    walker.count.eq(self.count),
                    self.head[i].eq(walker.head),
                    self.busy[i].eq(walker.busy),
                ]
            else:
                turns = plane == "high"
                walker = place(m, platform, f"{plane}_walker", PlaneWalker, system, plane, turns)
                m.d.comb += walker.entry.eq(self.entry)
            m.d.comb += [
                walker.start.eq(self.start),
                walker.plan.eq(self.plan),
                self.asked[i].eq(walker.asked),
                self.index[i].eq(walker.index),
                walker.granted.eq(self.granted[i]),
            ]
            walkers.append(walker)
            connect(m, walker.o, channel.runs)
            connect(m, channel.o, getattr(joiner, plane))
            connect(m, channel.port, flipped(port))
        m.d.comb += [joiner.start.eq(self.start), joiner.plan.eq(self.plan)]
        if self.replayed:
            m.d.comb += [
                walkers[1].high[name].eq(getattr(walkers[0], name)) for name, _ in progress_layout()
            ]
            replayer = place(m, platform, "replayer", Replayer, system.core, nibbles)
            connect(m, joiner.o, replayer.i)
            connect(m, replayer.o, flipped(self.o))
            m.d.comb += replayer.repeats.eq(self.plan.repeats)
            idle = idle & replayer.idle
        else:
            connect(m, joiner.o, flipped(self.o))
        m.d.comb += self.idle.eq(idle)
        return m
