"""Timing constraints of a block: its clock, its inputs and outputs, its reset."""

from dataclasses import dataclass

from amaranth.lib import wiring

from dtqatten import __version__
from dtqatten.hw.base.export import flat_ports

__all__ = ["SHARE", "Constraints"]

#: Part of a clock cycle that passes outside the block, before inputs and behind outputs.
SHARE = 0.5


@dataclass(frozen=True)
class Constraints:
    """Constraints of a block with one clock.

    Inputs arrive, and outputs are due, :data:`SHARE` of a cycle before the edge: the other half is
    the neighbour's. ``rst`` is synchronous, so it is timed as any input: there is no recovery or
    removal, and no false path.

    Parameters
    ----------
    top : str
        The block's module.
    mhz : float
        Clock rate.
    inputs, outputs : tuple of str
        Its ports, but for ``clk``; those of several bits end with ``[*]``.
    """

    top: str
    mhz: float
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @classmethod
    def of(cls, component: wiring.Component, top: str, mhz: float) -> "Constraints":
        """Return the constraints of a component as module ``top``."""
        inputs: list[str] = ["rst"]
        outputs: list[str] = []
        for name, flow, value in flat_ports(component.signature, component):
            whole = name if len(value) == 1 else f"{name}[*]"
            (inputs if flow is wiring.In else outputs).append(whole)
        return cls(top, mhz, tuple(inputs), tuple(outputs))

    @property
    def period(self) -> float:
        """Clock period in ns."""
        return 1000 / self.mhz

    def sdc(self) -> str:
        """Return them for ASIC flows, with the module as the top; times in ns."""
        return f"""{self._title("constraints")}\
# Times are in ns.
{self._clock()}
# Skew and jitter, until there is a clock tree.
set_clock_uncertainty {0.05 * self.period:.6g} [get_clocks clk]
{self._delays()}
{self._reset()}"""

    def xdc(self) -> str:
        """Return them for Vivado, with the module as the top."""
        return f"""{self._title("constraints")}\
# In a larger design leave these out: it has a clock and delays of its own.
{self._clock()}
{self._delays()}
{self._reset()}"""

    def lpf(self) -> str:
        """Return them for nextpnr on ECP5."""
        return f'{self._title("clock rate")}FREQUENCY PORT "clk" {self.mhz:.6g} MHZ;\n'

    def _title(self, what: str) -> str:
        return (
            f"# dtqatten {__version__}, `dtqatten verilog --package`: {what} of {self.top}\n"
            "# SPDX-License-Identifier: Apache-2.0\n"
        )

    def _clock(self) -> str:
        return f"create_clock -name clk -period {self.period:.6g} [get_ports clk]"

    def _delays(self) -> str:
        """Return the delays of all inputs and outputs, by name, which every tool takes."""
        outside = f"{SHARE * self.period:.6g}"
        return "\n".join(
            [
                f"# The neighbours have {100 * SHARE:.0f} % of a cycle.",
                *(
                    f"set_{kind}_delay {outside} -clock clk [get_ports {{{name}}}]"
                    for kind, names in (("input", self.inputs), ("output", self.outputs))
                    for name in names
                ),
            ]
        )

    def _reset(self) -> str:
        return """\
# rst is synchronous and timed like any input: it has no recovery or removal, and is no false path.
# AXI's ARESETn may fall at any time: outside, invert it and synchronize it to clk.
"""
