"""``dtqatten verilog``: write the Verilog of a configuration."""

import os
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from dtqatten.commands.options import (
    ColsOption,
    DepthOption,
    DHeadOption,
    NMaxOption,
    PresetOption,
    RowsOption,
    ScheduleOption,
    configure,
)

__all__ = ["verilog", "write_atomically"]


def write_atomically(path: Path, text: str) -> None:
    """Write a file as a whole or not at all; make its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
        Path(partial).chmod(0o644)
        Path(partial).replace(path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def verilog(
    preset: PresetOption = "base",
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write to.", file_okay=False)
    ] = Path("build/verilog"),
    monitored: Annotated[
        bool,
        typer.Option("--monitored", help="Add observation ports and a pair of counters per PE."),
    ] = False,
    rows: RowsOption = None,
    cols: ColsOption = None,
    depth: DepthOption = None,
    d_head: DHeadOption = None,
    n_max: NMaxOption = None,
    schedule: ScheduleOption = None,
) -> None:
    """Write the score array as Verilog-2005: one file, flat ports, for any FPGA or ASIC flow."""
    config = configure(
        preset,
        rows=rows,
        cols=cols,
        depth=depth,
        d_head=d_head,
        n_max=n_max,
        schedule=schedule,
    )
    from dtqatten.hw.array import ScoreArray
    from dtqatten.hw.export import verilog as to_verilog

    path = output / "dtqatten_array.v"
    write_atomically(path, to_verilog(ScoreArray(config, monitored=monitored), "array"))
    typer.echo(f"{path}: module dtqatten_array, {config}")
