"""From gates to cells, with more effort where the clock is missed."""

import copy
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from dtqatten.synth import sram
from dtqatten.synth.cells import CellLibrary
from dtqatten.synth.design import Design
from dtqatten.synth.fanout import buffer_nets, fourfold, read_loads
from dtqatten.synth.scale import load_scale
from dtqatten.synth.timing import Timing, analyse
from dtqatten.synth.tools import yosys

__all__ = ["EFFORTS", "SRAM_LIBERTY", "Attempts", "liberty_options"]

#: How ABC maps a module: what it does before technology mapping, and which part of the clock
#: period it aims at, for it knows neither setup times nor what registers take. First for area,
#: then with levels of logic balanced, once and twice.
CHEAP = "strash; &get -n; &fraig -x; &put; scorr; dc2; strash"
BALANCED = "strash; scorr; strash; ifraig; if -g -K 6; strash"
EFFORTS = (
    (CHEAP, 1.0),
    (CHEAP, 0.7),
    (BALANCED, 0.7),
    (f"{BALANCED}; dch; if -g -K 6; strash", 0.6),
)

#: Technology mapping, then buffers where more than 12 gates hang on one, then sizes. Mapping can
#: leave gates that nothing uses, which ``buffer`` refuses: ``topo`` drops them.
MAPPING = "dch -f; map {D}; topo; buffer -p -N 12; upsize {D}; dnsize {D}; stime -p"

#: Library of the macros, in the folder that is worked in.
SRAM_LIBERTY = "sram.lib"


class Attempts:
    """A netlist of cells whose modules are mapped with more effort from attempt to attempt.

    Parameters
    ----------
    design : Design
    library : CellLibrary
    models : sequence of Model
        Of its memories.
    folder : Path
        With ``load.constr`` and, where there are macros, their library.
    gates : dict
        Its modules, in Yosys's JSON.
    mhz : float
        Clock rate aimed at.

    Attributes
    ----------
    modules : dict
        The netlist of the last attempt, buffers included.
    """

    def __init__(
        self,
        design: Design,
        library: CellLibrary,
        models: Sequence[sram.Model],
        folder: Path,
        gates: dict[str, Any],
        mhz: float,
    ) -> None:
        self._design, self._library, self._folder = design, library, folder
        self._gates, self._mhz = gates, mhz
        self._macros = {model.memory.cell for model in models}
        self._more = [SRAM_LIBERTY] if models else []
        self._loads = read_loads([*library.files, *(folder / name for name in self._more)])
        self._buffer = fourfold(library.buffers, self._loads)
        first = library.buffers[0]
        self._scale = load_scale(self._loads[first.cell][first.input] or 0.0)
        self._netlist: dict[str, Any] = dict(gates["modules"])
        self.modules: dict[str, Any] = {}

    def map(self, changed: set[str], efforts: dict[str, int], step: Callable[[str], None]) -> None:
        """Map the changed kinds of modules, each with its effort."""
        cells = liberty_options(file.name for file in self._library.files)
        for level, (before, aim) in enumerate(EFFORTS):
            kinds = {kind for kind in changed if efforts[kind] == level}
            if not kinds:
                continue
            step(f"cells, effort {level}, {len(kinds)} modules")
            modules = {kind: self._gates["modules"][kind] for kind in sorted(kinds)}
            self._write("some.json", modules)
            yosys(
                f"""read_json some.json
abc -D {round(1e6 / self._mhz * aim)} -constr load.constr {cells} -script {abc_script(before)}
opt_clean -purge
write_json mapped.json
""",
                self._folder,
                "cells",
            )
            mapped = json.loads((self._folder / "mapped.json").read_text())
            self._netlist |= mapped["modules"]

    def buffer(self) -> int:
        """Insert buffers, and write netlist and areas; return how many buffers there are."""
        self.modules = copy.deepcopy(self._netlist)
        top = self._design.top
        added = buffer_nets(self.modules, top, self._loads, self._macros, self._buffer, self._scale)
        self._write("buffered.json", self.modules)
        libraries = [*(file.name for file in self._library.files), *self._more]
        yosys(
            f"""read_json buffered.json
tee -q -o area.json stat -json -hierarchy -top {top} {liberty_options(libraries)}
write_verilog -noattr -noexpr -nohex -simple-lhs attempt.v
""",
            self._folder,
            "netlist",
        )
        return added

    def time(self, margin: float = 0.0) -> Timing | None:
        """Analyse the netlist's timing; tell paths that leave less than a part of the period."""
        period = 1000 / self._mhz
        return analyse(
            self._design,
            self._library,
            "attempt.v",
            self._more,
            period,
            self._folder,
            margin_ns=margin * period,
        )

    def _write(self, name: str, modules: dict[str, Any]) -> None:
        (self._folder / name).write_text(json.dumps({**self._gates, "modules": modules}))


def liberty_options(libraries: Iterable[str]) -> str:
    """Return libraries as options of a command."""
    return " ".join(f"-liberty {name}" for name in libraries)


def abc_script(before: str) -> str:
    """Return a script as an option of Yosys's ``abc``, whose spaces are commas."""
    return "+" + f"{before}; {MAPPING}".replace("; ", ";").replace(" ", ",")
