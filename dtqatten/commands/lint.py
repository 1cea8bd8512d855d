"""``dtqatten lint``: Verilator's lint on the Verilog of every preset."""

import typer

from dtqatten.commands.options import fail, needs
from dtqatten.config import PRESETS

__all__ = ["lint"]


def lint() -> None:
    """Lint the Verilog of every preset; print what is waived, and why."""
    with needs("sim"):
        from dtqatten.sim.lint import WAIVERS, lint_verilog
    from dtqatten.hw.core import AttentionCore
    from dtqatten.hw.export import verilog

    for rule, reason in WAIVERS.items():
        typer.echo(f"waived {rule}: {reason}")
    for name, config in PRESETS.items():
        found = lint_verilog(verilog(AttentionCore(config), "core"), "dtqatten_core")
        if found:
            raise fail(f"preset {name}:\n{found}")
        typer.echo(f"{name}: clean")
