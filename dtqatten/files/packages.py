"""Find files that installed packages carry, without importing the packages."""

import importlib.util
from pathlib import Path

__all__ = ["carried"]


def carried(package: str, pattern: str) -> list[Path]:
    """Return the files and folders of a package that match a glob pattern, sorted.

    Parameters
    ----------
    package : str
        Name by which it would be imported.
    pattern : str
        Relative to the package's folder.

    Returns
    -------
    list of Path
        Empty if the package is not installed or carries no such file.
    """
    spec = importlib.util.find_spec(package)
    folders = (spec.submodule_search_locations or ()) if spec else ()
    return sorted(path for folder in folders for path in Path(folder).glob(pattern))
