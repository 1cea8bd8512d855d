"""Options that several commands share, and how a command fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from dtqatten.config import PRESETS, Config, ConfigError, Schedule

if TYPE_CHECKING:
    from dtqatten.model.workload import Workload

__all__ = [
    "ColsOption",
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
    "configure",
    "fail",
    "needs",
    "workload",
]

PresetOption = Annotated[str, typer.Option(help=f"One of {', '.join(PRESETS)}.")]
RowsOption = Annotated[int | None, typer.Option(help="Rows of PEs, in place of the preset's.")]
ColsOption = Annotated[int | None, typer.Option(help="Columns of PEs.")]
DepthOption = Annotated[int | None, typer.Option(help="4-bit products per PE and cycle.")]
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


def workload(
    tokens: int, d_head: int, shares: str | None, *, follows: bool, follows_query: bool
) -> "Workload":
    """Return the workload that options describe.

    Raises
    ------
    typer.Exit
        If the shares are no three percentages of sum 100; the reason is printed.
    """
    with needs("sim"):
        from dtqatten.golden.select import PAPER_SHARES, counts
        from dtqatten.model.workload import Workload
    given = PAPER_SHARES
    try:
        if shares is not None:
            zero, four, eight = (float(part) / 100 for part in shares.split(","))
            given = (zero, four, eight)
        counts(tokens, given)
    except ValueError:
        raise fail(
            f"--shares is {shares!r}: give three percentages of sum 100, such as 28,42,30"
        ) from None
    return Workload(
        tokens=tokens,
        d_head=d_head,
        shares=given,
        follows=follows,
        follows_query=follows_query,
    )


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
