"""``dtqatten estimate``: what a model's attention takes on a machine."""

from dataclasses import asdict
from typing import Annotated

import typer

from dtqatten.algorithm.packaged import find_policy
from dtqatten.commands.console import print_json, show
from dtqatten.commands.options import (
    ConfigOption,
    JsonOption,
    PolicyOption,
    SharesOption,
    StartOption,
    shares_of,
    target_of,
)

__all__ = ["estimate"]


def estimate(
    model: Annotated[
        str,
        typer.Argument(help="A name such as bert-base, or a folder with a config.json."),
    ],
    preset: StartOption = None,
    file: ConfigOption = None,
    tokens: Annotated[int, typer.Option(min=1, help="Tokens of the sequence.")] = 384,
    shares: SharesOption = None,
    policy: PolicyOption = None,
    clock_mhz: Annotated[
        float | None,
        typer.Option(
            help="Clock rate; by default the measured one, or what the preset is made for."
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Estimate cycles, time, bytes, area and energy; say what is measured and what modelled.

    Without --preset and --config the machine is that of preset base.
    """
    from rich.table import Table

    from dtqatten.api.estimate import estimate as estimated

    found = estimated(
        model,
        target_of(preset, file),
        tokens=tokens,
        shares=shares_of(shares),
        policy=None if policy is None else find_policy(policy),
        clock_mhz=clock_mhz,
    )
    if as_json:
        print_json({name: asdict(one) for name, one in found.quantities.items()})
    table = Table("quantity", "value", "origin", "how")
    for name, one in found.quantities.items():
        table.add_row(name, one.text, one.origin, one.says)
    show(table)
