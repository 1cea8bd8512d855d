"""``dtqatten registers``: registers and descriptors as Markdown and C header, and the C driver."""

from pathlib import Path
from typing import Annotated

from dtqatten.boards.c_sources import DRIVER, SOURCES
from dtqatten.commands.console import say
from dtqatten.commands.paths import output_folder
from dtqatten.files.whole import write_text
from dtqatten.interface.reference import c_header, markdown

__all__ = ["registers"]


def registers(
    output: Annotated[
        Path, output_folder("Folder to write to.", holds=("registers.md", "dtqatten.h", *DRIVER))
    ] = Path("build/registers"),
) -> None:
    """Write registers.md, dtqatten.h and the C driver."""
    driver = {name: SOURCES[name].read_text("utf-8") for name in DRIVER}
    texts = {"registers.md": markdown(), "dtqatten.h": c_header(), **driver}
    for name, text in texts.items():
        write_text(output / name, text)
        say(output / name)
