"""``dtqatten registers``: registers and descriptors as Markdown, and as a C header."""

from pathlib import Path
from typing import Annotated

from dtqatten.commands.console import say
from dtqatten.commands.paths import output_folder
from dtqatten.files.whole import write_text
from dtqatten.interface.reference import c_header, markdown

__all__ = ["registers"]


def registers(
    output: Annotated[
        Path, output_folder("Folder to write to.", holds=("registers.md", "dtqatten.h"))
    ] = Path("build/registers"),
) -> None:
    """Write registers.md and dtqatten.h."""
    for name, text in (("registers.md", markdown()), ("dtqatten.h", c_header())):
        write_text(output / name, text)
        say(output / name)
