"""The whole machine with its registers' bus on a clock of its own."""

from collections.abc import Mapping

from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import Out

from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.base.export import place
from dtqatten.hw.bus.axi import LITE_DOMAIN, connect_lite, lite_ports, master_ports
from dtqatten.hw.bus.lite_crossing import LiteCrossing
from dtqatten.hw.system import System

__all__ = ["TwoClockSystem"]


class TwoClockSystem(wiring.Component):
    """A :class:`~dtqatten.hw.system.System` whose AXI4-Lite and interrupt have another clock.

    Registers, machine and AXI4 master stay on ``clk``; ``s_axil_*`` and ``irq`` are on
    ``s_axil_clk``, with the reset ``s_axil_rst``. See
    :class:`~dtqatten.hw.bus.lite_crossing.LiteCrossing` for how they cross, and what the resets
    have to keep.

    Parameters
    ----------
    system : SystemConfig

    Members
    -------
    m_axi_*, s_axil_*, irq
        Those of the system.
    """

    #: Ports on another clock than ``clk``, by their clock domain.
    clocked: Mapping[str, tuple[str, ...]] = {LITE_DOMAIN: (*lite_ports(), "irq")}

    def __init__(self, system: SystemConfig) -> None:
        self.system = system
        super().__init__(master_ports(system) | lite_ports() | {"irq": Out(1)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        inner = place(m, platform, "system", System, self.system)
        m.submodules.lite_crossing = crossing = LiteCrossing()
        connect_lite(m, self, crossing.lite)
        connect_lite(m, inner, crossing.registers, outside=True)
        m.d.comb += [crossing.pending.eq(inner.irq), self.irq.eq(crossing.irq)]
        for name, member in master_ports(self.system).items():
            port, wire = getattr(self, name), getattr(inner, name)
            m.d.comb += port.eq(wire) if member.flow is Out else wire.eq(port)
        return m
