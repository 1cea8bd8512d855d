"""Synthesis to standard cells: area by module, and the clock rate it reaches."""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from dtqatten.hw.base.memory_shape import PARAMETERS, Memory, memory_of
from dtqatten.synth import sram
from dtqatten.synth.adders import MARGIN, Adders, FullAdder
from dtqatten.synth.adders import TECHMAP as TECHMAP_ADDERS
from dtqatten.synth.attempts import EFFORTS, SRAM_LIBERTY, Attempts, liberty_options
from dtqatten.synth.cells import CellLibrary
from dtqatten.synth.design import Design
from dtqatten.synth.macros import Macro
from dtqatten.synth.timing import LOAD_FF, Timing
from dtqatten.synth.tools import SynthError, yosys

__all__ = ["synthesize"]

TECHMAP = "sram_map.v"

#: The gates with full adders bound.
BOUND = "bound.json"

#: Part of the clock period by which a path misses it that is more than some adders.
FAR = 0.25


def synthesize(
    design: Design,
    library: CellLibrary,
    macros: Sequence[Macro],
    folder: Path,
    *,
    mhz: float,
    flatten: bool = False,
    one_port: bool = False,
    full_adders: bool = False,
    timed: bool = True,
    step: Callable[[str], None] = lambda what: None,
) -> dict[str, Any]:
    """Map a design to standard cells and SRAM macros; return area and timing.

    A memory with registered reads and one write port, or one port for both, becomes macros where
    these are smaller than its bits as flip-flops, see :mod:`dtqatten.synth.sram`; others stay
    flip-flops. Without
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
    one_port : bool
        Only memories with one port become macros: no second port is modelled.
    full_adders : bool
        Full adders among the gates become the library's; where paths through them leave too little
        of the clock they are gates again, see :mod:`dtqatten.synth.adders`.
    timed : bool
        Analyse timing; without it the first netlist is taken.
    step : callable
        Told what is being done.

    Returns
    -------
    dict
        ``area_um2``, of it ``flip_flop_um2`` and ``sram_um2``; ``modules``: by kind, their
        ``count`` and the ``um2`` of all of them without memories and the modules inside;
        ``memories``: the same by kind, and which macros a memory is made of; ``efforts``: the
        place in :data:`~dtqatten.synth.attempts.EFFORTS` of the kinds that were not mapped by the
        first; ``buffers``: how many :mod:`~dtqatten.synth.fanout` inserted; ``adders``: the
        library's full adders in one module of each kind that has some; and with
        ``timed`` the fields of :class:`~dtqatten.synth.timing.Timing` but ``close``.

    Raises
    ------
    SynthError
        If a tool refuses the design, or the library has no full adder to bind.
    """
    adder = library.adder if full_adders else None
    if full_adders and adder is None:
        files = ", ".join(file.name for file in library.files)
        raise SynthError(f"no cell of {files} is a full adder: leave out --full-adders")
    step("logic")
    found = _logic(design, folder, flatten=flatten)
    fitting = [memory for memory in sorted(found) if memory.ports == 1 or not one_port]
    models = [sram.smallest(macros, memory) for memory in fitting] if macros else []
    models = [
        model
        for model in models
        if model.area < model.memory.words * model.memory.width * library.flip_flop_area
    ]
    step("gates")
    gates = _gates(design, library, models, folder, adder)
    bound = json.loads((folder / BOUND).read_text())["modules"] if adder else {}
    adders = Adders(adder, gates["modules"], bound)
    attempts = Attempts(design, library, models, folder, gates, mhz)
    efforts = dict.fromkeys(gates["modules"], 0)
    changed = set(efforts)
    best: tuple[dict[str, int], Timing | None, int, dict[str, int]] | None = None
    while changed:
        attempts.map(changed, efforts, step)
        added = attempts.buffer()
        timing = None
        if timed:
            step("timing")
            timing = attempts.time(MARGIN if adder else 0.0)
        if best is None or (best[1] and timing and timing.slack_ns > best[1].slack_ns):
            best = dict(efforts), timing, added, adders.bound()
            for name in ("area.json", "attempt.v"):
                (folder / name).replace(folder / f"best_{name}")
        if timing is None:
            break
        # What is on a path that misses the clock is mapped anew; the rest stays as it is.
        paths = [
            (path.slack_ns * mhz / 1000, cells_of(attempts.modules, design.top, path.cells))
            for path in timing.close
        ]
        eager, apart = _quickened(paths, efforts, adders)
        for kind in eager:
            efforts[kind] += 1
        for kind, names in apart.items():
            adders.dissolve(kind, sorted(names))
        changed = eager | apart.keys()
    assert best is not None
    efforts, timing, added, bound = best
    (folder / "best_attempt.v").replace(folder / "netlist.v")
    areas = json.loads((folder / "best_area.json").read_text())["modules"]
    return {
        **area_by_module(areas, design.top, models),
        "efforts": {kind: level for kind, level in efforts.items() if level},
        "buffers": added,
        "adders": bound,
        **({} if timing is None else timing.summary()),
    }


