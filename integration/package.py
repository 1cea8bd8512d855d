"""All that goes beside a block's Verilog."""

from collections.abc import Mapping, Sequence

from amaranth.lib import wiring

from dtqatten.configuration.system import SystemConfig
from dtqatten.integration.constraints import Constraints
from dtqatten.integration.description import description
from dtqatten.integration.fusesoc import fusesoc
from dtqatten.integration.ipxact import ipxact
from dtqatten.integration.systemrdl import systemrdl

__all__ = ["package"]


def package(
    component: wiring.Component,
    top: str,
    files: Sequence[str],
    *,
    mhz: float,
    lite_mhz: float | None = None,
    system: SystemConfig | None = None,
    testbench: Sequence[str] = (),
) -> Mapping[str, str]:
    """Return the text of each file by its name.

    Parameters
    ----------
    component : Component
    top : str
        Its module.
    files : sequence of str
        Names of its Verilog.
    mhz : float
        Clock rate of the constraints.
    lite_mhz : float, optional
        That of the clock of AXI4-Lite where it has one of its own; ``mhz`` if not given.
    system : SystemConfig, optional
        If the block is the machine on its bus.
    testbench : sequence of str
        Names of a testbench and its data, if there is one.
    """
    limits = Constraints.of(component, top, mhz, lite_mhz)
    constraints = {
        f"{top}.sdc": limits.sdc(),
        f"{top}.xdc": limits.xdc(),
        f"{top}.lpf": limits.lpf(),
    }
    registers = {} if system is None else {f"{top}.rdl": systemrdl(system, top)}
    return {
        **constraints,
        **registers,
        f"{top}.xml": ipxact(component, top, files, system),
        f"{top}.core": fusesoc(
            top, description(component, system), files, list(constraints), testbench
        ),
    }
