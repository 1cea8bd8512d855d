"""Let one run at a time work in a folder."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dtqatten.files.notices import waiting

__all__ = ["alone"]


@contextmanager
def alone(path: Path) -> Iterator[None]:
    """Hold a lock while what it guards is worked on; wait for another run that holds it.

    The system frees it when a process ends, however it ends. Where there are no such locks, as on
    Windows, nothing is guarded.

    Parameters
    ----------
    path : Path
        File of the lock, which stays; its folder is made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        if os.name == "posix":
            import fcntl

            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                with waiting(f"another run is at work in {path.parent}: waiting for its end"):
                    fcntl.flock(file, fcntl.LOCK_EX)
        yield
