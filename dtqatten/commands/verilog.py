"""``dtqatten verilog``: write the Verilog of a configuration."""

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from dtqatten.commands.console import say
from dtqatten.commands.options import (
    ColsOption,
    ConfigOption,
    DepthOption,
    DHeadOption,
    NMaxOption,
    RowsOption,
    ScheduleOption,
    StartOption,
    ValueDepthOption,
    machine,
    refuse,
)
from dtqatten.commands.paths import check_file, check_folder, output_folder
from dtqatten.configuration.choices import TopKEngine
from dtqatten.files.whole import write_text
from dtqatten.hw.blocks import Block, build

__all__ = ["verilog"]


def verilog(
    preset: StartOption = None,
    file: ConfigOption = None,
    block: Annotated[Block, typer.Option(help="What to write.")] = Block.CORE,
    output: Annotated[
        Path | None,
        output_folder("Folder to write to; by default build/verilog/, and in it the preset's."),
    ] = None,
    monitored: Annotated[
        bool,
        typer.Option(
            "--monitored",
            help="Arrays: add ports that show every PE, and counters per PE to the score array.",
        ),
    ] = False,
    prefix: Annotated[
        str | None, typer.Option(help="Of all modules' names; dtqatten_ if not given.")
    ] = None,
    split: Annotated[
        bool,
        typer.Option("--split", help="A file a module, and a list of them, the top module's .f."),
    ] = False,
    sources: Annotated[
        bool, typer.Option("--src", help="Attributes that name the lines of Python; larger.")
    ] = False,
    rows: RowsOption = None,
    cols: ColsOption = None,
    depth: DepthOption = None,
    value_depth: ValueDepthOption = None,
    d_head: DHeadOption = None,
    n_max: NMaxOption = None,
    load_bits: Annotated[
        int | None, typer.Option(help="Widest beat of the streams of Q, K and V.")
    ] = None,
    value_load_bits: Annotated[
        int | None, typer.Option(help="Widest beat of the stream of V.")
    ] = None,
    normalizer_lanes: Annotated[
        int | None, typer.Option(help="Channels of the output a cycle.")
    ] = None,
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
    topk_engine: Annotated[
        TopKEngine | None, typer.Option(help="How the top-k finds its thresholds.")
    ] = None,
    cumulative: Annotated[
        bool | None, typer.Option(help="Add importance over the layers, where one asks for it.")
    ] = None,
    count_normalize: Annotated[
        bool | None, typer.Option(help="Divide importance by counts of queries, where asked for.")
    ] = None,
    capacity: Annotated[int | None, typer.Option(help="Places of a cache; else --n-max.")] = None,
    windows: Annotated[bool | None, typer.Option(help="Heads can have sliding windows.")] = None,
    sinks: Annotated[bool | None, typer.Option(help="Query heads can have sinks.")] = None,
    grouped: Annotated[
        bool | None, typer.Option(help="Query heads that share K and V fill rows together.")
    ] = None,
    held_importance: Annotated[
        bool | None, typer.Option(help="Caches keep importance by id; keys can be protected.")
    ] = None,
    head_pruning: Annotated[
        bool | None, typer.Option(help="Rank heads by their outputs, and prune later layers'.")
    ] = None,
    skip_tiles: Annotated[
        bool | None, typer.Option(help="Leave out tiles that no query of a row block sees.")
    ] = None,
    local_values: Annotated[
        bool | None, typer.Option(help="Row blocks can multiply a part of V; with --skip-tiles.")
    ] = None,
    progressive: Annotated[
        bool | None, typer.Option(help="Keys can be in 4 bits first, and in 8 if a row is flat.")
    ] = None,
    merge_rows: Annotated[
        int | None, typer.Option(help="Rows of queries held to take keys beyond --n-max.")
    ] = None,
    bus_bits: Annotated[int | None, typer.Option(help="System: AXI4 data width.")] = None,
    address_bits: Annotated[int | None, typer.Option(help="System: AXI4 address width.")] = None,
    burst_beats: Annotated[int | None, typer.Option(help="System: longest burst.")] = None,
    buffer_bursts: Annotated[
        int | None, typer.Option(help="System: bursts that each read stream has room for.")
    ] = None,
) -> None:
    """Write a block as Verilog-2005: flat ports, plain names, for any FPGA or ASIC flow.

    Without --preset and --config it is that of preset base.
    """
    chosen = machine(
        preset,
        file,
        rows=rows,
        cols=cols,
        depth=depth,
        value_depth=value_depth,
        d_head=d_head,
        n_max=n_max,
        load_bits=load_bits,
        value_load_bits=value_load_bits,
        normalizer_lanes=normalizer_lanes,
        schedule=schedule,
        product_stages=product_stages,
        planes=planes,
        v_gains=v_gains,
        heads=heads,
        topk_lanes=topk_lanes,
        topk_engine=topk_engine,
        cumulative=cumulative,
        count_normalize=count_normalize,
        capacity=capacity,
        windows=windows,
        sinks=sinks,
        grouped=grouped,
        held_importance=held_importance,
        head_pruning=head_pruning,
        skip_tiles=skip_tiles,
        local_values=local_values,
        progressive=progressive,
        merge_rows=merge_rows,
    )
    if monitored and block not in (Block.ARRAY, Block.VALUE_ARRAY):
        raise refuse(f"--monitored is for arrays, not {block}: leave it out")
    from dtqatten.hw.base.export import PREFIX
    from dtqatten.hw.base.export import verilog as to_verilog
    from dtqatten.hw.base.verilog_text import split_modules

    start = PREFIX if prefix is None else prefix
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", start):
        raise refuse(f"--prefix {start!r}: give letters, digits and _, no digit first")
    top = start + block

    bus: dict[str, Any] = {
        "bus_bits": bus_bits,
        "address_bits": address_bits,
        "burst_beats": burst_beats,
        "buffer_bursts": buffer_bursts,
    }
    given = {name: value for name, value in bus.items() if value is not None}
    if given and block is not Block.SYSTEM:
        raise refuse(f"{', '.join(given)}: a {block} has no bus; choose --block system")
    system = chosen.system(**bus)
    name = chosen.name + "".join(f"-{key}-{value}" for key, value in given.items())
    path = (output or Path("build/verilog") / name) / f"{top}.v"
    check_folder(path.parent)
    check_file(path)
    component = build(block, system, monitored=monitored)
    text = to_verilog(component, block, prefix=start, emit_src=sources)
    # The list comes last: what it names is there.
    found = split_modules(text) if split else {top: text}
    for module, part in found.items():
        write_text(path.with_name(f"{module}.v"), part)
    if split:
        path = path.with_suffix(".f")
        write_text(path, "".join(f"{module}.v\n" for module in found))
    say(f"{path}: module {top}, {system if block is Block.SYSTEM else system.core}")
