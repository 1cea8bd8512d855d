"""``dtqatten registers``: registers and descriptors as Markdown, and as a C header."""

from pathlib import Path
from typing import Annotated

import typer

from dtqatten.commands.verilog import write_atomically
from dtqatten.interface.reference import c_header, markdown

__all__ = ["registers"]


def registers(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write to.", file_okay=False)
    ] = Path("build/registers"),
) -> None:
    """Write registers.md and dtqatten.h."""
    for name, text in (("registers.md", markdown()), ("dtqatten.h", c_header())):
        write_atomically(output / name, text)
        typer.echo(f"{output / name}")
