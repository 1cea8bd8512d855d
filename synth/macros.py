"""SRAM macros, from their Liberty files."""

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dtqatten.synth.tools import InputError

__all__ = ["EDGES", "Macro", "macro_files", "read_macros"]

EDGES = ("rise", "fall")


@dataclass(frozen=True)
class Macro:
    """A single-port SRAM macro, from its Liberty file: um2, ns and fF.

    Attributes
    ----------
    delay, setup : float
        Clock to data, and address or data to clock.
    load, slew : tuple of float
        Output transition over the load on it, two points of each.
    pin, clock : float
        Input capacitance of an ordinary pin, and of the clock pin.
    access : float
        Energy of a clock cycle with an access, in fJ; 0 if the file does not say.
    """

    name: str
    words: int
    width: int
    area: float
    delay: float
    setup: float
    pin: float
    clock: float
    load: tuple[float, ...]
    slew: tuple[float, ...]
    access: float = 0.0


def macro_files(folder: Path) -> list[Path]:
    """Return the Liberty files of a folder, plain and compressed by gzip."""
    return sorted((*folder.glob("*.lib"), *folder.glob("*.lib.gz")))


def read_macros(folder: Path) -> list[Macro]:
    """Read every single-port macro among the Liberty files of a folder, plain or compressed.

    Raises
    ------
    SynthError
        If there is none, or a file is no Liberty file.
    """
    from liberty.parser import parse_liberty

    macros = []
    for path in macro_files(folder):
        try:
            content = path.read_bytes()
            library = parse_liberty(
                (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
            )
        except Exception as error:  # the parser's own, and its parser generator's
            raise InputError(f"{path} is no Liberty file: {error}") from None
        units = Units.of(library)
        macros += [macro_of(cell, units) for cell in library.get_groups("cell") if is_memory(cell)]
    if not macros:
        raise InputError(
            f"no memory macro in the *.lib and *.lib.gz of {folder}: give a folder of SRAM "
            "Liberty files"
        )
    return macros


def is_memory(cell: Any) -> bool:
    """Whether a cell says that it is one."""
    return bool(cell.get_groups("memory"))


@dataclass(frozen=True)
class Units:
    """What a Liberty file's numbers are multiplied by.

    Attributes
    ----------
    farad : float
        Loads, to fF, and energies, to fJ: they are in the unit of loads times V^2.
    second : float
        To ns.
    slew : float
        Transitions, to ns from 20 to 80 %.
    """

    farad: float
    second: float
    slew: float

    @classmethod
    def of(cls, library: Any) -> "Units":
        """Read them."""
        number, unit = library["capacitive_load_unit"]
        farad = float(number) * {"ff": 1.0, "pf": 1000.0}[text(unit).lower()]
        second = {"1ns": 1.0, "1ps": 1e-3, "10ps": 1e-2, "100ps": 0.1}[
            text(library.get("time_unit", "1ns"))
        ]
        low, high = (
            float(library.get(f"slew_{end}_threshold_pct_rise", default))
            for end, default in (("lower", 20), ("upper", 80))
        )
        derate = float(library.get("slew_derate_from_library", 1.0))
        return cls(farad, second, second * derate * 60 / (high - low))


def text(value: Any) -> str:
    """Return a Liberty value without quotes."""
    return str(value).strip('"')


def macro_of(cell: Any, units: Units) -> Macro:
    """Return the macro that a Liberty cell describes, by the worst of its arcs and pins."""
    memory = cell.get_groups("memory")[0]
    pins = [*cell.get_groups("pin"), *cell.get_groups("bus")]
    arcs = list(timings(pins))
    reads = [arc for arc in arcs if text(arc["timing_type"]) == "rising_edge"]
    setups = [
        float(table(constraint).max())
        for arc in arcs
        if text(arc["timing_type"]) == "setup_rising"
        for constraint in arc.groups
    ]
    delay = max(
        float(table(read.get_group(f"cell_{edge}")).max()) for read in reads for edge in EDGES
    )
    slews = [read.get_group(f"{edge}_transition") for read in reads for edge in EDGES]
    slew = max(slews, key=lambda group: float(table(group).max()))
    inputs = [pin for pin in pins if text(pin["direction"]) == "input"]
    loads = [(is_clock(pin), units.farad * float(pin["capacitance"])) for pin in inputs]
    return Macro(
        text(cell.args[0]),
        2 ** int(memory["address_width"]),
        int(memory["word_width"]),
        float(cell["area"]),
        units.second * delay,
        units.second * max(setups),
        max(load for clock, load in loads if not clock),
        max(load for clock, load in loads if clock),
        tuple((units.farad * table(slew, "index_1").ravel()[[0, -1]]).tolist()),
        tuple((units.slew * table(slew)[-1][[0, -1]]).tolist()),
        units.farad * access_energy(pins),
    )


def table(group: Any, name: str = "values") -> NDArray[np.float64]:
    """Return an array of a Liberty group, a row each line; numbers may be in quotes or bare."""
    rows = group[name]
    rows = rows if isinstance(rows, list) else [rows]
    lines = [[float(value) for value in text(row).split(",") if value.strip()] for row in rows]
    return np.array(lines)


def is_clock(pin: Any) -> bool:
    """Whether a pin says that it is a clock."""
    return text(pin.get("clock", "false")) == "true"


def timings(pins: Iterable[Any]) -> Iterator[Any]:
    """Yield the arcs of pins, those of single bits of a bus, too."""
    for pin in pins:
        yield from pin.get_groups("timing")
        for bit in pin.get_groups("pin"):
            yield from bit.get_groups("timing")


def access_energy(pins: Iterable[Any]) -> float:
    """Return what both edges of a clock pin take, in the state in which they take most.

    A macro with a second clock, for its self-test, runs by one of them.
    """
    taken = [
        sum(
            max(
                float(table(group).max())
                for power in powers
                for group in power.get_groups(f"{edge}_power")
            )
            for edge in EDGES
        )
        for pin in pins
        if is_clock(pin) and (powers := pin.get_groups("internal_power"))
    ]
    return max(taken, default=0.0)
