"""Addresses of one plane of a tensor, head by head, run by run."""

from amaranth.hdl import Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from dtqatten.hw.bursts import run_layout
from dtqatten.hw.layout import Plane
from dtqatten.hw.token_table import run_entry_layout
from dtqatten.system_config import SystemConfig

__all__ = ["PlaneWalker", "plan_layout"]


def plan_layout(system: SystemConfig) -> data.StructLayout:
    """What a layer fetches of a tensor: ``heads`` of ``stored`` tokens from ``base`` on.

    Of ``tokens`` slots the first ``narrow`` have no low plane. What follows is sent ``repeats``
    times a head.
    """
    count = range(system.core.n_max + 1)
    return data.StructLayout(
        {
            "base": unsigned(system.address_bits),
            "heads": unsigned(16),
            "repeats": unsigned(16),
            "stored": count,
            "tokens": count,
            "narrow": count,
        }
    )


class PlaneWalker(wiring.Component):
    """Turn the runs of a layer's tokens into runs of bytes of a plane.

    ``address = base + ((2*head + plane)*stored + first) * d_head/2``; in the low plane the first
    ``narrow`` slots are left out.

    Latency: 3 cycles from ``start``, or from a run taken, to the next run, if it is granted at
    once; 2 more for each run that the plane leaves out.

    Parameters
    ----------
    system : SystemConfig
    plane : str
        ``"high"`` or ``"low"``.

    Members
    -------
    start : In(1)
        Begin with ``plan``, which stays until ``idle``.
    plan : In(plan_layout(system))
        What to fetch.
    idle : Out(1)
        All runs are out.
    asked, index, granted, entry
        Reading of runs, see :class:`~dtqatten.hw.token_table.TokenTable`.
    o : Out(stream.Signature(run_layout(system)))
        Runs of bytes.
    """

    def __init__(self, system: SystemConfig, plane: str) -> None:
        self.system = system
        self.plane = {"high": Plane.HIGH, "low": Plane.LOW}[plane]
        core = system.core
        super().__init__(
            {
                "start": In(1),
                "plan": In(plan_layout(system)),
                "idle": Out(1, init=1),
                "asked": Out(1),
                "index": Out(range(core.n_max)),
                "granted": In(1),
                "entry": In(run_entry_layout(core)),
                "o": Out(stream.Signature(run_layout(system))),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        system, plan = self.system, self.plan
        size = system.plane_bytes
        low = self.plane is Plane.LOW
        head = Signal(16)
        base = Signal(system.address_bits)
        skip = Signal.like(plan.narrow)
        plane_size = Signal(range(system.core.n_max * size + 1))
        m.d.comb += plane_size.eq(plan.stored * size)

        taken, last = Signal(), Signal()
        dropped = Signal.like(plan.narrow)
        m.d.comb += [
            dropped.eq(Mux(skip < self.entry.tokens, skip, self.entry.tokens)),
            taken.eq(dropped != self.entry.tokens),
        ]
        with m.FSM():
            with m.State("IDLE"), m.If(self.start):
                m.d.sync += [
                    head.eq(0),
                    self.index.eq(0),
                    base.eq(plan.base + (plane_size if low else 0)),
                    skip.eq(plan.narrow if low else 0),
                ]
                # Where no token has a low plane there is nothing to fetch of it.
                with m.If((plan.narrow != plan.tokens) if low else 1):
                    m.d.sync += self.idle.eq(0)
                    m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += self.asked.eq(1)
                with m.If(self.granted):
                    m.next = "TAKE"
            with m.State("TAKE"):
                m.d.sync += [
                    last.eq(self.entry.last),
                    skip.eq(skip - dropped),
                    self.index.eq(self.index + 1),
                    self.o.p.address.eq(base + (self.entry.first + dropped) * size),
                    self.o.p.size.eq((self.entry.tokens - dropped) * size),
                    self.o.valid.eq(taken),
                ]
                # The last slot always has the plane, so that runs end with one that is taken.
                m.next = "ASK"
                with m.If(taken):
                    m.next = "GIVE"
            with m.State("GIVE"), m.If(self.o.ready):
                m.d.sync += self.o.valid.eq(0)
                m.next = "ASK"
                with m.If(last):
                    m.d.sync += [
                        head.eq(head + 1),
                        self.index.eq(0),
                        base.eq(base + 2 * plane_size),
                        skip.eq(plan.narrow if low else 0),
                    ]
                    with m.If(head + 1 == plan.heads):
                        m.d.sync += self.idle.eq(1)
                        m.next = "IDLE"
        return m
