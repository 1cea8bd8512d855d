"""Verilator's lint, module by module, with every waiver explained."""

import re

from dtqatten.files.notices import run_tool
from dtqatten.files.scratch import scratch
from dtqatten.sim.engines.compiler import verilator_environment
from dtqatten.sim.engines.waivers import WAIVERS

__all__ = ["lint_verilog"]

# An escaped name ends with a space.
MODULE = re.compile(r"^module (\\\S+|\w+) ?\(.*?^endmodule$", re.DOTALL | re.MULTILINE)
PORT = re.compile(r"^  (?:input|output|inout) .*;$", re.MULTILINE)
INSTANCE = re.compile(r"^  (\\\S+|\w+)(?= (?:\\\S+|\w+) *\($)", re.MULTILINE)


def apart(text: str) -> str:
    """Return a design whose modules instantiate stubs, which have ports alone.

    Every module is then a top, so that Verilator looks at each of them once and flattens none. A
    text without modules is returned as it is.
    """
    modules = {match[1]: match[0] for match in MODULE.finditer(text)}
    if not modules:
        return text

    def stub_of(name: str) -> str:
        return f"{name}__stub"

    def use(match: re.Match[str]) -> str:
        return stub_of(match[1]) if match[1] in modules else match[0]

    stubs = [
        "\n".join(
            [
                module[: module.index(";") + 1].replace(
                    f"module {name}", f"module {stub_of(name)}", 1
                ),
                *PORT.findall(module),
                "endmodule",
            ]
        )
        for name, module in modules.items()
    ]
    # Nothing drives the outputs of a stub.
    return "\n".join(
        [
            *(INSTANCE.sub(use, module) for module in modules.values()),
            "/* verilator lint_off UNDRIVEN */",
            *stubs,
            "",
        ]
    )


def lint_verilog(text: str, top: str) -> str:
    """Return what ``verilator --lint-only -Wall`` says beyond the waivers; empty if clean.

    Each module is linted on its own, those that it instantiates reduced to their ports: every rule
    is one of a module and the ports that it connects, and Verilator takes minutes for an array that
    it flattens.

    Parameters
    ----------
    text : str
        Verilog of a design, as the exporter writes it.
    top : str
        Its top module.
    """
    with scratch() as directory:
        source = directory / f"{top}.v"
        source.write_text(apart(text))
        run = run_tool(
            [
                *("verilator", "--lint-only", "-Wall"),
                *(f"-Wno-{rule}" for rule in ("MULTITOP", *WAIVERS)),
                str(source),
            ],
            env=verilator_environment(),
        )
    if run.returncode or run.stderr.strip():
        return (run.stdout + run.stderr).strip()
    return "" if re.search(rf"^module {top}\b", text, re.MULTILINE) else f"there is no module {top}"
