"""``dtqatten lint``: Verilator's lint and Yosys's check on the Verilog of every preset."""

import os
from concurrent.futures import ThreadPoolExecutor

import typer

from dtqatten.commands.options import fail, needs
from dtqatten.configuration.core import PRESETS
from dtqatten.configuration.system import SystemConfig

__all__ = ["lint"]


def lint() -> None:
    """Lint the Verilog of every preset; print what is waived, and why."""
    with needs("mutation"):
        from dtqatten.sim.engines.lint import WAIVERS, lint_verilog
        from dtqatten.sim.proofs.yosys import check_verilog
    from dtqatten.hw.base.export import PREFIX, verilog
    from dtqatten.hw.system import System

    for rule, reason in WAIVERS.items():
        typer.echo(f"waived {rule}: {reason}")
    top = f"{PREFIX}system"

    def faults(text: str) -> str:
        return lint_verilog(text, top) or check_verilog(text, top)

    # The tools take minutes, each a processor.
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        # The whole machine, core included; the largest first, for it takes longest.
        found = {
            name: pool.submit(faults, verilog(System(SystemConfig(core=config)), "system"))
            for name, config in reversed(PRESETS.items())
        }
        for name in PRESETS:
            if text := found[name].result():
                raise fail(f"preset {name}:\n{text}")
            typer.echo(f"{name}: clean")
