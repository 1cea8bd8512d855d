"""A core file for FuseSoC, which brings the Verilog into others' builds and runs tools on it."""

import json
from collections.abc import Iterator, Sequence

from dtqatten import __version__
from dtqatten.integration.ipxact import VENDOR
from dtqatten.sim.engines.waivers import WAIVERS

__all__ = ["fusesoc"]


def fusesoc(
    top: str,
    description: str,
    files: Sequence[str],
    constraints: Sequence[str],
    testbench: Sequence[str] = (),
) -> str:
    """Return the core file (CAPI2) of a module.

    Targets: ``default``, the Verilog for other cores; ``lint``, by Verilator; ``synth``, the
    Verilog and its constraints as a top, by the tool that the user names; and with a testbench
    ``sim``, by Icarus or another simulator.

    Parameters
    ----------
    top : str
        The module.
    description : str
    files, constraints : sequence of str
        Names of the files beside the core file.
    testbench : sequence of str
        Likewise: the testbench, then its data; may be empty.
    """
    waived = [f"-Wno-{rule}" for rule in WAIVERS]
    lines = [
        "CAPI=2:",
        "# SPDX-License-Identifier: Apache-2.0",
        f"name: {VENDOR}:{VENDOR}:{top}:{__version__}",
        f"description: {json.dumps(description)}",
        "filesets:",
        *_fileset("rtl", "verilogSource-2005", files),
        *_fileset("constraints", None, constraints),
        *(_fileset("tb", "verilogSource-2005", testbench) if testbench else ()),
        "targets:",
        "  default: &default",
        "    description: The Verilog, for other cores",
        "    filesets: [rtl]",
        f"    toplevel: {top}",
        "  lint:",
        "    <<: *default",
        "    description: Verilator's lint; docs/integration.md says what is waived, and why",
        "    flow: lint",
        "    flow_options:",
        "      tool: verilator",
        f"      verilator_options: {json.dumps(['-Wall', *waived])}",
        "  synth:",
        "    <<: *default",
        "    description: The Verilog as a top, with its constraints",
        "    filesets: [rtl, constraints]",
        *(_simulation(top, waived) if testbench else ()),
    ]
    return "\n".join(lines) + "\n"


#: Types of files by their suffix, where it is not that of the file set.
TYPES = {"sdc": "SDC", "xdc": "xdc", "lpf": "LPF", "hex": "user"}


#: What Verilator needs for the testbench's delays: coroutines of C++.
TIMING = ("--timing", "-CFLAGS", "-std=c++20", "-Wno-fatal")


def _fileset(name: str, kind: str | None, files: Sequence[str]) -> Iterator[str]:
    yield f"  {name}:"
    yield "    files:"
    for file in files:
        own = TYPES.get(file.rpartition(".")[2])
        copied = ", copyto: ." if own == "user" else ""
        yield f"      - {file}" + (f": {{file_type: {own}{copied}}}" if own else "")
    if kind is not None:
        yield f"    file_type: {kind}"


def _simulation(top: str, waived: Sequence[str]) -> Iterator[str]:
    yield from (
        "  sim:",
        "    description: The testbench on Icarus, or with --tool on another simulator",
        "    flow: sim",
        "    flow_options:",
        "      tool: icarus",
        "      mode: binary",
        f"      verilator_options: {json.dumps([*TIMING, *waived])}",
        "    filesets: [rtl, tb]",
        f"    toplevel: {top}_tb",
    )
