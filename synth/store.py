"""Results that are kept as long as what they follow from stays the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dtqatten.files.whole import write_text

__all__ = ["kept"]


def kept(path: Path, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return the result in a JSON file, made anew unless the file is of the same key.

    Parameters
    ----------
    path : Path
        The file; written as a whole.
    key : str
        Hash of everything that the result depends on.
    make : callable
        Makes it.

    Returns
    -------
    dict
        With ``key``.
    """
    try:
        result = json.loads(path.read_text())
        if result["key"] == key:
            return result
    except (OSError, ValueError, KeyError):
        pass  # nothing there, or half of something: make it
    result = {"key": key, **make()}
    write_text(path, json.dumps(result, indent=2) + "\n")
    return result
