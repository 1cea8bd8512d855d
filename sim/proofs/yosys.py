"""Yosys with all its passes: the ``pyosys`` package, in a process of its own.

The Yosys that Amaranth brings has only the passes that write Verilog.
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from dtqatten.files.errors import ToolError
from dtqatten.files.notices import run_tool
from dtqatten.files.scratch import scratch, tool_environment

__all__ = ["abc", "check_verilog", "run_yosys"]

# Found, not imported: it changes how this process loads libraries.
PACKAGE = find_spec("pyosys")
if PACKAGE is None or PACKAGE.origin is None:
    raise ModuleNotFoundError("no module named 'pyosys'", name="pyosys")
ABC = Path(PACKAGE.origin).parent / "yosys-abc"

# Imports here would load Yosys into this process, which an error of Yosys ends.
RUN_SCRIPT = """
import sys
from pyosys import libyosys
libyosys.run_pass("script " + sys.argv[1], libyosys.Design())
"""


#: Ports that do not fit, wires that nothing drives or two things drive, and loops are errors.
CHECK = """
read_verilog design.v
hierarchy -check -top {top}
proc
check -assert
"""


def run_yosys(script: str, directory: Path) -> None:
    """Run a Yosys script in a directory.

    Raises
    ------
    ToolError
        If Yosys fails, with the end of its log.
    """
    (directory / "script.ys").write_text(script)
    _run([sys.executable, "-c", RUN_SCRIPT, "script.ys"], directory, "Yosys")


def check_verilog(text: str, top: str) -> str:
    """Return what Yosys finds wrong with a design; empty if nothing."""
    with scratch() as directory:
        (directory / "design.v").write_text(text)
        try:
            run_yosys(CHECK.format(top=top), directory)
        except ToolError as error:
            return str(error)
    return ""


def abc(commands: str, directory: Path, seconds: float) -> str:
    """Run the ABC that comes with Yosys and return its log, "" if it takes too long.

    A command that fails says so in the log alone, and ends the commands.

    Raises
    ------
    ToolError
        If ABC crashes, with the end of its log.
    """
    command = [str(ABC), "-c", commands]
    try:
        return _run(command, directory, "ABC", seconds)
    except subprocess.TimeoutExpired:
        return ""


def _run(command: list[str], directory: Path, tool: str, seconds: float | None = None) -> str:
    """Run a tool and return what it prints.

    Parameters
    ----------
    command : list of str
    directory : Path
        Where it runs.
    tool : str
        Its name in a message.
    seconds : float, optional
        Limit of its time.

    Raises
    ------
    ToolError
        If it fails.
    """
    run = run_tool(command, cwd=directory, env=tool_environment(), timeout=seconds)
    if run.returncode:
        raise ToolError(f"{tool} failed:\n{(run.stdout + run.stderr)[-2000:]}")
    return run.stdout
