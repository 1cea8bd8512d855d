"""What designs are mapped to, and options that are for some targets only."""

import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from dtqatten.commands.options import refuse, reject_unused
from dtqatten.files.notices import LOG

__all__ = ["Target", "option_names", "targets_of", "typed"]


class Target(enum.StrEnum):
    """What a design is mapped to."""

    ASIC = "asic"
    ECP5 = "ecp5"
    ICE40 = "ice40"


def typed(context: typer.Context, *names: str) -> dict[str, Any]:
    """Return parameters that are on the command line, not from variables or defaults.

    Parameters
    ----------
    context : Context
    *names : str
        Of the command's parameters.
    """
    sources = {name: context.get_parameter_source(name) for name in names}
    return {
        name: context.params[name]
        for name, source in sources.items()
        if source is not None and source.name == "COMMANDLINE"
    }


def option_names(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters by the names of their options."""
    return {f"--{name.replace('_', '-')}": value for name, value in parameters.items()}


def targets_of(
    target: list[Target] | None,
    liberty: list[Path] | None,
    *,
    asic: Mapping[str, object],
    fpga: Mapping[str, object],
) -> list[Target]:
    """Return the targets that can be mapped to; refuse options of others.

    Parameters
    ----------
    target : list of Target, optional
        Those that are asked for.
    liberty : list of Path, optional
        Cell library, without which there are FPGAs only.
    asic, fpga : mapping
        Options that are for standard cells, or for FPGAs, only.
    """
    targets = target or list(Target)
    if set(targets) == {Target.ASIC}:
        reject_unused(fpga, "for FPGAs only")
    if Target.ASIC in targets and not liberty:
        if target:
            raise refuse("--target asic needs a cell library: give --liberty FILE")
        LOG.warning("no --liberty FILE (or DTQATTEN_LIBERTY), so FPGAs only")
        targets = [each for each in targets if each is not Target.ASIC]
    if Target.ASIC not in targets:
        reject_unused(asic, "for --target asic only")
    return targets
