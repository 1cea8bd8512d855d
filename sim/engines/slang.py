"""The lint of slang, a SystemVerilog compiler of its own, with every waiver explained."""

import re
import sys

from dtqatten.files.notices import run_tool
from dtqatten.files.scratch import scratch, tool_environment

__all__ = ["SLANG_WAIVERS", "slang_verilog"]

#: Rules that generated code breaks, and why that is harmless.
SLANG_WAIVERS = {
    "sign-conversion": "Yosys casts operands, not results: their bits are the same",
    "unused-but-set-net": "carries that a wrapping counter drops, outputs that a monitor reads",
    "unused-net": "Yosys drops a register that nothing reads, but not its wire's initial value",
    "unused-port": "blocks have their ports in every configuration, whatever it uses of them",
    "width-expand": "Yosys leaves operands narrower than the expression; Verilog extends them",
    "width-trunc": "Yosys leaves the cut of a wide result to the assignment's target",
}

#: slang's driver ends the process that it fails in, and prints to file descriptors.
DRIVER = """
import sys
from pyslang.driver import Driver
driver = Driver()
driver.addStandardArgs()
fine = driver.parseCommandLine(sys.argv[1]) and driver.processOptions() and driver.parseAllSources()
if fine:
    compilation = driver.createCompilation()
    driver.reportCompilation(compilation, True)
    driver.runAnalysis(compilation)
sys.exit(not (fine and driver.reportDiagnostics(True)))
"""


def slang_verilog(text: str, top: str) -> str:
    """Return what slang says of a design beyond the waivers; empty if it is clean.

    Parameters
    ----------
    text : str
        Verilog of a design.
    top : str
        Its top module.
    """
    with scratch() as folder:
        source = folder / f"{top}.v"
        source.write_text(text)
        rules = ("extra", "conversion", "unused", *(f"no-{rule}" for rule in SLANG_WAIVERS))
        options = " ".join(f"-W{rule}" for rule in rules)
        done = run_tool(
            [sys.executable, "-c", DRIVER, f"slang {options} --top {top} {source}"],
            env=tool_environment(),
        )
    said = done.stdout + done.stderr
    warned = re.search(r"\b(?:warning|error): ", said)
    return said.strip() or "slang failed" if done.returncode or warned else ""
