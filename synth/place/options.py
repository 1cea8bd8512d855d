"""What a placement is asked for."""

from dataclasses import asdict, dataclass
from typing import Any

from dtqatten.synth.place.wires import Wire
from dtqatten.synth.tools import InputError

__all__ = ["PlaceOptions"]

#: Wires at 45 nm.
METAL3, METAL5 = Wire(3.571, 0.104), Wire(1.5, 0.1093)


@dataclass(frozen=True)
class PlaceOptions:
    """Options of a placement; the wires are those of a 45 nm process (Nangate45, OpenROAD's flow).

    Attributes
    ----------
    density : float
        Of the cells in the rows before buffers and other sizes come in, 0.3 to 0.95.
    aspect : float
        Height of the core over its width, 0.2 to 5.
    halo : float
        Around macros, um.
    rounds : int
        At most, of repair.
    effort : int
        Coloquinte's, 1 to 9.
    signal, clock : Wire
        A mean layer's: metal3 and metal5.

    Raises
    ------
    InputError
        If one is out of its range.
    """

    density: float = 0.75
    aspect: float = 1.0
    halo: float = 2.8
    rounds: int = 6
    effort: int = 3
    signal: Wire = METAL3
    clock: Wire = METAL5

    def __post_init__(self) -> None:
        limits = {
            "density": (0.3, 0.95),
            "aspect": (0.2, 5.0),
            "halo": (0.0, 100.0),
            "rounds": (0, 100),
            "effort": (1, 9),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"--{name} is {value}: give {low} to {high}")
        for name, wire in (("signal", self.signal), ("clock", self.clock)):
            if wire.ohm < 0 or wire.ff < 0:
                raise InputError(f"--{name}-wire is {wire.ohm} {wire.ff}: give ohm and fF a um")

    def summary(self) -> dict[str, Any]:
        """Return them for a result."""
        return asdict(self)
