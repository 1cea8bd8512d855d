"""Importances before the top-k engine: divided by counts, added to those carried over."""

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from dtqatten.configuration.core import Config
from dtqatten.hw.base.divider import Divider
from dtqatten.hw.base.pipeline import delayed, written_through
from dtqatten.hw.base.row_ring import RowFifo
from dtqatten.hw.payloads.ranking import (
    IMPORTANCE_BITS,
    beat_layout,
    held_layout,
    importance_layout,
    layer_layout,
    topk_config,
)
from dtqatten.hw.payloads.topk import ids_layout

__all__ = ["BeatPacker", "ImportanceFinish"]


class BeatPacker(wiring.Component):
    """Gather beats of few importances into beats of many.

    Latency one cycle from the beat that completes another; throughput one beat a cycle.

    Parameters
    ----------
    lanes : int
        Importances of a beat at ``i``.
    packed : int
        Importances of a beat at ``o``, a multiple of ``lanes``.
    bits : int
        Bits of a score.

    Members
    -------
    i : In(stream.Signature(beat_layout(lanes, bits)))
        All but a run's last beat are full.
    o : Out(stream.Signature(beat_layout(packed, bits)))
        All but a run's last beat are full.
    """

    def __init__(self, lanes: int, packed: int, bits: int = IMPORTANCE_BITS) -> None:
        self.lanes, self.packed, self.bits = lanes, packed, bits
        super().__init__(
            {
                "i": In(stream.Signature(beat_layout(lanes, bits))),
                "o": Out(stream.Signature(beat_layout(packed, bits))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        portions = self.packed // self.lanes
        portion = Signal(range(portions))
        beat, complete = Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~self.o.valid | self.o.ready),
            beat.eq(self.i.valid & self.i.ready),
            complete.eq(beat & (self.i.p.last | (portion == portions - 1))),
        ]
        with m.If(self.i.ready):
            m.d.sync += self.o.valid.eq(complete)
        with m.If(beat):
            taken = self.o.p.scores.as_value().word_select(portion, self.lanes * self.bits)
            with m.If(portion == 0):
                m.d.sync += self.o.p.scores.eq(0)
            m.d.sync += [
                taken.eq(self.i.p.scores),
                portion.eq(Mux(complete, 0, portion + 1)),
                self.o.p.tokens.eq(portion * self.lanes + self.i.p.tokens),
                self.o.p.last.eq(self.i.p.last),
            ]
        return m


def saturated(total: Value) -> Value:
    """Return a sum of two importances, limited to the bits of one."""
    return Mux(total[IMPORTANCE_BITS:].any(), (1 << IMPORTANCE_BITS) - 1, total[:IMPORTANCE_BITS])


class ImportanceFinish(wiring.Component):
    """Divide importances by counts of queries and add the totals of earlier layers.

    ``total = sum // max(seen, 1) + carried``, saturated to 32 bits. In a ``held`` layer, what each
    key has from before takes the place of ``carried``. Totals are kept. The chosen ids
    select the totals that are carried to the next layer, in the order of those ids. A layer's
    importances must not come before all ids of a preceding cumulative layer have been taken.

    Latency: a total is offered 3 cycles after its sum is taken, 19 with counts of queries.
    Throughput one total and one id a cycle; a beat of ids is taken with its last one. The
    pipeline never stalls: a sum is accepted only if its total has room, and what its key has from
    before is there.

    Parameters
    ----------
    config : Config
        With ``cumulative``, ``count_normalize`` or ``held_importance``, so that importances come
        one a cycle.

    Members
    -------
    layer : In(layer_layout(config))
        The layer of the importances, and then of the ids, that arrive.
    i : In(stream.Signature(importance_layout(config)))
        Sums and counts.
    held : In(stream.Signature(held_layout()))
        With ``held_importance``: one a key of each ``held`` layer.
    o : Out(stream.Signature(beat_layout(1, score_width)))
        Totals, with protection.
    ids : In(stream.Signature(ids_layout(topk_config(config))))
        Chosen tokens; of cumulative layers only.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        super().__init__(
            {
                "layer": In(layer_layout(config)),
                "i": In(stream.Signature(importance_layout(config))),
                "o": Out(stream.Signature(beat_layout(1, topk_config(config).score_width))),
                "ids": In(stream.Signature(ids_layout(topk_config(config)))),
            }
            | ({"held": In(stream.Signature(held_layout()))} if config.held_importance else {})
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        config = self.config
        total_here = Signal(IMPORTANCE_BITS)
        wait, quotient = 0, self.i.p.scores[0]
        if config.count_normalize:
            seen = self.i.p.seen[0]
            m.submodules.divider = divider = Divider(IMPORTANCE_BITS, len(seen))
            m.d.comb += [
                divider.dividend.eq(quotient),
                divider.divisor.eq(Mux(self.layer.count & (seen != 0), seen, 1)),
            ]
            wait, quotient = divider.latency, divider.quotient
        # Those that set out before the first one is offered, and one more.
        room = wait + 1 + RowFifo.LATENCY + 1
        m.submodules.totals = totals = RowFifo(self.o.p.shape(), room)
        connect(m, totals.o, flipped(self.o))

        go, there = Signal(), Signal(init=1)
        m.d.comb += [
            self.i.ready.eq(totals.room & there),
            go.eq(self.i.valid & self.i.ready),
            totals.reserve.eq(go),
        ]
        arrived = delayed(m, go, wait + 1, "arrived", reset_less=False)
        last = delayed(m, self.i.p.last, wait + 1, "last")
        value = delayed(m, quotient, 1, "quotient")
        m.d.comb += [
            totals.write.eq(arrived),
            totals.row.scores[0][:IMPORTANCE_BITS].eq(total_here),
            totals.row.tokens.eq(1),
            totals.row.last.eq(last),
        ]
        before: Value | None = None
        if config.held_importance:
            held = self.held.p
            asked = self.layer.held
            m.d.comb += [
                there.eq(~asked | self.held.valid),
                self.held.ready.eq(asked & self.i.valid & totals.room),
                totals.row.scores[0][-1].eq(
                    delayed(m, asked & held.protected, wait + 1, "protected")
                ),
            ]
            before = delayed(m, Mux(asked, held.importance, 0), wait + 1, "held")
        if not config.cumulative:
            total = value if before is None else saturated(value + before)
            m.d.comb += [total_here.eq(total), self.ids.ready.eq(1)]
            return m

        def words(name: str) -> tuple[memory.WritePort, memory.ReadPort]:
            m.submodules[name] = held = memory.Memory(
                shape=unsigned(IMPORTANCE_BITS), depth=config.n_max, init=[]
            )
            return held.write_port(), held.read_port()

        kept_write, kept_read = words("kept")
        carried_write, carried_read = words("carried")

        # A total: its place, the total carried to it, their sum.
        token = Signal(range(config.n_max))
        here = delayed(m, go, wait, "here", reset_less=False)
        final = delayed(m, self.i.p.last, wait, "final")
        with m.If(here):
            m.d.sync += token.eq(Mux(final, 0, token + 1))
        adds = self.layer.cumulative & ~self.layer.fresh
        # A single chosen token is read in the cycle in which it is gathered.
        carried = Mux(adds, written_through(m, carried_write, carried_read, "carried"), 0)
        if before is not None:
            carried = Mux(delayed(m, self.layer.held, wait + 1, "holds"), before, carried)
        m.d.comb += [
            carried_read.addr.eq(token),
            total_here.eq(saturated(value + carried)),
            kept_write.en.eq(arrived),
            kept_write.addr.eq(delayed(m, token, 1, "kept_token")),
            kept_write.data.eq(total_here),
        ]

        self._carry(m, kept_read, carried_write)
        return m

    def _carry(self, m: Module, kept: memory.ReadPort, carried: memory.WritePort) -> None:
        """Carry the totals of the chosen tokens to the next layer, one a cycle.

        Parameters
        ----------
        m : Module
        kept : ReadPort
            Of all totals.
        carried : WritePort
        """
        config = self.config
        lane = Signal(range(config.topk_lanes))
        lane_last = Signal()
        gathered = Signal(range(config.n_max))
        reading = Signal()
        ids = self.ids.p
        m.d.comb += [
            lane_last.eq(lane + 1 == ids.count),
            self.ids.ready.eq(lane_last),
            kept.addr.eq(ids.ids.as_value().word_select(lane, len(ids.ids[0]))),
            carried.en.eq(reading),
            carried.addr.eq(gathered),
            carried.data.eq(kept.data),
        ]
        run_ends = delayed(m, lane_last & ids.last, 1, "run_ends")
        m.d.sync += reading.eq(self.ids.valid)
        with m.If(self.ids.valid):
            m.d.sync += lane.eq(Mux(lane_last, 0, lane + 1))
        with m.If(reading):
            m.d.sync += gathered.eq(Mux(run_ends, 0, gathered + 1))
