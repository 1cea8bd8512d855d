"""Harnesses of the registers: a host that keeps the rules, at any time."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import In

from dtqatten.hw.bus.axi import lite_members
from dtqatten.hw.bus.register_file import RegisterFile
from dtqatten.sim.proofs.harness import Harness, held

__all__ = ["LiteHarness", "LockHarness"]


class LiteHarness(Harness):
    """The registers behind any host that keeps the rules."""

    def __init__(self, wanted: str) -> None:
        super().__init__(wanted, lite_members())

    def elaborate(self, platform: object) -> Module:
        """Return the registers and the assertion about their answers."""
        m = self._start()
        m.submodules.registers = registers = RegisterFile()
        for name in lite_members():
            inner, outer = getattr(registers.lite, name), getattr(self, name)
            source, sink = (inner, outer) if name in ("b", "r") else (outer, inner)
            m.d.comb += [
                sink.valid.eq(source.valid),
                sink.p.eq(source.p),
                source.ready.eq(sink.ready),
            ]
        moved = {
            name: getattr(self, name).valid & getattr(self, name).ready for name in lite_members()
        }
        # Answers that are owed: none more than one, none that nobody asked for.
        owed = {}
        for answer, request in (("b", "aw"), ("r", "ar")):
            owed[answer] = Signal(2, name=f"owed_{answer}")
            m.d.sync += owed[answer].eq(owed[answer] + moved[request] - moved[answer])
        self._assert(
            m,
            lite_stable=held(m, self.b, "b") & held(m, self.r, "r"),
            lite_together=moved["aw"] == moved["w"],
            lite_counted=(owed["b"] == self.b.valid) & (owed["r"] == self.r.valid),
        )
        return m


class LockHarness(Harness):
    """The registers while the machine is busy."""

    def __init__(self, wanted: str) -> None:
        super().__init__(wanted, {**lite_members(), "busy": In(1)})

    def elaborate(self, platform: object) -> Module:
        """Return the registers and the assertion about their windows."""
        m = self._start()
        m.submodules.registers = registers = RegisterFile()
        for name in ("aw", "w", "ar"):
            inner, outer = getattr(registers.lite, name), getattr(self, name)
            m.d.comb += [inner.valid.eq(outer.valid), inner.p.eq(outer.p)]
        for name in ("b", "r"):
            m.d.comb += getattr(registers.lite, name).ready.eq(getattr(self, name).ready)
        m.d.comb += registers.busy.eq(self.busy)
        windows = Cat(
            getattr(registers, f"{kind}_{end}")
            for kind in ("read", "write")
            for end in ("base", "limit")
        )
        before, was_busy = Signal.like(windows), Signal()
        m.d.sync += [before.eq(windows), was_busy.eq(self.busy)]
        self._assert(m, windows_locked=~was_busy | (windows == before))
        return m
