"""From a board to its bitstream: Yosys, nextpnr and ecppack; what it needs and reaches."""

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from dtqatten.boards.catalog import Board
from dtqatten.boards.gateware.machine import BoardMachine
from dtqatten.boards.pins import Pins, platform_of
from dtqatten.files.errors import ToolError
from dtqatten.files.locks import alone
from dtqatten.files.whole import replacing, write_text
from dtqatten.hw.base.export import PREFIX
from dtqatten.sim.engines.exported import exported
from dtqatten.synth.fpga import AIM, DEVICES, map_logic, placed
from dtqatten.synth.tools import module, versions

__all__ = ["TooSlowError", "build"]

#: Placer's family, with its Python module and names of cells.
FAMILY = DEVICES["ecp5"]
#: Top module of the bitstream.
TOP = "top"


class TooSlowError(ToolError):
    """No placement reaches the clock rate: there is no bitstream."""


def build(
    board: Board,
    output: Path,
    *,
    seeds: int = 1,
    step: Callable[[str], None] = lambda what: None,
) -> dict[str, Any]:
    """Build a board's bitstream.

    Parameters
    ----------
    board : Board
    output : Path
        Folder for ``<board>.bit``, ``<board>.json``, and ``work``, where the tools leave scripts,
        logs and netlists.
    seeds : int
        Placements at most: the first that reaches the clock rate counts.
    step : callable
        Told what is being done.

    Returns
    -------
    dict
        What ``<board>.json`` has: ``used`` and ``available`` cells, ``needed_mhz`` and
        ``fmax_mhz`` of the machine's clock, ``seed``, ``tried_mhz``, ``bitstream``, tools.

    Raises
    ------
    TooSlowError
        If no placement reaches the clock rate; there is then no bitstream of this board, an
        earlier one neither.
    SynthError
        If a tool refuses the design, or it does not fit.
    """
    folder = (output / "work" / board.name).resolve()
    with alone(output / "work" / f"{board.name}.lock"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for stale in (output / f"{board.name}.bit", output / f"{board.name}.json"):
            stale.unlink(missing_ok=True)
        step("Verilog")
        config = board.config()
        (folder / f"{PREFIX}board.v").write_text(exported("board", BoardMachine, config))
        plan = platform_of(board).prepare(Pins(board), TOP)
        for name in (f"{TOP}.il", f"{TOP}.lpf"):
            content = plan.files[name]
            text = content if isinstance(content, str) else content.decode()
            (folder / name).write_text(aimed(text) if name.endswith(".lpf") else text)
        step("logic")
        reads = f"read_verilog {PREFIX}board.v\nread_rtlil {TOP}.il\n"
        map_logic(reads, TOP, f"{FAMILY.synth} -no-rw-check", folder)
        result = best_of(board, folder, seeds, step)
        step("bitstream")
        packed = ["--compress", f"{TOP}.config", f"{TOP}.bit"]
        module(FAMILY.nextpnr, packed, folder, "ecppack.log", tool="ecppack")
        with replacing(output / f"{board.name}.bit") as partial:
            shutil.copyfile(folder / f"{TOP}.bit", partial)
        result |= {
            "bitstream": str(output / f"{board.name}.bit"),
            "bytes": (output / f"{board.name}.bit").stat().st_size,
            "tools": versions("amaranth", "amaranth-boards", "pyosys", FAMILY.package),
        }
        write_text(output / f"{board.name}.json", json.dumps(result, indent=2) + "\n")
    return result


def aimed(constraints: str) -> str:
    """Return constraints whose clocks are faster than needed by what the placer is to aim above."""
    return re.sub(
        r"^(FREQUENCY .*) ([\d.]+) HZ;",
        lambda found: f"{found[1]} {float(found[2]) * AIM:.1f} HZ;",
        constraints,
        flags=re.MULTILINE,
    )


def best_of(board: Board, folder: Path, seeds: int, step: Callable[[str], None]) -> dict[str, Any]:
    """Place and route until the clock rate is reached; return the result.

    Parameters
    ----------
    board : Board
    folder : Path
        Where the netlist is.
    seeds : int
        Placements at most.
    step : callable

    Raises
    ------
    TooSlowError
        If none reaches it.
    SynthError
        If the placer refuses the design, or it does not fit.
    """
    needed = board.clock_hz / 1e6
    files = ("--lpf", f"{TOP}.lpf", "--textcfg", f"{TOP}.config", "--placer", "static")
    device = replace(FAMILY, name=board.name, options=(*board.nextpnr, *files))
    tried: list[float] = []
    for seed in range(1, seeds + 1):
        step(f"place and route, seed {seed}" if seeds > 1 else "place and route")
        found = placed(device, folder, mhz=needed, seed=seed)
        if not found["fits"]:
            used = ", ".join(
                f"{count} {cell} of {board.cells[cell]}" for cell, count in found["used"].items()
            )
            raise ToolError(f"{board.name} is too small: {used}")
        tried.append(found["fmax_mhz"])
        if tried[-1] >= needed:
            return {
                "board": board.name,
                "fpga": board.fpga,
                "system": str(board.system),
                "memory_bytes": board.memory_bytes,
                "used": found["used"],
                "available": board.cells,
                "needed_mhz": needed,
                "fmax_mhz": found["fmax_mhz"],
                "critical_path": found["critical_path"],
                "seed": seed,
                "tried_mhz": tried,
            }
    rates = ", ".join(f"{rate:.1f}" for rate in tried)
    raise TooSlowError(
        f"{board.name} needs {needed:.1f} MHz and reaches {rates}: it is not built; try "
        "more --seeds"
    )
