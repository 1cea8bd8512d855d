"""Synthesis to standard cells: area by module, and the clock rate it reaches."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dtqatten.synth import sram
from dtqatten.synth.cells import CellLibrary
from dtqatten.synth.design import Design
from dtqatten.synth.timing import LOAD_FF, Timing, analyse
from dtqatten.synth.tools import yosys

__all__ = ["EFFORTS", "synthesize"]

#: What ABC is told to aim at, as parts of the clock period, until the netlist meets it. ABC knows
#: no setup times, and stops where its own estimate fits.
EFFORTS = (1.0, 0.8, 0.6, 0.4)

TECHMAP, SRAM_LIBERTY = "sram_map.v", "sram.lib"


def synthesize(
    design: Design,
    library: CellLibrary,
    macros: Sequence[sram.Macro],
    folder: Path,
    *,
    mhz: float,
    flatten: bool = False,
    timed: bool = True,
    step: Callable[[str], None] = lambda what: None,
) -> dict[str, Any]:
    """Map a design to standard cells and SRAM macros; return area and timing.

    A memory with registered reads and one write port becomes macros where these are smaller than
    its bits as flip-flops, see :mod:`dtqatten.synth.sram`; others stay flip-flops. Without
    ``flatten`` each kind of module is mapped once.

    Parameters
    ----------
    design : Design
    library : CellLibrary
        In ``folder``.
    macros : sequence of Macro
        May be empty: all memories stay flip-flops.
    folder : Path
        To work in; keeps scripts, logs and the netlist ``netlist.v``.
    mhz : float
        Clock rate aimed at.
    flatten : bool
        Dissolve the modules: logic is optimized across them, and there is no area by module.
    timed : bool
        Analyse timing; without it the first netlist is taken.
    step : callable
        Told what is being done.

    Returns
    -------
    dict
        ``area_um2``, of it ``flip_flop_um2`` and ``sram_um2``; ``modules``: by kind, their
        ``count`` and the ``um2`` of all of them without memories and the modules inside;
        ``memories``: the same by kind, and which macros a memory is made of; ``effort``; and
        with ``timed`` the fields of
        :class:`~dtqatten.synth.timing.Timing`.

    Raises
    ------
    SynthError
        If a tool refuses the design.
    """
    step("logic")
    mode = "-flatten " if flatten else ""
    yosys(
        f"""{design.write(folder)}hierarchy -check -top {design.top}
synth {mode}-booth -top {design.top} -run :fine
write_json coarse.json
write_rtlil coarse.il
""",
        folder,
        "coarse",
    )
    found = memories(json.loads((folder / "coarse.json").read_text()))
    models = [sram.smallest(macros, memory) for memory in sorted(found)] if macros else []
    models = [
        model
        for model in models
        if model.area < model.memory.words * model.memory.width * library.flip_flop_area
    ]
    libraries = [file.name for file in library.files]
    more = []
    mapped = ""
    if models:
        (folder / "sram_cells.v").write_text(sram.blackboxes(models))
        (folder / TECHMAP).write_text(sram.techmap(models))
        (folder / SRAM_LIBERTY).write_text(sram.liberty(models))
        mapped = f"read_verilog -lib sram_cells.v\ntechmap -map {TECHMAP}\n"
        more = [SRAM_LIBERTY]
    cells = " ".join(f"-liberty {name}" for name in libraries)
    step("gates")
    yosys(
        f"""read_rtlil coarse.il
{mapped}synth -top {design.top} -run fine:check
rename -wire
dfflibmap {cells}
write_rtlil gates.il
""",
        folder,
        "gates",
    )
    (folder / "load.constr").write_text(
        f"set_driving_cell {library.buffer}\nset_load {LOAD_FF} [all_outputs]\n"
    )
    every = " ".join(f"-liberty {name}" for name in (*libraries, *more))
    best: tuple[float, Timing | None] | None = None
    for effort in EFFORTS:
        step(f"cells, effort {effort}")
        yosys(
            f"""read_rtlil gates.il
abc -D {round(1e6 / mhz * effort)} -constr load.constr {cells}
opt_clean -purge
tee -q -o area.json stat -json -hierarchy {every}
write_verilog -noattr -noexpr -nohex -simple-lhs {netlist(effort)}
""",
            folder,
            "cells",
        )
        (folder / "area.json").replace(folder / f"{netlist(effort)}.json")
        timing = None
        if timed:
            step("timing")
            timing = analyse(design, library, netlist(effort), more, 1000 / mhz, folder)
        if best and best[1] and timing and timing.slack_ns <= best[1].slack_ns:
            break  # what limits the clock is nothing that ABC can mend
        best = effort, timing
        if timing is None or timing.slack_ns >= 0:
            break
    assert best is not None
    effort, timing = best
    (folder / netlist(effort)).replace(folder / "netlist.v")
    areas = json.loads((folder / f"{netlist(effort)}.json").read_text())["modules"]
    return {
        **area_by_module(areas, design.top, models),
        "effort": effort,
        **({} if timing is None else asdict(timing)),
    }


def netlist(effort: float) -> str:
    """Name of the netlist of an effort."""
    return f"netlist_{effort}.v"


def memories(design: dict[str, Any]) -> set[sram.Memory]:
    """Return the memories of a design, in Yosys's JSON, that a macro could be."""
    found = set()
    for module in design["modules"].values():
        for cell in module["cells"].values():
            if cell["type"] != "$mem_v2":
                continue
            value = {
                name: int(cell["parameters"][name], 2)
                for name in ("SIZE", "OFFSET", "WIDTH", "RD_PORTS", "RD_CLK_ENABLE", "WR_PORTS")
            }
            clocked = value["RD_CLK_ENABLE"] == 2 ** value["RD_PORTS"] - 1
            if clocked and value["WR_PORTS"] == 1 and not value["OFFSET"]:
                found.add(sram.Memory(value["SIZE"], value["WIDTH"]))
    return found


def area_by_module(
    statistics: dict[str, Any], top: str, models: Sequence[sram.Model]
) -> dict[str, Any]:
    """Add up the areas in Yosys's statistics, by kind of module and of memory."""
    counts: Counter[str] = Counter()

    def visit(kind: str, times: int) -> None:
        counts[kind] += times
        for part, number in of(kind, "submodules").items():
            visit(part, times * int(number["count"]))

    def of(kind: str, what: str) -> dict[str, dict[str, str]]:
        return statistics[f"\\{kind}"].get(f"num_{what}_by_type", {})

    visit(top, 1)
    whole = statistics[f"\\{top}"]
    memories: dict[str, dict[str, Any]] = {
        model.memory.cell: {
            "count": int(of(top, "cells")[model.memory.cell]["count"]),
            "um2": float(of(top, "cells")[model.memory.cell]["area"]),
            "macro": model.macro.name,
            "across": model.across,
            "deep": model.deep,
        }
        for model in models
    }
    modules = {}
    for kind, count in counts.items():
        cells = of(kind, "cells")
        inside = sum(float(cells[name]["local_area"]) for name in memories if name in cells)
        area = float(statistics[f"\\{kind}"]["num_cells"]["local_area"]) - inside
        modules[kind] = {"count": count, "um2": count * area}
    return {
        "area_um2": float(whole["num_cells"]["area"]),
        "flip_flop_um2": float(whole["sequential_area"]["area"]),
        "sram_um2": sum(memory["um2"] for memory in memories.values()),
        "modules": modules,
        "memories": memories,
    }
