"""Options that several commands share, and how a command fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from dtqatten.config import PRESETS, Config, ConfigError, Schedule

__all__ = [
    "ColsOption",
    "DHeadOption",
    "DepthOption",
    "NMaxOption",
    "PresetOption",
    "RowsOption",
    "ScheduleOption",
    "configure",
    "fail",
    "needs",
]

PresetOption = Annotated[str, typer.Option(help=f"One of {', '.join(PRESETS)}.")]
RowsOption = Annotated[int | None, typer.Option(help="Rows of PEs, in place of the preset's.")]
ColsOption = Annotated[int | None, typer.Option(help="Columns of PEs.")]
DepthOption = Annotated[int | None, typer.Option(help="4-bit products per PE and cycle.")]
DHeadOption = Annotated[int | None, typer.Option("--d-head", help="Channels of a head.")]
NMaxOption = Annotated[int | None, typer.Option("--n-max", help="Most tokens of a head.")]
ScheduleOption = Annotated[Schedule | None, typer.Option(help="Order of the nibble planes.")]


def fail(message: object) -> typer.Exit:
    """Print what is wrong and return the exit to raise."""
    typer.echo(f"dtqatten: {message}", err=True)
    return typer.Exit(1)


def configure(preset: str, **changes: object) -> Config:
    """Return a preset with the changes that are not None.

    Raises
    ------
    typer.Exit
        If the preset is unknown or a value is impossible; the reason is printed.
    """
    if preset not in PRESETS:
        raise fail(f"no preset {preset!r}: choose one of {', '.join(PRESETS)}")
    try:
        return PRESETS[preset].replace(**{k: v for k, v in changes.items() if v is not None})
    except ConfigError as error:
        raise fail(error) from None


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Turn a missing optional package into a message that names the extra it comes with."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise fail(
            f"{error.name} is not installed: pip install 'dtqatten[{extra}]' "
            f"(from a checkout: pip install -e '.[{extra}]')"
        ) from None
