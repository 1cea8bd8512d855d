"""``dtqatten verilog``: write the Verilog of a configuration."""

import enum
import os
import tempfile
from pathlib import Path
from typing import Annotated, Any

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
    fail,
)
from dtqatten.config import Config

__all__ = ["verilog", "write_atomically"]


class Block(enum.StrEnum):
    """A block that is of use on its own."""

    ARRAY = "array"
    VALUE_ARRAY = "value_array"
    SOFTMAX = "softmax"
    TOPK = "topk"
    PE = "pe"


def build(block: Block, config: Config, *, monitored: bool, lanes: int) -> Any:
    """Return a block's component."""
    match block:
        case Block.ARRAY:
            from dtqatten.hw.array import ScoreArray

            return ScoreArray(config, monitored=monitored)
        case Block.VALUE_ARRAY:
            from dtqatten.hw.value_array import ValueArray

            return ValueArray(config, observed=monitored)
        case Block.SOFTMAX:
            from dtqatten.hw.softmax import Softmax

            return Softmax(config)
        case Block.TOPK:
            from dtqatten.hw.topk import TopK
            from dtqatten.hw.topk_config import TopKConfig

            # Refuses what cannot work before there is a component that is never used.
            TopKConfig(lanes, config.n_max)
            return TopK(lanes, config.n_max)
        case Block.PE:
            from dtqatten.hw.pe import PE

            return PE(config, config.score_width)


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
    block: Annotated[Block, typer.Option(help="What to write.")] = Block.ARRAY,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder to write to.", file_okay=False)
    ] = Path("build/verilog"),
    monitored: Annotated[
        bool,
        typer.Option(
            "--monitored",
            help="Arrays: add ports that show every PE, and counters per PE to the score array.",
        ),
    ] = False,
    lanes: Annotated[int, typer.Option(help="Top-k: scores per beat.")] = 16,
    rows: RowsOption = None,
    cols: ColsOption = None,
    depth: DepthOption = None,
    d_head: DHeadOption = None,
    n_max: NMaxOption = None,
    schedule: ScheduleOption = None,
) -> None:
    """Write a block as Verilog-2005: one file, flat ports, for any FPGA or ASIC flow."""
    config = configure(
        preset,
        rows=rows,
        cols=cols,
        depth=depth,
        d_head=d_head,
        n_max=n_max,
        schedule=schedule,
    )
    if monitored and block not in (Block.ARRAY, Block.VALUE_ARRAY):
        raise fail(f"--monitored is for arrays, not {block}: leave it out")
    from dtqatten.hw.export import PREFIX
    from dtqatten.hw.export import verilog as to_verilog

    try:
        component = build(block, config, monitored=monitored, lanes=lanes)
    except ValueError as error:
        raise fail(error) from None
    path = output / f"{PREFIX}{block}.v"
    write_atomically(path, to_verilog(component, block))
    typer.echo(f"{path}: module {PREFIX}{block}, {config}")
