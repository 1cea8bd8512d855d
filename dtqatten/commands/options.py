"""Options that several commands share, how numbers are written, and how a command fails."""

import math
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dtqatten.configuration.changes import changed, configured
from dtqatten.configuration.core import PRESETS, Config, Schedule
from dtqatten.configuration.file import ConfigFile, load
from dtqatten.configuration.system import SystemConfig
from dtqatten.files.errors import UsageError
from dtqatten.files.notices import LOG

if TYPE_CHECKING:
    from dtqatten.model.workload import Workload

__all__ = [
    "ColsOption",
    "ConfigOption",
    "DHeadOption",
    "DepthOption",
    "FollowsOption",
    "FollowsQueryOption",
    "JsonOption",
    "Machine",
    "MachinesOption",
    "NMaxOption",
    "PolicyOption",
    "PresetOption",
    "RowsOption",
    "ScheduleOption",
    "SharesOption",
    "StartOption",
    "TokensOption",
    "ValueDepthOption",
    "configure",
    "fail",
    "machine",
    "machines_of",
    "needs",
    "real",
    "refuse",
    "reject_unused",
    "shares_of",
    "target_of",
    "whole",
    "workload",
]

PresetOption = Annotated[str, typer.Option(help=f"One of {', '.join(PRESETS)}.")]
#: The same where a file may give the preset.
StartOption = Annotated[str | None, typer.Option("--preset", help=f"One of {', '.join(PRESETS)}.")]
ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config", help="TOML file of a configuration; other options win. docs/configuration.md"
    ),
]
MachinesOption = Annotated[
    list[Path] | None,
    typer.Option("--config", help="TOML file of one more machine, repeatable."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, and nothing else.")]
PolicyOption = Annotated[
    str | None,
    typer.Option(help="Policy: a file, or the name of one that comes with dtqatten."),
]
RowsOption = Annotated[int | None, typer.Option(help="Rows of PEs, in place of the preset's.")]
ColsOption = Annotated[int | None, typer.Option(help="Columns of PEs.")]
DepthOption = Annotated[
    int | None,
    typer.Option(help="4-bit products per PE and cycle; of both arrays without --value-depth."),
]
ValueDepthOption = Annotated[
    int | None, typer.Option(help="The same in the value array; else it follows --depth.")
]
DHeadOption = Annotated[int | None, typer.Option("--d-head", help="Channels of a head.")]
NMaxOption = Annotated[int | None, typer.Option("--n-max", help="Most tokens of a head.")]
ScheduleOption = Annotated[Schedule | None, typer.Option(help="Order of the nibble planes.")]
TokensOption = Annotated[int, typer.Option(min=1, help="Tokens before pruning.")]
SharesOption = Annotated[
    str | None,
    typer.Option(help="Percentages of tokens in 0, 4 and 8 bits; by default 28,41.4,30.6."),
]
FollowsOption = Annotated[
    bool, typer.Option("--follows", help="A weight of P x V has 4 bits where its token has.")
]
FollowsQueryOption = Annotated[
    bool, typer.Option("--follows-query", help="A weight of P x V has 4 bits where its query has.")
]


def whole(text: str) -> int:
    """Return the integer that decimal digits mean.

    Raises
    ------
    ValueError
        If there is anything else in the text, a point or a space included.
    """
    if not re.fullmatch("[+-]?[0-9]+", text):
        raise ValueError(f"{text!r} is no integer: write decimal digits, such as 16")
    return int(text)


def real(text: str) -> float:
    """Return the number that a decimal fraction means.

    Raises
    ------
    ValueError
        If it is none, or not finite.
    """
    if not re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", text, re.IGNORECASE):
        raise ValueError(f"{text!r} is no number: write digits, such as 0.5 or 1e-3")
    if not math.isfinite(float(text)):
        raise ValueError(f"{text!r} is too large")
    return float(text)


def fail(message: object) -> typer.Exit:
    """Say why what was asked for was done and failed; return the exit to raise, of status 1."""
    typer.echo(f"dtqatten: {message}", err=True)
    return typer.Exit(1)


def refuse(message: object) -> typer.Exit:
    """Say why what was asked for cannot be done; return the exit to raise, of status 2."""
    typer.echo(f"dtqatten: {message}", err=True)
    return typer.Exit(2)


def reject_unused(options: Mapping[str, object], why: str) -> None:
    """Refuse options that would have no effect.

    Parameters
    ----------
    options : mapping
        Values by option; None and False are those not given.
    why : str
        What they are for, or what leaves them without effect.

    Raises
    ------
    UsageError
        If one is given, by name.
    """
    given = [name for name, value in options.items() if value is not None and value is not False]
    if given:
        raise UsageError(f"{', '.join(given)}: {why}; leave it out")


@dataclass(frozen=True)
class Machine:
    """A machine that options describe.

    Attributes
    ----------
    start : str
        Name of the preset or file.
    name : str
        The same with what differs from it: a folder or a result is called so.
    config : Config
    file : ConfigFile or None
        The file of ``--config``.
    """

    start: str
    name: str
    config: Config
    file: ConfigFile | None = None

    def system(self, core: Config | None = None, **changes: Any) -> SystemConfig:
        """Return the machine on its bus.

        Parameters
        ----------
        core : Config, optional
            In place of the machine's own.
        **changes
            Fields of the bus; those that are None are the file's, or the usual ones.
        """
        given = {name: value for name, value in changes.items() if value is not None}
        core = core or self.config
        if self.file is None:
            return SystemConfig(core=core, **given)
        return self.file.system_config(core, **given)


def machine(
    preset: str | None, file: Path | None = None, usual: str = "base", **changes: Any
) -> Machine:
    """Return the machine that options describe; say what follows from them.

    Parameters
    ----------
    preset : str or None
        ``--preset``: what the machine starts from, if given also in place of the file's own.
    file : Path or None
        ``--config``.
    usual : str
        Preset if neither is given.
    **changes
        Fields of the configuration, those of other options; None where not given.

    Raises
    ------
    ConfigError
        If the preset is unknown, or a value is impossible.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    read = None if file is None else load(file)
    if read is None:
        name, start = preset or usual, configured(preset or usual)
    else:
        name = read.name if preset is None else f"{read.name}-{preset}"
        start = read.config(preset)
    config = changed(start, **given)
    if "value_depth" not in given and config.value_depth != start.value_depth:
        LOG.info(
            "value_depth follows depth = %d, in place of %s's %s: --value-depth sets it",
            config.depth,
            name,
            start.value_depth,
        )
    differs = "".join(f"-{key.replace('_', '-')}-{value}" for key, value in given.items())
    return Machine(name, name + differs, config, read)


def machines_of(
    presets: list[str] | None,
    files: list[Path] | None,
    usual: list[str],
    **changes: Any,
) -> list[Machine]:
    """Return the machines of repeatable options.

    Parameters
    ----------
    presets, files : list or None
        ``--preset`` and ``--config``: a machine each.
    usual : list of str
        Presets if neither is given.
    **changes
        As of :func:`machine`.

    Raises
    ------
    UsageError
        If two have the same name, besides what :func:`machine` refuses.
    """
    names = presets if presets or files else usual
    found = [machine(name, **changes) for name in names or ()]
    found += [machine(None, file, **changes) for file in files or ()]
    named = [each.name for each in found]
    if twice := [name for name in dict.fromkeys(named) if named.count(name) > 1]:
        raise UsageError(f"two machines are called {twice[0]}: rename the file, or leave one out")
    return found


def configure(
    preset: str | None, file: Path | None = None, usual: str = "base", **changes: Any
) -> Config:
    """Return the configuration of a :func:`machine`."""
    return machine(preset, file, usual, **changes).config


def target_of(preset: str | None, file: Path | None, usual: str = "base") -> str | SystemConfig:
    """Return what the Python interface takes: a preset's name, which adapts, or a file's machine.

    Parameters
    ----------
    preset, file : str or None, Path or None
        ``--preset`` and ``--config``.
    usual : str
        Preset if neither is given.
    """
    return (preset or usual) if file is None else machine(preset, file).system()


def shares_of(text: str | None) -> tuple[float, float, float]:
    """Return the shares of 0, 4 and 8-bit tokens that percentages mean; the paper's if None.

    Raises
    ------
    UsageError
        If they are no three percentages of sum 100.
    """
    from dtqatten.golden.numerics.select import PAPER_SHARES, counts

    if text is None:
        return PAPER_SHARES
    try:
        zero, four, eight = (real(part) / 100 for part in text.split(","))
        counts(1, (zero, four, eight))
    except ValueError:
        raise UsageError(
            f"--shares is {text!r}: give three percentages of sum 100, such as 28,42,30"
        ) from None
    return zero, four, eight


def workload(
    tokens: int, d_head: int, shares: str | None, *, follows: bool, follows_query: bool
) -> "Workload":
    """Return the workload that options describe.

    Raises
    ------
    UsageError
        If the shares are no three percentages of sum 100.
    """
    from dtqatten.model.workload import Workload

    return Workload(
        tokens=tokens,
        d_head=d_head,
        shares=shares_of(shares),
        follows=follows,
        follows_query=follows_query,
    )


@contextmanager
def needs(*extras: str) -> Iterator[None]:
    """Turn a missing optional package into a message that names the extras it comes with.

    Parameters
    ----------
    *extras : str
        All that the command needs.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "dtqatten").partition(".")[0] == "dtqatten":
            raise
        wanted = ",".join(extras)
        raise refuse(
            f"{error.name} is not installed: pip install 'dtqatten[{wanted}]' "
            f"(from a checkout: pip install -e '.[{wanted}]')"
        ) from None
