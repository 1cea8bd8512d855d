"""Options for what commands write: paths are checked before anything is computed."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from dtqatten.files.errors import UsageError
from dtqatten.files.pictures import check_kind

__all__ = ["check_file", "check_folder", "output_file", "output_folder"]


def check_file(path: Path) -> None:
    """Refuse a path at which no file can be written.

    Raises
    ------
    UsageError
        If it is a directory or may not be changed, or a folder above it is none, or closed.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a directory: give a file")
    if path.exists():
        if not os.access(path, os.W_OK):
            raise UsageError(f"{path} may not be written: choose another file")
        if not path.is_file():
            return  # a device or pipe is written to itself
    _check_above(path, path.parent)


def check_folder(path: Path) -> None:
    """Refuse a path at which there is no folder to write to and none can be made.

    Raises
    ------
    UsageError
        If a part of the path is a file, or the folder, or that which it would be made in, is
        closed.
    """
    if path.exists() and not path.is_dir():
        raise UsageError(f"{path} is a file: give a folder")
    _check_above(path, path)


def _check_above(path: Path, folder: Path) -> None:
    """Refuse a path if nothing can be made in a folder, which need not be there yet.

    Parameters
    ----------
    path : Path
        For the message.
    folder : Path
    """
    there = folder.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise UsageError(f"{path} is below {there}, which is a file: choose another path")
    try:
        # Asking for rights is not enough: the file system may be read-only, or no real one.
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise UsageError(
            f"{path} cannot be made, for {there} takes no files ({error.strerror}): choose another "
            "path"
        ) from None


def output_file(help: str, *names: str, picture: bool = False) -> Any:
    """Return an option for a file to write.

    Parameters
    ----------
    help : str
    *names : str
        Of the option; ``--output`` and ``-o`` if none are given.
    picture : bool
        Whether the suffix must be that of a picture.
    """

    def check(path: Path) -> None:
        if picture:
            check_kind(path)
        check_file(path)

    return _option(help, names, check, "<file>")


def output_folder(help: str, *names: str, holds: tuple[str, ...] = ()) -> Any:
    """Return an option for a folder to write to.

    Parameters
    ----------
    help : str
    *names : str
        Of the option; ``--output`` and ``-o`` if none are given.
    holds : tuple of str
        Files that will be written to it.
    """

    def check(path: Path) -> None:
        check_folder(path)
        for name in holds:
            check_file(path / name)

    return _option(help, names, check, "<dir>")


def _option(help: str, names: tuple[str, ...], check: Callable[[Path], None], metavar: str) -> Any:
    """Return an option whose path is checked when the command line is read.

    Parameters
    ----------
    help : str
    names : tuple of str
        Of the option; ``--output`` and ``-o`` if empty.
    check : callable
        Refuses a path by a ``UsageError``.
    metavar : str
        What help shows in the path's place.
    """

    def checked(context: typer.Context, path: Path | None) -> Path | None:
        if path is not None and not context.resilient_parsing:
            try:
                check(path)
            except UsageError as error:
                raise typer.BadParameter(str(error)) from None
        return path

    return typer.Option(
        *(names or ("--output", "-o")), help=help, callback=checked, metavar=metavar
    )
