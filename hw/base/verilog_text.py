"""Verilog as text: names that every tool takes, where it comes from, a module a file."""

import re
import sysconfig
from collections.abc import Collection
from pathlib import Path

__all__ = ["plain_names", "relative_sources", "split_modules"]

ESCAPED = re.compile(r"\\(\S+)(?=\s)")
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")
#: A file in an attribute ``src``, which can have several.
SOURCE = re.compile(r'(?<=["|])/[^"|:]*(?=:\d)')
#: A module with the attributes before it.
MODULE = re.compile(r"(?:^\(\*[^\n]*\*\)\n)*^module (\S+?) ?\(.*?^endmodule\n", re.S | re.M)
#: Folders that sources are named from.
ROOTS = (Path(__file__).parents[2], Path(sysconfig.get_paths()["purelib"]))


def plain_names(text: str, kept: Collection[str] = ()) -> str:
    """Return Verilog whose escaped identifiers are plain ones.

    Each character that a plain identifier cannot have becomes ``_``; a reserved word, and what
    would be another identifier of the text, gets one more at its end. A name becomes the same one
    in all modules, so ports and their connections still agree.

    Parameters
    ----------
    text : str
    kept : collection of str
        Names that stay as they are, such as the ports of the top module.
    """
    escaped = set(ESCAPED.findall(text)).difference(kept)
    taken = set(IDENTIFIER.findall(text))
    plain = {}
    for name in sorted(escaped):
        new = re.sub(r"\W", "_", name, flags=re.ASCII)
        if new[0].isdigit():
            new = f"_{new}"
        # The text has a reserved word too, as what was escaped.
        while new in taken:
            new += "_"
        taken.add(new)
        plain[name] = new
    return ESCAPED.sub(lambda found: plain.get(found[1], found[0]), text)


def relative_sources(text: str) -> str:
    """Return RTLIL whose attributes ``src`` name files from the package or its libraries on."""

    def named(found: re.Match[str]) -> str:
        path = Path(found[0])
        root = next((root for root in ROOTS if path.is_relative_to(root)), path.parent)
        return str(path.relative_to(root))

    return SOURCE.sub(named, text)


def split_modules(text: str) -> dict[str, str]:
    """Return the text of each module by its name, each below the comment of the whole text."""
    comment = text[: len(text) - len(re.sub(r"\A(?://.*\n)*", "", text))]
    return {found[1]: comment + found[0] for found in MODULE.finditer(text)}
