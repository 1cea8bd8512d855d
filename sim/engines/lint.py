"""Verilator's lint, with every waiver explained."""

from dtqatten.files.notices import run_tool
from dtqatten.files.scratch import scratch
from dtqatten.sim.engines.compiler import verilator_environment

__all__ = ["WAIVERS", "lint_verilog"]

#: Rules that generated code breaks, and why that is harmless.
WAIVERS = {
    "WIDTHEXPAND": "Yosys leaves operands narrower than the expression; Verilog extends them",
    "WIDTHTRUNC": "Yosys leaves the cut of a wide result to the assignment's target",
    "CMPCONST": "the smallest sizes leave a comparison with one outcome",
    "UNUSEDSIGNAL": "carries that a wrapping counter drops, outputs that only a monitor reads",
    "DECLFILENAME": "all modules ship in one file, named after the top",
    "UNOPTFLAT": "bits of a vector that depend on others of it; Amaranth refuses loops of a bit",
    "PROCASSINIT": "registers have both an initial value, for FPGAs, and a reset",
}


def lint_verilog(text: str, top: str) -> str:
    """Return what ``verilator --lint-only -Wall`` says beyond the waivers; empty if clean."""
    with scratch() as directory:
        source = directory / f"{top}.v"
        source.write_text(text)
        run = run_tool(
            [
                *("verilator", "--lint-only", "-Wall", "--top-module", top),
                *(f"-Wno-{rule}" for rule in WAIVERS),
                str(source),
            ],
            env=verilator_environment(),
        )
    return (run.stdout + run.stderr).strip() if run.returncode or run.stderr.strip() else ""
