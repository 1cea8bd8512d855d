"""What cells drive and how well, from Liberty files: loads, resistance, sizes of one function."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dtqatten.synth.cells import BufferCell
from dtqatten.synth.scale import Scale

__all__ = ["Drive", "Drives"]

#: What a state does.
STATE = ("next_state", "clocked_on", "preset", "clear", "data_in", "enable")

#: A buffer that takes as many times the fastest one's delay, both unloaded, is there to delay.
DELAYED = 1.5

#: Largest load, fF, of an output whose file does not limit it.
UNLIMITED = 60.0


@dataclass(frozen=True)
class Drive:
    """A cell's electrical side.

    Attributes
    ----------
    area : float
        In the library's unit.
    loads : dict of str to float
        fF of each input pin.
    clocks : frozenset of str
        Inputs that are clocks.
    resistance : float
        ps a fF of load, of its weakest output; 0 without an output.
    delay : float
        ps without load, of its slowest arc.
    limit : float
        Most fF at an output.
    """

    area: float
    loads: dict[str, float]
    clocks: frozenset[str]
    resistance: float
    delay: float
    limit: float


class Drives:
    """Every cell's drive, and which cells do the same.

    Parameters
    ----------
    files : sequence of Path
        Liberty files, unpacked; delays in ns or ps, loads in fF or pF.

    Attributes
    ----------
    cells : dict of str to Drive
    """

    def __init__(self, files: Sequence[Path]) -> None:
        from liberty.parser import parse_liberty

        self.cells: dict[str, Drive] = {}
        self._family: dict[str, tuple[Any, ...]] = {}
        families: dict[tuple[Any, ...], list[str]] = defaultdict(list)
        for path in files:
            library = parse_liberty(path.read_text())
            number, unit = library["capacitive_load_unit"]
            farad = float(number) * {"ff": 1.0, "pf": 1000.0}[text(unit).lower()]
            second = {"1ns": 1000.0, "1ps": 1.0, "10ps": 10.0, "100ps": 100.0}[
                text(library.get("time_unit", "1ns"))
            ]
            for cell in library.get_groups("cell"):
                name = text(cell.args[0])
                self.cells[name] = drive_of(cell, templates(library), farad, second)
                if text(cell.get("dont_use", "false")) != "true":
                    families[function_of(cell)].append(name)
                    self._family[name] = function_of(cell)
        self._sizes = {
            family: sorted(names, key=lambda name: (self.cells[name].area, name))
            for family, names in families.items()
        }

    def scale(self, buffer: BufferCell) -> Scale:
        """Return the scale of the library whose smallest buffer is given."""
        drive = self.cells[buffer.cell]
        return Scale.of(drive.loads[buffer.input], drive.resistance, drive.delay)

    def quick(self, buffers: Sequence[BufferCell]) -> tuple[BufferCell, ...]:
        """Return the buffers that are no delay cells: nearly as fast as the fastest."""
        fastest = min((self.cells[buffer.cell].delay for buffer in buffers), default=0.0)
        return tuple(b for b in buffers if self.cells[b.cell].delay <= DELAYED * fastest)

    def sizes(self, kind: str) -> list[str]:
        """Return the cells that do what this one does, at the same pins; smallest first."""
        return self._sizes[self._family[kind]] if kind in self._family else [kind]


def text(value: Any) -> str:
    """Return a Liberty value without quotes."""
    return str(value).strip('"')


def templates(library: Any) -> dict[str, Any]:
    """Return the look-up tables' templates by name."""
    return {text(group.args[0]): group for group in library.get_groups("lu_table_template")}


def function_of(cell: Any) -> tuple[Any, ...]:
    """Return what a cell does: two of one function can stand for each other."""
    pins = tuple(
        sorted(
            (text(pin.args[0]), text(pin["direction"]), text(pin.get("function", "")))
            for pin in (*cell.get_groups("pin"), *cell.get_groups("bus"))
        )
    )
    states = tuple(
        (kind, *(text(group.get(key, "")) for key in STATE))
        for kind in ("ff", "latch", "statetable")
        for group in cell.get_groups(kind)
    )
    # Cells without a function are known by name only.
    known = any(function for _, _, function in pins)
    return pins, states, "" if known else text(cell.args[0])


def drive_of(cell: Any, tables: dict[str, Any], farad: float, second: float) -> Drive:
    """Return the electrical side of a Liberty cell, in ps and fF."""
    loads: dict[str, float] = {}
    clocks = set()
    slopes, delays, limits = [0.0], [0.0], []
    for pin in (*cell.get_groups("pin"), *cell.get_groups("bus")):
        name = text(pin.args[0])
        if text(pin["direction"]) == "input":
            loads[name] = farad * float(pin.get("capacitance") or 0)
            if text(pin.get("clock", "false")) == "true":
                clocks.add(name)
            continue
        if pin.get("max_capacitance"):
            limits.append(farad * float(pin["max_capacitance"]))
        for arc in pin.get_groups("timing"):
            for group in arc.groups:
                if group.group_name in ("cell_rise", "cell_fall"):
                    at, values = over_load(group, tables)
                    if len(at) > 1:
                        slopes.append((values[-1] - values[0]) / (at[-1] - at[0]))
                    delays.append(values[0] - slopes[-1] * at[0] if len(at) > 1 else values[0])
    return Drive(
        float(cell.get("area") or 0),
        loads,
        frozenset(clocks),
        max(slopes) * second / farad,
        max(delays) * second,
        min(limits, default=UNLIMITED),
    )


def over_load(group: Any, tables: dict[str, Any]) -> tuple[list[float], list[float]]:
    """Return loads and delays of a look-up table, at a low input transition; none if constant."""
    template = tables.get(text(group.args[0])) if group.args else None
    values = np.atleast_2d(group.get_array("values"))
    if template is None:
        return [], [float(values.max())]
    axes = [key for key in ("variable_1", "variable_2") if template.get(key)]
    of_load = [k for k in axes if text(template[k]) == "total_output_net_capacitance"]
    if not of_load:
        return [], [float(values.max())]
    (load,) = of_load
    index = "index" + load.removeprefix("variable")
    source = group if group.get(index) else template
    points = source.get_array(index).ravel().tolist()
    if load == "variable_1":  # [load] or [load, transition]
        line = values.ravel() if len(axes) == 1 else values[:, values.shape[1] // 3]
    else:
        line = values[values.shape[0] // 3]
    return points, line.tolist()
