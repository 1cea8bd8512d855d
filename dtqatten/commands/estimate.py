"""``dtqatten estimate``: what a model's attention takes on a machine."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from dtqatten.commands.options import PresetOption, SharesOption, policy_of, shares_of

__all__ = ["estimate"]


def estimate(
    model: Annotated[
        str,
        typer.Argument(help="A name such as bert-base, or a folder with a config.json."),
    ],
    preset: PresetOption = "base",
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of the sequence.")] = 384,
    shares: SharesOption = None,
    policy: Annotated[
        str | None,
        typer.Option(help="A policy's file, or the name of one that comes with the package."),
    ] = None,
    clock_mhz: Annotated[
        float | None, typer.Option(help="Clock rate; by default the measured one.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The table as JSON.")] = False,
) -> None:
    """Estimate cycles, time, bytes, area and energy; say what is measured and what modelled."""
    from rich.console import Console
    from rich.table import Table

    from dtqatten.api.estimate import estimate as estimated

    found = estimated(
        model,
        preset,
        tokens=tokens,
        shares=shares_of(shares),
        policy=None if policy is None else policy_of(policy),
        clock_mhz=clock_mhz,
    )
    if as_json:
        typer.echo(json.dumps({n: asdict(one) for n, one in found.quantities.items()}, indent=2))
        return
    table = Table("quantity", "value", "origin", "how")
    for name, one in found.quantities.items():
        value = "-" if one.value is None else f"{one.value:.4g} {one.unit}"
        table.add_row(name, value, one.origin, one.says)
    Console().print(table)
