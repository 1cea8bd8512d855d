"""What commands say: results on stdout, what is being done and what is wrong beside them."""

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from dtqatten.files.notices import LOG, shown_by

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, ProgressColumn
    from rich.table import Table

__all__ = ["loud", "print_json", "progress", "say", "show", "voice"]


@dataclass
class Voice:
    """How a command speaks.

    Attributes
    ----------
    as_json : bool
        Whether stdout is for JSON alone.
    errors : Console or None
        On stderr, for all that moves: bars and spinners share it.
    """

    as_json: bool = False
    errors: "Console | None" = None


_voice = Voice()


class _Stderr(logging.StreamHandler[Any]):
    """Writes to what stderr is when a line is written."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> Any:
        """The current stderr."""
        return sys.stderr


@contextmanager
def voice(*, quiet: bool, verbose: bool, as_json: bool) -> Iterator[None]:
    """Speak as the options say while a command runs."""
    global _voice
    # Read when tqdm is imported: transformers has a switch for its bars, but not for that of GGUF.
    os.environ.setdefault("TQDM_DISABLE", "1")
    before, level = _voice, LOG.level
    _voice = Voice(as_json)
    handler = _Stderr()
    LOG.addHandler(handler)
    LOG.setLevel(logging.DEBUG if verbose else logging.ERROR if quiet else logging.INFO)
    try:
        with shown_by(_waiting):
            yield
    finally:
        LOG.setLevel(level)
        LOG.removeHandler(handler)
        _voice = before


def loud() -> bool:
    """Whether more than errors and results is wanted."""
    return LOG.isEnabledFor(logging.INFO)


def say(text: object) -> None:
    """Say what is done, or where something went; not with ``--quiet``.

    With ``--json`` it goes to stderr.
    """
    if loud():
        typer.echo(text, err=_voice.as_json)


def print_json(content: object) -> None:
    """Print a result as JSON, the only thing on stdout."""
    typer.echo(json.dumps(content, indent=2, default=_plain))


def _plain(value: Any) -> object:
    """Return a value of NumPy, a path or the like as JSON has it."""
    return value.item() if hasattr(value, "item") else str(value)


def show(*results: "Table | str") -> None:
    """Print results for people: lines, and tables as wide as they need to be.

    A table that does not fit a terminal, or ``COLUMNS``, is printed row by row, a line a value:
    nothing is cut. With ``--json`` nothing is printed here.
    """
    if _voice.as_json:
        return
    for result in results:
        if isinstance(result, str):
            typer.echo(result)
        else:
            _print_table(result)


def _print_table(table: "Table") -> None:
    from rich.console import Console
    from rich.measure import Measurement

    console = Console(highlight=False)
    wide = Console(width=10_000)
    need = Measurement.get(wide, wide.options, table)
    if not console.is_terminal and not os.environ.get("COLUMNS", "").isdigit():
        console.width = max(console.width, need.maximum)
    if need.minimum <= console.width:
        console.print(table)
        return
    if table.title:
        typer.echo(table.title)
    heads = [str(column.header) for column in table.columns]
    rows = zip(*(column.cells for column in table.columns), strict=True)
    for row in rows:
        typer.echo()
        for head, cell in zip(heads, row, strict=True):
            typer.echo(f"{head}: {cell}" if head else str(cell))


def _errors() -> "Console":
    """Return the console of all that moves."""
    if _voice.errors is None:
        from rich.console import Console

        _voice.errors = Console(stderr=True)
    return _voice.errors


def progress(*columns: "str | ProgressColumn") -> "Progress":
    """Return bars, on stderr of a terminal; they vanish at the end."""
    from rich.progress import Progress

    console = _errors()
    # Elsewhere than on a terminal, rich would print an empty line for each.
    seen = loud() and console.is_interactive
    return Progress(*columns, console=console, transient=True, disable=not seen)


def _waiting(text: str) -> AbstractContextManager[object]:
    """Show what is waited for: a spinner on a terminal, otherwise a line."""
    if loud() and sys.stderr.isatty():
        return _errors().status(text)
    LOG.info(text)
    return nullcontext()
