"""Timing constraints of a block: its clock, its inputs and outputs, its reset."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

from amaranth.lib import wiring

from dtqatten import __version__
from dtqatten.hw.base.export import flat_ports

__all__ = ["SHARE", "Constraints"]

#: Part of a clock cycle that passes outside the block, before inputs and behind outputs.
SHARE = 0.5


@dataclass(frozen=True)
class Clock:
    """A clock, and the ports that are on it.

    Parameters
    ----------
    name : str
        Of the clock and its port.
    mhz : float
        Clock rate.
    inputs, outputs : tuple of str
        Ports; those of several bits end with ``[*]``.
    """

    name: str
    mhz: float
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def period(self) -> float:
        """Clock period in ns."""
        return 1000 / self.mhz


@dataclass(frozen=True)
class Constraints:
    """Constraints of a block, for each of its clocks.

    Inputs arrive, and outputs are due, :data:`SHARE` of a cycle before the edge: the other half is
    the neighbour's. ``rst`` is synchronous, so it is timed as any input: there is no recovery or
    removal, and no false path. What crosses between two clocks has a cycle of the faster one.

    Parameters
    ----------
    top : str
        The block's module.
    clocks : tuple of Clock
    """

    top: str
    clocks: tuple[Clock, ...]

    @classmethod
    def of(
        cls, component: wiring.Component, top: str, mhz: float, lite_mhz: float | None = None
    ) -> "Constraints":
        """Return the constraints of a component.

        Parameters
        ----------
        component : Component
        top : str
            Its module.
        mhz : float
            Rate of ``clk``.
        lite_mhz : float, optional
            Rate of another clock that it has; ``mhz`` if not given.
        """
        clocked: Mapping[str, tuple[str, ...]] = getattr(component, "clocked", {})
        clock_of = {name: f"{domain}_" for domain, names in clocked.items() for name in names}
        clocks = []
        for start in ("", *dict.fromkeys(clock_of.values())):
            inputs: list[str] = [f"{start}rst"]
            outputs: list[str] = []
            for name, flow, value in flat_ports(component.signature, component):
                if clock_of.get(name, "") == start:
                    whole = name if len(value) == 1 else f"{name}[*]"
                    (inputs if flow is wiring.In else outputs).append(whole)
            rate = lite_mhz or mhz if start else mhz
            clocks.append(Clock(f"{start}clk", rate, tuple(inputs), tuple(outputs)))
        return cls(top, tuple(clocks))

    def sdc(self) -> str:
        """Return them for ASIC flows, with the module as the top; times in ns."""
        return f"""{self._title("constraints")}\
# Times are in ns.
{self._clocks()}
# Skew and jitter, until there is a clock tree.
{self._uncertainty()}
{self._delays()}
{self._crossings("")}\
{self._reset()}"""

    def xdc(self) -> str:
        """Return them for Vivado, with the module as the top."""
        return f"""{self._title("constraints")}\
# In a larger design leave these out: it has a clock and delays of its own.
{self._clocks()}
{self._delays()}
{self._crossings("-datapath_only ")}{self._synchronizers()}\
{self._reset()}"""

    def lpf(self) -> str:
        """Return them for nextpnr on ECP5."""
        rates = (f'FREQUENCY PORT "{each.name}" {each.mhz:.6g} MHZ;\n' for each in self.clocks)
        return self._title("clock rate") + "".join(rates)

    def _title(self, what: str) -> str:
        return (
            f"# dtqatten {__version__}, `dtqatten verilog --package`: {what} of {self.top}\n"
            "# SPDX-License-Identifier: Apache-2.0\n"
        )

    def _clocks(self) -> str:
        return "\n".join(
            f"create_clock -name {each.name} -period {each.period:.6g} [get_ports {each.name}]"
            for each in self.clocks
        )

    def _uncertainty(self) -> str:
        return "\n".join(
            f"set_clock_uncertainty {0.05 * each.period:.6g} [get_clocks {each.name}]"
            for each in self.clocks
        )

    def _crossings(self, option: str) -> str:
        """Return the time of what crosses from each clock to each other one.

        A word is taken two edges after it is written or later, so a cycle of the faster clock is
        enough, and nothing is to be held.

        Parameters
        ----------
        option : str
            Of ``set_max_delay``.
        """
        lines = []
        for one, other in permutations(self.clocks, 2):
            ends = f"-from [get_clocks {one.name}] -to [get_clocks {other.name}]"
            delay = f"{min(one.period, other.period):.6g}"
            lines += [f"set_max_delay {option}{ends} {delay}", f"set_false_path -hold {ends}"]
        if lines:
            lines = ["# Words that cross are still for longer; only bits are synchronized.", *lines]
        return "".join(f"{line}\n" for line in lines)

    def _synchronizers(self) -> str:
        """Return that registers of synchronizers are placed side by side, if there are any."""
        if len(self.clocks) == 1:
            return ""
        cells = "[get_cells -hierarchical -filter {NAME =~ *_synchronizer/stage*}]"
        return f"set_property ASYNC_REG TRUE {cells}\n"

    def _delays(self) -> str:
        """Return the delays of all inputs and outputs, by name, which every tool takes."""
        return "\n".join(
            [
                f"# The neighbours have {100 * SHARE:.0f} % of a cycle.",
                *(
                    f"set_{kind}_delay {SHARE * each.period:.6g} -clock {each.name} "
                    f"[get_ports {{{name}}}]"
                    for each in self.clocks
                    for kind, names in (("input", each.inputs), ("output", each.outputs))
                    for name in names
                ),
            ]
        )

    def _reset(self) -> str:
        return """\
# Resets are synchronous and timed like any input: no recovery or removal, and no false path.
# AXI's ARESETn may fall at any time: outside, invert it and synchronize it to the clock.
"""
