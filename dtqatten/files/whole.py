"""Write files as a whole or not at all."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["replacing", "write_arrays", "write_text"]


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield an empty file to write to; at the end it takes the place of ``path``, as a whole.

    The folder is made. If anything fails, Ctrl-C included, the old file stays and no other is left.
    Each writer has a file of its own, so that of two at once one wins. The yielded path has the
    suffix of ``path``. A device or pipe, such as ``/dev/stdout``, is written to itself.

    Parameters
    ----------
    path : Path
        File to be replaced; of a symbolic link, that which it points to.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        yield path
        return
    target = Path(os.path.realpath(path))
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(
        dir=target.parent, prefix=f".{target.stem}.", suffix=target.suffix
    )
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        # mkstemp's files are private; this one is as readable as any other new file.
        mask = os.umask(0)
        os.umask(mask)
        partial.chmod(0o666 & ~mask)
        partial.replace(target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file as :func:`replacing` does."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")


def write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write arrays as a compressed ``.npz`` as :func:`replacing` does."""
    with replacing(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
