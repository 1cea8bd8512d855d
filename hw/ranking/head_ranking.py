"""Heads ranked by importance, each while the next one is computed; which of them are left."""

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config
from dtqatten.hw.payloads.heads import head_report_layout, heads_layout, ranked_head_layout
from dtqatten.hw.payloads.ranking import IMPORTANCE_BITS
from dtqatten.interface.descriptor import NO_RANK

__all__ = ["HeadRanking"]


class HeadRanking(wiring.Component):
    """Add up the importance of heads over layers, rank them, and keep the first ones.

    As :func:`dtqatten.golden.numerics.heads.ranked_heads`: of equal heads the lowest one is first;
    a head that is pruned stays so until a layer begins afresh. A head's rank is how many rank
    before it. When its sum comes, it is compared with all heads below it: of each pair the one that
    ranks behind counts.

    Latency: of ``heads`` in memory, head ``h`` takes ``h + 4`` cycles from its sum on, head 0 takes
    3 and a pruned one 1; ``kept`` counts ``heads + 2`` cycles after the last head is ranked.
    Throughput of the report a head a cycle; where it waits, ``kept`` does. Sums wait while a head
    is ranked.

    Parameters
    ----------
    config : Config

    Members
    -------
    layer : In(stream.Signature(heads_layout(config)))
        Layers in order; one is taken when that before it is ranked.
    sums : In(stream.Signature(32))
        What each head that is left adds, ascending.
    report : Out(stream.Signature(head_report_layout()))
        All heads of the layers that ask for it.
    kept : Out(heads)
        Heads that are left, a bit each; while ``idle``.
    idle : Out(1)
        All layers taken are ranked.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "layer": In(stream.Signature(heads_layout(config))),
                "sums": In(stream.Signature(unsigned(IMPORTANCE_BITS))),
                "report": Out(stream.Signature(head_report_layout())),
                "kept": Out(config.heads),
                "idle": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        most = (1 << IMPORTANCE_BITS) - 1
        layout = ranked_head_layout(config)
        m.submodules.memory = heads = memory.Memory(shape=layout, depth=config.heads, init=[])
        write, read = heads.write_port(), heads.read_port()
        layer = Signal(heads_layout(config))
        # The head whose turn it is, and the one that it is compared with, or that is read.
        head, other, compared = (
            Signal(range(config.heads), name=name) for name in ("head", "other", "compared")
        )
        last = head == layer.heads - 1
        added, own = Signal(IMPORTANCE_BITS), Signal(layout)
        compares = Signal()
        kept, alive = self.kept.bit_select(head, 1), self.kept.bit_select(compared, 1)
        m.d.comb += [read.addr.eq(other), write.addr.eq(head)]
        m.d.sync += [compared.eq(other), compares.eq(0)]

        # Of two heads, the one that ranks behind counts.
        with m.If(compares & alive):
            with m.If(read.data.importance >= own.importance):
                m.d.sync += own.rank.eq(own.rank + 1)
            with m.Else():
                m.d.comb += [
                    write.en.eq(1),
                    write.addr.eq(compared),
                    write.data.importance.eq(read.data.importance),
                    write.data.rank.eq(read.data.rank + 1),
                ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [self.idle.eq(1), self.layer.ready.eq(1)]
                m.d.sync += [layer.eq(self.layer.p), head.eq(0)]
                with m.If(self.layer.valid):
                    with m.If(~self.layer.p.chained):
                        m.d.sync += self.kept.eq(~0)
                    m.next = "SUM"
            with m.State("SUM"):
                m.d.comb += [read.addr.eq(head), self.sums.ready.eq(kept)]
                m.d.sync += [added.eq(self.sums.p), other.eq(0)]
                with m.If(kept & self.sums.valid):
                    m.next = "ADD"
                with m.Elif(~kept):
                    m.d.sync += head.eq(head + 1)
                    with m.If(last):
                        m.next = "READ"
            with m.State("ADD"):
                total = Mux(layer.chained, read.data.importance, 0) + added
                m.d.sync += [own.importance.eq(Mux(total > most, most, total)), own.rank.eq(0)]
                m.next = "COMPARE"
                with m.If(head == 0):
                    m.next = "STORE"
            with m.State("COMPARE"):
                m.d.sync += [compares.eq(1), other.eq(other + 1)]
                with m.If(other + 1 == head):
                    m.next = "LAST"
            with m.State("LAST"):
                m.next = "STORE"
            with m.State("STORE"):
                m.d.comb += [write.en.eq(1), write.data.eq(own)]
                m.d.sync += [head.eq(head + 1), other.eq(0)]
                m.next = "SUM"
                with m.If(last):
                    m.next = "READ"
            # All are ranked: those that are left are read, a head ahead.
            with m.State("READ"):
                m.d.sync += [head.eq(0), other.eq(1)]
                m.next = "GIVE"
            with m.State("GIVE"):
                self._give(m, layer, read, head, other, last)
        return m

    def _give(
        self,
        m: Module,
        layer: data.View,
        read: memory.ReadPort,
        head: Signal,
        other: Signal,
        last: Value,
    ) -> None:
        """Keep the head that was read, or not; report it, and read the next one.

        Parameters
        ----------
        m : Module
        layer : View of heads_layout(config)
        read : ReadPort
            Shows the head.
        head, other : Signal
            Which one it is; the next one.
        last : Value
            It is the layer's last one.
        """
        kept = self.kept.bit_select(head, 1)
        report, goes_on = self.report, Signal()
        m.d.comb += [
            report.valid.eq(layer.report),
            report.p.importance.eq(read.data.importance),
            report.p.rank.eq(Mux(kept, read.data.rank, NO_RANK)),
            report.p.last.eq(last),
            goes_on.eq(~layer.report | report.ready),
            read.en.eq(goes_on),
        ]
        with m.If(goes_on):
            m.d.sync += [
                kept.eq(kept & (read.data.rank < layer.keep)),
                head.eq(head + 1),
                other.eq(other + 1),
            ]
            with m.If(last):
                m.next = "IDLE"
