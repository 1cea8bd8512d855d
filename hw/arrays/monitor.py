"""Observation of a grid: what every PE does in every cycle, counted."""

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.configuration.core import Config

__all__ = ["COUNTER_WIDTH", "Monitor"]

#: Bits of every performance counter; they wrap.
COUNTER_WIDTH = 32


class Monitor(wiring.Component):
    """Count for each PE its busy and its stalled cycles.

    In a tile, a PE is *busy* in the passes that its own query and key need, and *stalled* in those
    that only other PEs of the tile need; a PE that lacks a query or a key is neither.
    The flags travel like the operands, a pod or a row a cycle.

    Latency: ``busy`` and ``stalled`` say what PE ``(r, c)`` does with the operands it holds, one
    cycle after operands and flags entered; the counters follow one cycle later.

    Parameters
    ----------
    config : Config

    Members
    -------
    q_occupied, q_active : In(rows)
        Of the operands entering the grid's rows.
    k_occupied, k_active : In(cols)
        Of those entering its columns.
    clear : In(1)
        Zero the counters.
    busy, stalled : Out(rows * cols)
        Per PE, row by row.
    busy_cycles, stall_cycles : Out(ArrayLayout(COUNTER_WIDTH, rows * cols))
        Their counts.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        pes = config.rows * config.cols
        super().__init__(
            {
                "q_occupied": In(config.rows),
                "q_active": In(config.rows),
                "k_occupied": In(config.cols),
                "k_active": In(config.cols),
                "clear": In(1),
                "busy": Out(pes),
                "stalled": Out(pes),
                "busy_cycles": Out(data.ArrayLayout(COUNTER_WIDTH, pes)),
                "stall_cycles": Out(data.ArrayLayout(COUNTER_WIDTH, pes)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        rows, cols = self.config.rows, self.config.cols

        # One register a row and direction: bit c is what PE (r, c) holds.
        def travel_right(entering: Value, name: str) -> list[Signal]:
            held = [Signal(cols, name=f"{name}_{r}") for r in range(rows)]
            pod = self.config.pod_cols
            m.d.sync += [
                h.eq(Cat(entering[r].replicate(pod), h[:-pod])) for r, h in enumerate(held)
            ]
            return held

        def travel_down(entering: Value, name: str) -> list[Signal]:
            held = [Signal(cols, name=f"{name}_{r}") for r in range(rows)]
            m.d.sync += [h.eq(above) for h, above in zip(held, [entering, *held], strict=False)]
            return held

        q_occupied = travel_right(self.q_occupied, "q_occupied_at")
        q_active = travel_right(self.q_active, "q_active_at")
        k_occupied = travel_down(self.k_occupied, "k_occupied_at")
        k_active = travel_down(self.k_active, "k_active_at")
        busy = Cat(q & k for q, k in zip(q_active, k_active, strict=True))
        both = Cat(q & k for q, k in zip(q_occupied, k_occupied, strict=True))
        m.d.comb += [self.busy.eq(busy), self.stalled.eq(both & ~busy)]
        for counts, events, name in (
            (self.busy_cycles, self.busy, "busy"),
            (self.stall_cycles, self.stalled, "stall"),
        ):
            counters = [Signal(COUNTER_WIDTH, name=f"{name}_{i}") for i in range(rows * cols)]
            m.d.sync += [
                counter.eq(Mux(self.clear, 0, counter + event))
                for counter, event in zip(counters, events, strict=True)
            ]
            m.d.comb += counts.eq(Cat(counters))
        return m
