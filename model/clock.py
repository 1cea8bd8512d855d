"""The clock rate of a machine: measured on its netlist, or what its registers are placed for."""

from dataclasses import dataclass

from dtqatten.configuration.core import PRESETS, Config
from dtqatten.configuration.timing import FPGA
from dtqatten.model.measured import Measured, measured

__all__ = ["Clock", "clock_of", "measured_of"]

#: MHz that registers are placed for, and where.
ON_CELLS, ON_FPGA = (1000.0, "45 nm cells"), (120.0, "an ECP5")


@dataclass(frozen=True)
class Clock:
    """A clock rate.

    Attributes
    ----------
    mhz : float
    measured : bool
        By timing analysis of this very machine; else it is assumed.
    says : str
        How it was found.
    """

    mhz: float
    measured: bool
    says: str

    def __str__(self) -> str:
        return f"{self.mhz:g} MHz ({'measured' if self.measured else 'assumed'}: {self.says})"


def measured_of(core: Config) -> Measured | None:
    """Return what is known of the preset that a core is, None if it is another machine."""
    found = measured()
    return next(
        (found[name] for name, one in PRESETS.items() if one == core and name in found), None
    )


def clock_of(core: Config) -> Clock:
    """Return the clock of a core: at most what its registers are placed for."""
    most, where = ON_FPGA if core.timing == FPGA else ON_CELLS
    known = measured_of(core)
    if known is None:
        return Clock(most, False, f"its registers are placed for {where}; not synthesized")
    says = f"{known.fmax_mhz:.1f} MHz by timing analysis, {known.target}"
    if known.before:
        says += f"; {known.before}"
    return Clock(min(most, known.fmax_mhz), not known.before, says)
