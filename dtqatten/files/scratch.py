"""Folders that tools can work in: make, and the shells behind simulators, split paths at spaces."""

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["is_plain", "scratch", "tool_environment"]

#: Where temporary files go if ``TMPDIR`` cannot be used.
FALLBACKS = ("/tmp", "/var/tmp")


def is_plain(path: Path | str) -> bool:
    """Whether a path has only characters that make and a shell leave alone."""
    return re.fullmatch(r"[\w./+@-]+", str(path)) is not None


def _root() -> str:
    """Folder of temporary files: as of ``tempfile``, but one whose path is plain.

    Raises
    ------
    OSError
        If there is none.
    """
    wanted = tempfile.gettempdir()
    for folder in (wanted, *FALLBACKS):
        if is_plain(folder) and os.access(folder, os.W_OK | os.X_OK):
            return folder
    raise NotADirectoryError(
        f"temporary files go to {wanted!r}, a path that make and simulators cannot take, and not "
        f"to {' or '.join(FALLBACKS)}: set TMPDIR to a folder of letters, digits and . / + @ - _"
    )


@contextmanager
def scratch() -> Iterator[Path]:
    """Make a temporary folder for tools and remove it at the end.

    It is in ``TMPDIR`` if that is a plain path, else in the first of :data:`FALLBACKS` that can be
    written: tools cannot work in any other.

    Raises
    ------
    OSError
        If none can be written; the message says what to do.
    """
    with tempfile.TemporaryDirectory(prefix="dtqatten-", dir=_root()) as folder:
        yield Path(folder)


def tool_environment() -> dict[str, str]:
    """Return the environment with a ``TMPDIR`` that tools can use.

    Raises
    ------
    OSError
        If there is none.
    """
    return {**os.environ, "TMPDIR": _root()}
