"""Where what takes long to make is kept for the next time."""

import os
from pathlib import Path

__all__ = ["cache_directory"]


def cache_directory() -> Path:
    """Return the folder of compiled and assembled files.

    ``DTQATTEN_CACHE``, else the user's cache.
    """
    base = os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")
    return Path(os.environ.get("DTQATTEN_CACHE", Path(base) / "dtqatten"))
