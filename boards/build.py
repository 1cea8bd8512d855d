"""From a board to its bitstream; what it needs and reaches."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dtqatten.boards.catalog import Board
from dtqatten.boards.pins import Pins, platform_of
from dtqatten.boards.simulated import design
from dtqatten.boards.toolchain import TOOLCHAINS, TOP
from dtqatten.boards.trial import simulated_exact
from dtqatten.files.errors import ToolError
from dtqatten.files.locks import alone
from dtqatten.files.whole import replacing, write_text
from dtqatten.hw.base.export import PREFIX
from dtqatten.synth.fpga import map_logic, placed
from dtqatten.synth.tools import versions

__all__ = ["TooSlowError", "build"]


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
        Folder for the bitstream (``<board>.bit``, of Gowin's ``<board>.fs``), ``<board>.json``, and
        ``work``, where the tools leave scripts, logs and netlists.
    seeds : int
        Placements at most: the first that reaches the clock rate counts.
    step : callable
        Told what is being done.

    Returns
    -------
    dict
        What ``<board>.json`` has: ``luts``, ``ffs``, ``brams``, ``dsps``, and how many are
        ``available``; ``needed_mhz`` and ``fmax_mhz`` of the machine's clock; ``seed``,
        ``tried_mhz``, ``bitstream``, tools; ``simulated_exact``: a layer on the simulated board
        gave what the golden model says.

    Raises
    ------
    TooSlowError
        If no placement reaches the clock rate; there is then no bitstream of this board, an
        earlier one neither.
    SynthError
        If a tool refuses the design, or it does not fit.
    ToolError
        If the simulated board differs from the golden model, ends with an error, or does not
        answer.
    """
    tools = TOOLCHAINS[board.family]
    bitstream = output / board.bitstream
    folder = (output / "work" / board.name).resolve()
    with alone(output / "work" / f"{board.name}.lock"):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for stale in (bitstream, output / f"{board.name}.json"):
            stale.unlink(missing_ok=True)
        step("simulation")
        if not (exact := simulated_exact(board)):
            raise ToolError(f"{board.name}, simulated, differs from the golden model: not built")
        step("Verilog")
        (folder / f"{PREFIX}board.v").write_text(design(board.config()))
        plan = platform_of(board).prepare(Pins(board), TOP)
        for name in (f"{TOP}.il", tools.constraints):
            content = plan.files[name]
            text = content if isinstance(content, str) else content.decode()
            (folder / name).write_text(tools.aimed(text) if name == tools.constraints else text)
        step("logic")
        reads = f"read_verilog {PREFIX}board.v\nread_rtlil {TOP}.il\n"
        map_logic(reads, TOP, f"{tools.device.synth} -no-rw-check", folder)
        result = best_of(board, folder, seeds, step)
        step("bitstream")
        made = tools.pack(board, folder)
        with replacing(bitstream) as partial:
            shutil.copyfile(made, partial)
        result |= {
            "simulated_exact": exact,
            "bitstream": str(bitstream),
            "bytes": bitstream.stat().st_size,
            "tools": versions("amaranth", "amaranth-boards", "pyosys", *tools.packages),
        }
        write_text(output / f"{board.name}.json", json.dumps(result, indent=2) + "\n")
    return result


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
    tools = TOOLCHAINS[board.family]
    device = tools.device_of(board)
    tried: list[float] = []
    for seed in range(1, seeds + 1):
        step(f"place and route, seed {seed}" if seeds > 1 else "place and route")
        found = placed(device, folder, mhz=needed, seed=seed)
        counted = tools.counted(found["used"])
        if not found["fits"]:
            used = ", ".join(
                f"{count} {cell} of {board.cells[cell]}" for cell, count in counted.items()
            )
            raise ToolError(f"{board.name} is too small: {used}")
        tried.append(found["fmax_mhz"])
        if tried[-1] >= needed:
            return {
                "board": board.name,
                "fpga": board.fpga,
                "system": str(board.system),
                "memory": str(board.memory),
                "memory_bytes": board.memory_bytes,
                **{f"{cell}s": count for cell, count in counted.items()},
                "available": {f"{cell}s": count for cell, count in board.cells.items()},
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
