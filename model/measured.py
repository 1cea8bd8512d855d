"""What has been measured of presets, in a file that comes with the package."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources
from importlib.resources.abc import Traversable

from dtqatten.model.energy import Coefficients

__all__ = ["FILE", "Measured", "measured", "read", "text_of"]

#: Data file of this package, written by ``dtqatten results``.
FILE = "measured.json"


@dataclass(frozen=True)
class Measured:
    """A preset's core, synthesized.

    Attributes
    ----------
    target : str
        Cells or device, and what is left out.
    fmax_mhz : float
        Clock rate by static timing analysis.
    mm2 : float or None
        Area with memories; None for an FPGA.
    power : Coefficients or None
        Energy of its parts, where power was measured.
    command, tools : str
        What made these numbers.
    before : str
        How the preset differed then, if it has changed since: its figures are then no measurement
        of this machine.
    """

    target: str
    fmax_mhz: float
    mm2: float | None
    power: Coefficients | None
    command: str
    tools: str
    before: str = ""


def read(path: Traversable) -> dict[str, Measured]:
    """Return what a data file says, by preset; nothing if there is none."""
    if not path.is_file():
        return {}
    found = json.loads(path.read_text("utf-8"))
    for fields in found.values():
        if fields["power"] is not None:
            fields["power"] = Coefficients(**fields["power"])
    return {preset: Measured(**fields) for preset, fields in found.items()}


def measured() -> dict[str, Measured]:
    """Return what comes with the package, by preset."""
    return read(resources.files("dtqatten.model") / FILE)


def text_of(found: Mapping[str, Measured]) -> str:
    """Return the text of the data file."""
    return json.dumps({preset: asdict(one) for preset, one in found.items()}, indent=2) + "\n"
