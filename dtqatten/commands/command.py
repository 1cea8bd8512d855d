"""What every command does alike: options that all have, numbers, errors, Ctrl-C."""

import errno
import functools
import inspect
import itertools
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, get_args

import typer
from typer.core import TyperArgument, TyperCommand, TyperOption

from dtqatten.commands.console import voice
from dtqatten.commands.options import fail, real, refuse, whole
from dtqatten.files.errors import ToolError, UsageError
from dtqatten.files.notices import LOG

__all__ = ["Command", "add"]

QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Errors and results only.")]
VerboseOption = Annotated[
    bool, typer.Option("--verbose", "-v", help="Tools' command lines, and tracebacks of errors.")
]

READERS: dict[Any, Callable[[str], object]] = {int: whole, float: real}

#: What the system says of a path that cannot be used as asked.
UNUSABLE = (
    FileNotFoundError,
    FileExistsError,
    IsADirectoryError,
    NotADirectoryError,
    PermissionError,
)

#: What it says of disks and names.
UNWRITABLE = (errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENAMETOOLONG, errno.ELOOP)

#: Exit status after Ctrl-C, as shells have it.
INTERRUPTED = 130


class Command(TyperCommand):
    """A command that takes numbers only as they are usually written."""

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


def add(app: typer.Typer, function: Callable[..., None], name: str | None = None) -> None:
    """Add a command that speaks as ``--quiet``, ``--verbose`` and ``--json`` say.

    Exit status 0 is good; 1: what was asked for was done and failed; 2: it cannot be done as asked,
    for an option, a field of a configuration or a file is wrong, or a package is missing; 130: it
    was interrupted. A fault of the program shows its traceback.

    Parameters
    ----------
    app : typer.Typer
    function : callable
        The command; ``as_json`` is what its option ``--json`` is called, if it has one.
    name : str, optional
        Its name, that of the function if None.
    """

    @functools.wraps(function)
    def command(*, quiet: bool, verbose: bool, **given: Any) -> None:
        if quiet and verbose:
            raise refuse("--quiet and --verbose exclude each other: leave one out")
        as_json = bool(given.get("as_json"))
        with voice(quiet=quiet, verbose=verbose, as_json=as_json), errors_as_messages():
            function(**given)

    signature = inspect.signature(function)
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in (("quiet", QuietOption), ("verbose", VerboseOption))
    ]
    parameters = [*signature.parameters.values(), *shared]
    command.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    command.__annotations__ = {
        **function.__annotations__,
        "quiet": QuietOption,
        "verbose": VerboseOption,
    }
    app.command(name, cls=Command)(command)


@contextmanager
def errors_as_messages() -> Iterator[None]:
    """Turn what is no fault of the program into a message and an exit status."""
    try:
        yield
    except KeyboardInterrupt:
        _let_go()
        typer.echo("interrupted", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except UsageError as error:
        _let_go()
        raise refuse(error) from None
    except ToolError as error:
        _let_go()
        raise fail(error) from None
    except OSError as error:
        if not isinstance(error, UNUSABLE) and error.errno not in UNWRITABLE:
            raise
        _let_go()
        raise refuse(_of_path(error)) from None


def _of_path(error: OSError) -> str:
    """Return what the system says of a path, the path first."""
    if error.filename is None or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror.lower()}"


def _let_go() -> None:
    """Show the traceback if that is wanted, and let no unfinished design complain."""
    LOG.debug("%s", traceback.format_exc())
    if "amaranth.hdl" in sys.modules:
        from amaranth.hdl import UnusedElaboratable

        warnings.simplefilter("ignore", UnusedElaboratable)
