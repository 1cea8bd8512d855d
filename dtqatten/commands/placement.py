"""Options of ``dtqatten synth --place``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dtqatten.commands.options import refuse, reject_unused
from dtqatten.commands.targets import option_names

if TYPE_CHECKING:
    from dtqatten.synth.flow import Placement

__all__ = [
    "AspectOption",
    "ClockWireOption",
    "DensityOption",
    "EffortOption",
    "HaloOption",
    "LefOption",
    "PlaceOption",
    "RoundsOption",
    "SignalWireOption",
    "check_placement",
    "placement_of",
]

LEF_VARIABLE = "DTQATTEN_LEF"

PANEL = "Placement, --target asic --place"

PlaceOption = Annotated[
    bool,
    typer.Option(
        "--place",
        help="Place the cells: timing with wires and a clock tree, area of the die, a picture.",
        rich_help_panel=PANEL,
    ),
]
LefOption = Annotated[
    list[Path] | None,
    typer.Option(
        envvar=LEF_VARIABLE,
        help="LEF file of cells or macros, plain or .gz, or a folder of them; repeatable.",
        rich_help_panel=PANEL,
    ),
]
DensityOption = Annotated[
    float | None,
    typer.Option(help="Of cells in rows, before repair, 0.3 to 0.95; 0.75.", rich_help_panel=PANEL),
]
AspectOption = Annotated[
    float | None,
    typer.Option(help="Height of the die over its width, 0.2 to 5; 1.", rich_help_panel=PANEL),
]
HaloOption = Annotated[
    float | None,
    typer.Option(help="Around each macro, in um, 0 to 100; 2.8.", rich_help_panel=PANEL),
]
RoundsOption = Annotated[
    int | None,
    typer.Option(
        help="Of repair at most, until the clock is met, 0 to 100; 6.", rich_help_panel=PANEL
    ),
]
EffortOption = Annotated[
    int | None, typer.Option(help="Of the placer, 1 to 9; 3.", rich_help_panel=PANEL)
]
SignalWireOption = Annotated[
    tuple[float, float] | None,
    typer.Option(
        help="Ohm and fF a um of signals; 3.571 0.104, metal3 at 45 nm.",
        metavar="OHM FF",
        rich_help_panel=PANEL,
    ),
]
ClockWireOption = Annotated[
    tuple[float, float] | None,
    typer.Option(
        help="Ohm and fF a um of the clock; 1.5 0.1093, metal5 at 45 nm.",
        metavar="OHM FF",
        rich_help_panel=PANEL,
    ),
]


def check_placement(
    asked: bool, lef: list[Path] | None, targets: set[str], options: dict[str, Any]
) -> None:
    """Refuse options of a placement that is not asked for, and a placement that cannot be.

    Parameters
    ----------
    asked : bool
        ``--place``.
    lef : list of Path or None
    targets : set of str
        ``--target``.
    options : dict
        All that is given for a placement, by parameter; None where not given.
    """
    if not asked:
        reject_unused(option_names(options), "for --place only")
        return
    if targets != {"asic"}:
        raise refuse("--place is for cells: give --target asic, and no other target")
    if not lef:
        raise refuse(
            "--place needs the geometry of the cells: give --lef FILE_OR_FOLDER, or "
            f"set {LEF_VARIABLE}"
        )


def placement_of(lef: list[Path], options: dict[str, Any]) -> "Placement":
    """Return a placement with the options that were given."""
    from dtqatten.synth.flow import Placement
    from dtqatten.synth.place.options import PlaceOptions
    from dtqatten.synth.place.wires import Wire

    given = {name: value for name, value in options.items() if value is not None}
    for name in ("signal", "clock"):
        if (wire := given.pop(f"{name}_wire", None)) is not None:
            given[name] = Wire(*wire)
    return Placement(tuple(lef), PlaceOptions(**given))
