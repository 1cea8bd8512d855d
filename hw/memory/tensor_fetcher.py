"""One tensor of a layer: both planes fetched, joined, and replayed for shared heads."""

from amaranth.hdl import Const, Module, Mux
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.base.fork import fork
from dtqatten.hw.bus.read_channel import ReadChannel, read_port
from dtqatten.hw.memory.chosen_slots import slots_stream
from dtqatten.hw.memory.joiner import Joiner, Replayer, joined_layout
from dtqatten.hw.memory.run_table import place_run_layout
from dtqatten.hw.memory.run_walker import RunWalker, progress_layout
from dtqatten.hw.memory.walker import PlaneWalker, plan_layout
from dtqatten.hw.memory.widener import Widener
from dtqatten.hw.payloads.softmax import verdict_stream

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
        ignored, and row blocks of both classes alternate (Q). Where heads can be progressive, those
        of one row block are replayed, too.
    tries : bool
        Keys that can be tried: in a trial their high planes are given, then, replayed, they again,
        with low planes if the verdict is so.
    chooses : bool
        Values of which row blocks can choose: in a layer with ``plan.chosen`` those of ``groups``
        alone are fetched.

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
    verdicts : In(verdict_stream(config))
        Of keys that can be tried.
    groups : In(slots_stream(config))
        Of values of which row blocks can choose: chosen groups.
    high, low
        Read ports.
    o : Out(stream.Signature(joined_layout(nibbles)))
        Beats.
    """

    def __init__(
        self,
        system: SystemConfig,
        nibbles: int,
        replayed: int,
        tries: bool = False,
        chooses: bool = False,
    ) -> None:
        self.system, self.nibbles, self.replayed, self.tries = system, nibbles, replayed, tries
        self.chooses = chooses
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
            | ({"verdicts": In(verdict_stream(core))} if tries else {})
            | ({"groups": In(slots_stream(core))} if chooses else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system, nibbles = self.system, self.nibbles
        in_turns = not self.replayed
        walker: PlaneWalker | RunWalker
        walkers, channels = [], []
        joiner = place(m, platform, "joiner", Joiner, system, nibbles, in_turns, self.chooses)
        idle = joiner.idle
        for i, (plane, port) in enumerate((("high", self.high), ("low", self.low))):
            channel = place(
                m, platform, f"{plane}_channel", ReadChannel, system, nibbles, system.plane_bytes
            )
            if self.replayed:
                kind = (RunWalker, system, plane, self.tries, self.chooses)
                walker = place(m, platform, f"{plane}_walker", *kind)
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
            channels.append(channel)
            connect(m, channel.port, flipped(port))
        connect(m, channels[0].o, joiner.high)
        m.d.comb += [joiner.start.eq(self.start), joiner.plan.eq(self.plan)]
        if self.replayed:
            m.d.comb += [
                walkers[1].high[name].eq(getattr(walkers[0], name)) for name, _ in progress_layout()
            ]
        if self.chooses:
            sinks = [joiner.groups, *(walker.groups for walker in walkers)]
            fork(m, self.groups, sinks, [Const(1)] * len(sinks), "group")
            m.d.comb += [sink.p.eq(self.groups.p) for sink in sinks]
            # A head may end behind its last chosen group.
            idle = idle & walkers[0].idle & walkers[1].idle
        if self.replayed or system.core.progressive:
            tokens = None if self.replayed else system.core.rows
            replayer = place(m, platform, "replayer", Replayer, system.core, nibbles, tokens)
            connect(m, joiner.o, replayer.i)
            m.d.comb += replayer.repeats.eq(self.plan.repeats)
            idle = idle & replayer.idle
            source: stream.Interface = replayer.o
        else:
            source = joiner.o
        if self.tries:
            widener = self._try(m, platform, joiner, walkers[1], channels[1])
            connect(m, source, widener.i)
            source, idle = widener.o, idle & widener.idle & walkers[1].idle
        else:
            connect(m, channels[1].o, joiner.low)
        connect(m, source, flipped(self.o))
        m.d.comb += self.idle.eq(idle)
        return m

    def _try(
        self,
        m: Module,
        platform: object,
        joiner: Joiner,
        walker: RunWalker,
        channel: ReadChannel,
    ) -> Widener:
        """Give low planes of a trial to what gives its tokens again; return that.

        Parameters
        ----------
        m, platform
            As in ``elaborate``.
        joiner : Joiner
            Takes the low planes of other layers.
        walker, channel : RunWalker, ReadChannel
            Those of the low plane.
        """
        trial = self.plan.trial
        widener = place(m, platform, "widener", Widener, self.system.core, self.nibbles)
        fork(m, self.verdicts, [widener.verdicts, walker.verdicts], [Const(1), Const(1)], "verdict")
        for sink, wanted in ((joiner.low, ~trial), (widener.low, trial)):
            m.d.comb += [sink.valid.eq(channel.o.valid & wanted), sink.p.eq(channel.o.p)]
        m.d.comb += [
            widener.trial.eq(trial),
            widener.verdicts.p.eq(self.verdicts.p),
            walker.verdicts.p.eq(self.verdicts.p),
            channel.o.ready.eq(Mux(trial, widener.low.ready, joiner.low.ready)),
        ]
        with m.If(trial):
            # High planes alone at first; then the low ones of all tokens, or of none.
            m.d.comb += [joiner.plan.four_bit.eq(self.plan.tokens), walker.plan.four_bit.eq(0)]
        return widener
