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
    ValueDepthOption,
    configure,
    refuse,
)
from dtqatten.configuration.system import SystemConfig
from dtqatten.hw.blocks import Block, build

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
    block: Annotated[Block, typer.Option(help="What to write.")] = Block.CORE,
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
    rows: RowsOption = None,
    cols: ColsOption = None,
    depth: DepthOption = None,
    value_depth: ValueDepthOption = None,
    d_head: DHeadOption = None,
    n_max: NMaxOption = None,
    schedule: ScheduleOption = None,
    product_stages: Annotated[
        int | None, typer.Option(help="Cycles that a PE takes for its products.")
    ] = None,
    planes: Annotated[int | None, typer.Option(help="Nibbles of a weight of P x V.")] = None,
    v_gains: Annotated[
        bool | None, typer.Option(help="Take a gain per token of V, for token scales.")
    ] = None,
    heads: Annotated[int | None, typer.Option(help="Most heads of a layer.")] = None,
    topk_lanes: Annotated[int | None, typer.Option(help="Scores per beat of the top-k.")] = None,
    cumulative: Annotated[
        bool | None, typer.Option(help="Add importance over the layers, where one asks for it.")
    ] = None,
    count_normalize: Annotated[
        bool | None, typer.Option(help="Divide importance by counts of queries, where asked for.")
    ] = None,
    bus_bits: Annotated[int | None, typer.Option(help="System: AXI4 data width.")] = None,
    address_bits: Annotated[int | None, typer.Option(help="System: AXI4 address width.")] = None,
    burst_beats: Annotated[int | None, typer.Option(help="System: longest burst.")] = None,
    buffer_bursts: Annotated[
        int | None, typer.Option(help="System: bursts that each read stream has room for.")
    ] = None,
) -> None:
    """Write a block as Verilog-2005: one file, flat ports, for any FPGA or ASIC flow."""
    config = configure(
        preset,
        rows=rows,
        cols=cols,
        depth=depth,
        value_depth=value_depth,
        d_head=d_head,
        n_max=n_max,
        schedule=schedule,
        product_stages=product_stages,
        planes=planes,
        v_gains=v_gains,
        heads=heads,
        topk_lanes=topk_lanes,
        cumulative=cumulative,
        count_normalize=count_normalize,
    )
    if monitored and block not in (Block.ARRAY, Block.VALUE_ARRAY):
        raise refuse(f"--monitored is for arrays, not {block}: leave it out")
    from dtqatten.hw.base.export import PREFIX
    from dtqatten.hw.base.export import verilog as to_verilog

    sizes = {
        "bus_bits": bus_bits,
        "address_bits": address_bits,
        "burst_beats": burst_beats,
        "buffer_bursts": buffer_bursts,
    }
    bus = {name: value for name, value in sizes.items() if value is not None}
    if bus and block is not Block.SYSTEM:
        raise refuse(f"{', '.join(bus)}: a {block} has no bus; choose --block system")
    component = build(block, SystemConfig(core=config, **bus), monitored=monitored)
    path = output / f"{PREFIX}{block}.v"
    write_atomically(path, to_verilog(component, block))
    typer.echo(f"{path}: module {PREFIX}{block}, {config}")
