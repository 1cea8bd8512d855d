"""Tell what takes long, and run tools so that the log shows their command lines."""

import logging
import shlex
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

__all__ = ["LOG", "run_tool", "shown_by", "waiting"]

#: Of the whole package. The command line shows it; a library's user sets handlers as for any other.
LOG = logging.getLogger("dtqatten")

Show = Callable[[str], AbstractContextManager[object]]


def _logged(text: str) -> AbstractContextManager[object]:
    LOG.info(text)
    return nullcontext()


_shows: list[Show] = [_logged]


def waiting(text: str) -> AbstractContextManager[object]:
    """Return a context in which ``text`` says what is waited for: a line of the log by default."""
    return _shows[-1](text)


@contextmanager
def shown_by(show: Show) -> Iterator[None]:
    """Let something else show what is waited for, such as a terminal's spinner."""
    _shows.append(show)
    try:
        yield
    finally:
        _shows.remove(show)


def run_tool(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a tool, its command line in the log, and return what it printed and its exit code.

    Parameters
    ----------
    command : sequence of str
    **options
        Of :func:`subprocess.run`. Output is captured as text, and no exit code is an error, unless
        these say otherwise.
    """
    LOG.debug("%s", shlex.join(command))
    if "stdout" not in options:
        options["capture_output"] = True
    return subprocess.run(command, **{"text": True, "check": False, **options})
