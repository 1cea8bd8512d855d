"""``dtqatten registers``: the register map and the descriptor, as Markdown and as a C header."""

from pathlib import Path
from typing import Annotated

import typer

from dtqatten import descriptor
from dtqatten import registers as table
from dtqatten.commands.verilog import write_atomically

__all__ = ["registers"]


def registers(
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write to.", file_okay=False)
    ] = Path("build/registers"),
) -> None:
    """Write registers.md, descriptor.md and dtqatten.h."""
    for name, text in (
        ("registers.md", table.markdown()),
        ("descriptor.md", descriptor.markdown()),
        ("dtqatten.h", table.c_header()),
    ):
        write_atomically(output / name, text)
        typer.echo(f"{output / name}")
