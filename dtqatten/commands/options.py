"""Options that several commands share, how numbers are written, and how a command fails."""

import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from typer.core import TyperArgument, TyperCommand, TyperOption

from dtqatten.configuration.core import PRESETS, Config, Schedule, configured
from dtqatten.synth.tools import SynthError

if TYPE_CHECKING:
    from dtqatten.algorithm.policy import Policy
    from dtqatten.model.workload import Workload

__all__ = [
    "ColsOption",
    "Command",
    "DHeadOption",
    "DepthOption",
    "FollowsOption",
    "FollowsQueryOption",
    "NMaxOption",
    "PresetOption",
    "RowsOption",
    "ScheduleOption",
    "SharesOption",
    "TokensOption",
    "ValueDepthOption",
    "configure",
    "fail",
    "needs",
    "policy_of",
    "real",
    "refuse",
    "reject_unused",
    "shares_of",
    "whole",
    "workload",
]

PresetOption = Annotated[str, typer.Option(help=f"One of {', '.join(PRESETS)}.")]
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


class Command(TyperCommand):
    """A command: takes numbers only as they are usually written, and turns errors into messages.

    Exit status 0 is good; 1: what was asked for was done and failed; 2: it cannot be done as asked,
    for an option, a field of a configuration or a file is wrong, or a package is missing.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Check how numbers are written, then parse."""
        texts, _, _ = self.make_parser(ctx).parse_args(list(args))
        for param in self.params:
            given = texts.get(param.name)
            if given is None or not isinstance(param, TyperArgument | TyperOption):
                continue
            kind = param.type_descriptor.annotation
            parts = given if isinstance(given, list | tuple) else [given]
            # The kinds of a tuple are those of its parts; all parts of a list are alike.
            kinds = itertools.cycle(get_args(kind) or (kind,))
            for text, each in zip(parts, kinds, strict=False):
                if each in READERS:
                    try:
                        READERS[each](text)
                    except ValueError as error:
                        raise typer.BadParameter(str(error), ctx=ctx, param=param) from None
        return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except (ValueError, *UNUSABLE) as error:
            raise refuse(error) from None
        except SynthError as error:
            raise fail(error) from None


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


READERS: dict[Any, Callable[[str], object]] = {int: whole, float: real}

#: What the system says of a path that cannot be used as asked.
UNUSABLE = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)


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
    ValueError
        If one is given, by name.
    """
    given = [name for name, value in options.items() if value is not None and value is not False]
    if given:
        raise ValueError(f"{', '.join(given)}: {why}; leave it out")


def configure(preset: str, **changes: object) -> Config:
    """Return a preset with the changes that are not None; say what follows from them.

    Raises
    ------
    ConfigError
        If the preset is unknown or a value is impossible.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    config = configured(preset, **given)
    if "value_depth" not in given and config.value_depth != PRESETS[preset].value_depth:
        typer.echo(
            f"value_depth follows depth = {config.depth}, in place of {preset}'s "
            f"{PRESETS[preset].value_depth}: --value-depth sets it",
            err=True,
        )
    return config


def shares_of(text: str | None) -> tuple[float, float, float]:
    """Return the shares of 0, 4 and 8-bit tokens that percentages mean; the paper's if None.

    Raises
    ------
    ValueError
        If they are no three percentages of sum 100.
    """
    from dtqatten.golden.numerics.select import PAPER_SHARES, counts

    if text is None:
        return PAPER_SHARES
    try:
        zero, four, eight = (real(part) / 100 for part in text.split(","))
        counts(1, (zero, four, eight))
    except ValueError:
        raise ValueError(
            f"--shares is {text!r}: give three percentages of sum 100, such as 28,42,30"
        ) from None
    return zero, four, eight


def policy_of(name: str) -> "Policy":
    """Return the policy of a file, or one that comes with the package.

    Raises
    ------
    ValueError
        If there is neither.
    """
    from dtqatten.algorithm.policy import Policy
    from dtqatten.model.compare import packaged_policy

    return Policy.load(name) if Path(name).exists() else packaged_policy(name)


def workload(
    tokens: int, d_head: int, shares: str | None, *, follows: bool, follows_query: bool
) -> "Workload":
    """Return the workload that options describe.

    Raises
    ------
    ValueError
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
def needs(extra: str) -> Iterator[None]:
    """Turn a missing optional package into a message that names the extra it comes with."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise refuse(
            f"{error.name} is not installed: pip install 'dtqatten[{extra}]' "
            f"(from a checkout: pip install -e '.[{extra}]')"
        ) from None
