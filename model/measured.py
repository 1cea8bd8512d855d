"""What has been measured of presets, in a file that comes with the package."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib import resources

from dtqatten.model.energy import Coefficients

__all__ = ["FILE", "Measured", "measured", "text_of"]

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
    """

    target: str
    fmax_mhz: float
    mm2: float | None
    power: Coefficients | None
    command: str
    tools: str


def measured() -> dict[str, Measured]:
    """Return what has been measured, by preset."""
    text = (resources.files("dtqatten.model") / FILE).read_text("utf-8")
    return {
        preset: Measured(
            **{
                **fields,
                "power": None if fields["power"] is None else Coefficients(**fields["power"]),
            }
        )
        for preset, fields in json.loads(text).items()
    }


def text_of(found: Mapping[str, Measured]) -> str:
    """Return the text of the data file."""
    return json.dumps({preset: asdict(one) for preset, one in found.items()}, indent=2) + "\n"
