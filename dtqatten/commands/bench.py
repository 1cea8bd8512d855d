"""``dtqatten bench``: elaboration time, simulation speed and utilization of array and core."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dtqatten.commands.options import needs
from dtqatten.commands.verilog import write_atomically

__all__ = ["bench"]


def bench(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder for the JSON.", file_okay=False)
    ] = Path("build/bench"),
) -> None:
    """Measure array, core, top-k and system; write a JSON file each, and a timeline."""
    with needs("dev"):
        from rich.console import Console
        from rich.progress import Progress
        from rich.table import Table

        from dtqatten.config import PRESETS
        from dtqatten.model.workload import Workload
        from dtqatten.sim.bench import measure, versions
        from dtqatten.sim.core import CoreLockstep
        from dtqatten.sim.core_bench import HEADS, measure_core, simulate_layer
        from dtqatten.sim.plots import save, timeline_figure
        from dtqatten.sim.system_bench import measure_system
        from dtqatten.sim.topk_bench import measure_topk
    with Progress(transient=True) as bar:
        task = bar.add_task("measuring", total=None)
        result = measure(lambda what: bar.update(task, description=what))
        bar.update(task, description="compiling the core")
        workload, fetched = (Workload(full_tiles=True, alternate=turns) for turns in (True, False))

        def run(layer: Workload) -> CoreLockstep:
            return simulate_layer(
                PRESETS["base"],
                layer,
                HEADS,
                lambda cycles: bar.update(task, description=f"a layer of the core, cycle {cycles}"),
            )

        ran = run(workload)
        core = measure_core(ran) | {"as_fetched": measure_core(run(fetched))}
        system = measure_system(
            PRESETS["base"],
            fetched,
            HEADS,
            core["as_fetched"]["cycles"],
            lambda what: bar.update(task, description=f"the machine on a bus: {what}"),
        )
        bar.update(task, description="top-k")
        core |= asdict(workload) | {"topk": measure_topk(), "versions": versions()}
        system |= asdict(fetched) | {"versions": versions()}
    console = Console()
    for name, unit in (
        ("elaborate_s", "seconds to elaborate and write Verilog, ROWSxCOLSxDEPTH"),
        ("sim_cycles_per_s", "simulated cycles per second, tiny preset"),
        ("utilization", "useful nibble products over PE slots, by order of the tokens"),
        ("cycles", "cycles of the head, first operand in the array to last score out"),
    ):
        table = Table(name, unit)
        for key, value in result[name].items():
            shown = f"{value:.4f}" if isinstance(value, float) else str(value)
            table.add_row(key, shown)
        console.print(table)
    table = Table("unit", "share of cycles busy, a layer of the core, preset base")
    for unit, share in core["busy_fraction"].items():
        table.add_row(unit, f"{share:.4f}")
    console.print(table)
    typer.echo(
        f"{core['cycles']} cycles a layer, {core['as_fetched']['cycles']} in the order of the "
        f"fetcher; module B adds {core['module_b_overhead']:.2%}; versions in the files"
    )
    for name, unit in (
        ("dma_overhead", "cycles over the core fed for free, by bus width and latency"),
        ("bytes_ratio", "bytes read over the ideal"),
    ):
        table = Table("bits", *map(str, next(iter(system[name].values()))), title=unit)
        for bits, row in system[name].items():
            table.add_row(bits, *(f"{value:.4f}" for value in row.values()))
        console.print(table)
    for name, measured in (("array", result), ("core", core), ("system", system)):
        path = output / f"{name}.json"
        write_atomically(path, json.dumps(measured, indent=2) + "\n")
        typer.echo(f"{path}")
    picture = output / "timeline.png"
    save(timeline_figure(ran.activity, f"preset base, {core['kept']} tokens"), picture)
    typer.echo(f"{picture}: which units work when, by the RTL's own ports")