def _logic(design: Design, folder: Path, *, flatten: bool) -> set[Memory]:
    """Make logic of a design, in ``coarse.il``; return the memories that macros could be."""
    # A write port's address is undefined while it writes nothing: any will do, the one that a read
    # port has in particular.
    mode = "-flatten " if flatten else ""
    yosys(
        f"""{design.write(folder)}hierarchy -check -top {design.top}
proc
opt_expr -mux_undef
synth {mode}-booth -top {design.top} -run :fine
write_json coarse.json
write_rtlil coarse.il
""",
        folder,
        "coarse",
    )
    return memories(json.loads((folder / "coarse.json").read_text()))


def _gates(
    design: Design,
    library: CellLibrary,
    models: Sequence[sram.Model],
    folder: Path,
    adder: FullAdder | None,
) -> dict[str, Any]:
    """Make macros, flip-flops and gates of the logic; return them in Yosys's JSON.

    Parameters
    ----------
    design : Design
    library : CellLibrary
        Its flip-flops are used, and its buffer drives the inputs.
    models : sequence of Model
        Memories that become macros; may be empty.
    folder : Path
        With ``coarse.il``; takes ``gates.json``, with an adder :data:`BOUND`, ``load.constr`` and
        the macros' files.
    adder : FullAdder or None
        To bind.
    """
    mapped = ""
    if models:
        (folder / "sram_cells.v").write_text(sram.blackboxes(models))
        (folder / TECHMAP).write_text(sram.techmap(models))
        (folder / SRAM_LIBERTY).write_text(sram.liberty(models))
        mapped = f"read_verilog -lib sram_cells.v\ntechmap -map {TECHMAP}\n"
    cells = f"rename -wire\ndfflibmap {liberty_options(file.name for file in library.files)}\n"
    bound = ""
    if adder:
        (folder / "adder_cell.v").write_text(adder.blackbox())
        (folder / TECHMAP_ADDERS).write_text(adder.techmap())
        bound = f"design -load gates\n{adder.commands()}{cells}write_json {BOUND}\n"
    yosys(
        f"""read_rtlil coarse.il
{mapped}synth -top {design.top} -run fine:check
design -save gates
{cells}write_json gates.json
{bound}""",
        folder,
        "gates",
    )
    (folder / "load.constr").write_text(
        f"set_driving_cell {library.buffer}\nset_load {LOAD_FF} [all_outputs]\n"
    )
    gates: dict[str, Any] = json.loads((folder / "gates.json").read_text())
    return gates


def _quickened(
    paths: Sequence[tuple[float, Sequence[tuple[str, str]]]],
    efforts: dict[str, int],
    adders: Adders,
) -> tuple[set[str], dict[str, set[str]]]:
    """Return which kinds of modules get more effort, and which of their adders become gates.

    What is on a path that misses the clock gets more effort, but with adders on it only some at
    first. Then these become gates, with all others in the same modules if the path is far from the
    clock, and there is more effort.

    Parameters
    ----------
    paths : sequence of tuple
        Slack of each, in clock periods, and the kind of module and the name of each cell.
    efforts : dict of str to int
        Of the kinds so far.
    adders : Adders
    """
    eager: set[str] = set()
    apart: dict[str, set[str]] = defaultdict(set)
    for slack, cells in paths:
        kinds = {kind for kind, _ in cells}
        far = slack < -FAR
        bound = [cell for cell in cells if adders.has(*cell)]
        if bound and slack < 0 and (untried := {kind for kind in kinds if not efforts[kind]}):
            eager |= untried
            continue
        for kind, name in bound:
            if far:
                apart[kind] = set(adders.of(kind))
            else:
                apart[kind].add(name)
        if far or (slack < 0 and not bound):
            eager |= {kind for kind in kinds if efforts[kind] < len(EFFORTS) - 1}
    return eager, apart


def cells_of(modules: dict[str, Any], top: str, path: Sequence[str]) -> list[tuple[str, str]]:
    """Return the kind of module and the name of each cell, given by its path of instances."""
    return [(kind_of(modules, top, cell), cell.rpartition("/")[2]) for cell in path]


def kind_of(modules: dict[str, Any], top: str, cell: str) -> str:
    """Return the kind of the module that has a cell, given by its path of instances."""
    kind = top
    for name in cell.split("/")[:-1]:
        kind = modules[kind]["cells"][name]["type"]
    return kind


def memories(design: dict[str, Any]) -> set[Memory]:
    """Return the memories of a design, in Yosys's JSON, that a macro could be."""
    found = set()
    for module in design["modules"].values():
        for cell in module["cells"].values():
            if cell["type"] != "$mem_v2":
                continue
            value = {name: int(cell["parameters"][name], 2) for name in PARAMETERS}
            of = cell["connections"]
            if (memory := memory_of(value, of["RD_ADDR"], of["WR_ADDR"])) is not None:
                found.add(memory)
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
            "ports": model.memory.ports,
            "across": model.across,
            "access_pj": model.access_pj,
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
