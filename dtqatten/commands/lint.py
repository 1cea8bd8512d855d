"""``dtqatten lint``: Verilator's lint and Yosys's check on the Verilog of every preset."""

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
    for name, config in PRESETS.items():
        # The whole machine, core included.
        text = verilog(System(SystemConfig(core=config)), "system")
        top = f"{PREFIX}system"
        found = lint_verilog(text, top) or check_verilog(text, top)
        if found:
            raise fail(f"preset {name}:\n{found}")
        typer.echo(f"{name}: clean")
