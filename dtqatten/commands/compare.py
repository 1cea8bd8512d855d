"""``dtqatten compare``: the core beside published machines, on one workload."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dtqatten.commands.console import print_json, progress, say, show
from dtqatten.commands.options import (
    FollowsOption,
    FollowsQueryOption,
    JsonOption,
    MachinesOption,
    PolicyOption,
    SharesOption,
    TokensOption,
    machines_of,
    workload,
)
from dtqatten.commands.paths import output_file
from dtqatten.configuration.core import PRESETS, Config
from dtqatten.files.whole import write_text

if TYPE_CHECKING:
    from rich.table import Table

    from dtqatten.model.compare import Entry, Speedup
    from dtqatten.model.workload import Workload

__all__ = ["compare"]


def compare(
    preset: Annotated[
        list[str] | None, typer.Option(help=f"Of {', '.join(PRESETS)}, repeatable.")
    ] = None,
    files: MachinesOption = None,
    tokens: TokensOption = 384,
    d_head: Annotated[int, typer.Option("--d-head", help="Channels of a head.")] = 64,
    shares: SharesOption = None,
    follows: FollowsOption = False,
    follows_query: FollowsQueryOption = False,
    policy: PolicyOption = None,
    synth: Annotated[
        Path, typer.Option(help="Folder of the results of `dtqatten synth`, for areas.")
    ] = Path("build/synth"),
    output: Annotated[Path, output_file("JSON to write.")] = Path("build/compare.json"),
    as_json: JsonOption = False,
) -> None:
    """Print cycles, throughput and area of the core and of published machines on one workload.

    The last speedup is that of --policy, by default of the fastest policy searched.
    """
    of = workload(tokens, d_head, shares, follows=follows, follows_query=follows_query)
    machines = {each.name: each.config for each in machines_of(preset, files, ["base", "paper"])}
    from dtqatten.algorithm.packaged import find_policy
    from dtqatten.model import compare as model

    areas = {
        name: area
        for name in machines
        if (area := model.core_area(synth / f"asic-{name}-core.json")) is not None
    }
    chosen = policy or model.SEARCHED
    searched = find_policy(chosen)
    with progress() as bar:
        bar.add_task("cycle model", total=None)
        # First, for a policy may be refused, and the rest takes long.
        scaled, by_policy = model.scaled_speedup(searched, of)
        rows = model.entries(machines, of, areas)
        found = {
            **{
                f"these shares, {name}": (shape, model.speedups(shape, [weights]))
                for name, shape, weights in model.weight_precisions(of)
            },
            f"policy {chosen}": (scaled, by_policy),
        }
    content = content_of(of, rows, found)
    write_text(output, json.dumps(content, indent=2) + "\n")
    if as_json:
        print_json(content)
    show(
        machines_table(rows, of),
        "operations are those of the original model, two a multiply-accumulate",
        *(
            f"{scaled.multipliers} 4-bit multipliers against 224 of 16 bits, always busy, "
            f"{name}: {speedup.measured:.2f} x, at best {speedup.bound:.2f} x"
            for name, (scaled, speedup) in found.items()
        ),
    )
    say(output)


def machines_table(rows: "list[Entry]", of: "Workload") -> "Table":
    """Return a table of machines; the first is what others are compared with."""
    from rich.table import Table

    first = rows[0]
    table = Table(
        title=f"a head of {of.tokens} tokens, {of.d_head} channels, 0/4/8 bits "
        + "/".join(f"{100 * share:.1f}" for share in of.shares)
        + " %, at 1 GHz",
        title_justify="left",
    )
    for head in (
        "machine", "cycles are", "multipliers", "cycles", "GOP/s", "published", "mm2",
        "GOP/s/mm2", f"{first.name} is faster",
    ):  # fmt: skip
        table.add_column(head, justify="left" if head in ("machine", "cycles are") else "right")
    for row in rows:
        table.add_row(
            row.name,
            "measured" if row.measured else "modelled",
            "-" if row.multipliers is None else f"{row.multipliers} x {row.bits or '?'} bit",
            f"{row.cycles:.0f}",
            f"{row.gops:.0f}",
            *("-" if x is None else f"{x:g}" for x in (row.published_gops,)),
            *("-" if x is None else f"{x:.3g}" for x in (row.mm2, row.gops_per_mm2)),
            f"{row.cycles / first.cycles:.2f} x",
        )
    return table


def content_of(
    of: "Workload", rows: "list[Entry]", found: "dict[str, tuple[Config, Speedup]]"
) -> dict[str, Any]:
    """Return what is written of a comparison."""
    return {
        "workload": dataclasses.asdict(of),
        "machines": [{**dataclasses.asdict(row), "gops_per_mm2": row.gops_per_mm2} for row in rows],
        "speedups": {
            name: {"scaled": str(scaled), **dataclasses.asdict(speedup)}
            for name, (scaled, speedup) in found.items()
        },
    }
