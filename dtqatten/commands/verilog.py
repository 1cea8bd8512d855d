"""``dtqatten verilog``: write the Verilog of a configuration."""

import enum
import re
from collections.abc import Mapping
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
    needs,
    refuse,
    reject_unused,
)
from dtqatten.commands.paths import check_file, check_folder, output_folder
from dtqatten.configuration.choices import TopKEngine
from dtqatten.configuration.system import SystemConfig
from dtqatten.files.whole import write_text
from dtqatten.hw.blocks import Block, build

__all__ = ["verilog"]

#: Clock rate of constraints, if none is given.
USUAL_MHZ = 100.0
#: Of the testbenches' layers.
SEED = 0


class Memories(enum.StrEnum):
    """How SRAMs are written."""

    INFERRED = "inferred"
    WRAPPED = "wrapped"


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
    memories: Annotated[
        Memories,
        typer.Option(
            help="SRAMs as arrays of registers, which tools map, or as modules with models of "
            "their behaviour, in which macros go."
        ),
    ] = Memories.INFERRED,
    serial_pins: Annotated[
        bool,
        typer.Option(
            "--serial-pins",
            help="Shift registers in place of ports, so that the block fits the pins of any FPGA.",
        ),
    ] = False,
    lite_clock: Annotated[
        bool,
        typer.Option(
            "--lite-clock",
            help="System: AXI4-Lite and interrupt on a clock of their own, s_axil_clk.",
        ),
    ] = False,
    packaged: Annotated[
        bool,
        typer.Option(
            "--package",
            help="Add constraints (.sdc, .xdc, .lpf), a FuseSoC .core file and IP-XACT (.xml); of "
            "the system its registers in SystemRDL (.rdl), too.",
        ),
    ] = False,
    mhz: Annotated[
        float | None,
        typer.Option(
            min=0.001, max=1e5, help=f"With --package: clock rate of the constraints; {USUAL_MHZ}."
        ),
    ] = None,
    lite_mhz: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=1e5,
            help="With --package and --lite-clock: rate of s_axil_clk; else --mhz.",
        ),
    ] = None,
    testbench: Annotated[
        bool,
        typer.Option(
            "--testbench",
            help="Core and system: add a testbench in plain Verilog, with vectors of the golden "
            "model.",
        ),
    ] = False,
    rows: RowsOption = None,
    cols: ColsOption = None,
    depth: DepthOption = None,
    value_depth: ValueDepthOption = None,
    pod_cols: Annotated[
        int | None, typer.Option(help="PEs of a row that share registers; divides --cols.")
    ] = None,
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
    unsigned_weights: Annotated[
        bool | None, typer.Option(help="Those nibbles are unsigned: 16 levels in 4 bits, not 8.")
    ] = None,
    block_exponents: Annotated[
        bool | None, typer.Option(help="A row's weights have an exponent for each tile of keys.")
    ] = None,
    v_gains: Annotated[
        bool | None, typer.Option(help="Take a gain per token of V, for token scales.")
    ] = None,
    signed_gains: Annotated[
        bool | None, typer.Option(help="Gains of Q and K have a sign, and are even.")
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
    bias_heads: Annotated[
        int | None, typer.Option(help="Query heads of a group with biases of their keys, 0 to 64.")
    ] = None,
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
    chosen_values: Annotated[
        bool | None, typer.Option(help="V can be read after the choice; with --local-values.")
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
        pod_cols=pod_cols,
        d_head=d_head,
        n_max=n_max,
        load_bits=load_bits,
        value_load_bits=value_load_bits,
        normalizer_lanes=normalizer_lanes,
        schedule=schedule,
        product_stages=product_stages,
        planes=planes,
        unsigned_weights=unsigned_weights,
        block_exponents=block_exponents,
        v_gains=v_gains,
        signed_gains=signed_gains,
        heads=heads,
        topk_lanes=topk_lanes,
        topk_engine=topk_engine,
        cumulative=cumulative,
        count_normalize=count_normalize,
        capacity=capacity,
        windows=windows,
        sinks=sinks,
        bias_heads=bias_heads,
        grouped=grouped,
        held_importance=held_importance,
        head_pruning=head_pruning,
        skip_tiles=skip_tiles,
        local_values=local_values,
        chosen_values=chosen_values,
        progressive=progressive,
        merge_rows=merge_rows,
    )
    if monitored and block not in (Block.ARRAY, Block.VALUE_ARRAY):
        raise refuse(f"--monitored is for arrays, not {block}: leave it out")
    if testbench and block not in (Block.CORE, Block.SYSTEM):
        raise refuse(f"--testbench is for core and system, not {block}: leave it out")
    if testbench and serial_pins:
        raise refuse("--testbench: a block with --serial-pins has none; leave one of the two out")
    if lite_clock and block is not Block.SYSTEM:
        raise refuse(f"--lite-clock: a {block} has no AXI4-Lite; choose --block system")
    if lite_clock and serial_pins:
        raise refuse("--lite-clock: --serial-pins have one clock; leave one of the two out")
    if not packaged:
        reject_unused({"--mhz": mhz, "--lite-mhz": lite_mhz}, "is for --package")
    if not lite_clock:
        reject_unused({"--lite-mhz": lite_mhz}, "is for --lite-clock")
    from dtqatten.hw.base.export import PREFIX, verilog_with_wrappers
    from dtqatten.hw.base.export import verilog as to_verilog
    from dtqatten.hw.base.verilog_text import split_modules

    start = PREFIX if prefix is None else prefix
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", start):
        raise refuse(f"--prefix {start!r}: give letters, digits and _, no digit first")
    module_name = f"{block}_pins" if serial_pins else str(block)
    if lite_clock:
        module_name = f"two_clock_{block}"
    top = start + module_name

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
    component = build(
        block, system, monitored=monitored, serial_pins=serial_pins, lite_clock=lite_clock
    )
    texts = {}
    if memories is Memories.WRAPPED:
        design, models = verilog_with_wrappers(
            component, module_name, prefix=start, emit_src=sources
        )
        if not models:
            raise refuse(f"--memories wrapped: this {block} has no SRAM; leave it out")
        texts = {f"{top}_memories": models, top: design}
    else:
        texts = {top: to_verilog(component, module_name, prefix=start, emit_src=sources)}
    if split:
        texts = {
            name: part for text in texts.values() for name, part in split_modules(text).items()
        }
    files = {f"{module}.v": text for module, text in texts.items()}
    listed = "".join(f"{name}\n" for name in files)
    bench = testbench_of(system, block, top, lite_clock=lite_clock) if testbench else {}
    beside = dict(bench)
    if packaged:
        from dtqatten.integration.package import package

        beside |= package(
            component,
            top,
            list(files),
            mhz=mhz or USUAL_MHZ,
            lite_mhz=lite_mhz,
            system=system if block is Block.SYSTEM and not serial_pins else None,
            testbench=list(bench),
        )
    several = split or len(files) > 1
    for written in [*files, *beside, *([f"{path.stem}.f"] if several else [])]:
        check_file(path.with_name(written))
    for written, text in (files | beside).items():
        write_text(path.with_name(written), text)
    # The list comes last: what it names is there.
    if several:
        path = path.with_suffix(".f")
        write_text(path, listed)
    if bench:
        say(f"{path.with_name(f'{top}_tb.v')}: run it there, on any simulator")
    say(f"{path}: module {top}, {system if block is Block.SYSTEM else system.core}")


def testbench_of(
    system: SystemConfig, block: Block, top: str, *, lite_clock: bool
) -> Mapping[str, str]:
    """Return the text of a testbench, and of its data, by the names of their files."""
    if block is Block.SYSTEM:
        from dtqatten.integration.chain_vectors import chain_vectors
        from dtqatten.integration.system_testbench import system_testbench

        vectors = chain_vectors(system, SEED)
        return system_testbench(system, top, vectors, lite_clock=lite_clock)
    with needs("sim"):
        from dtqatten.integration.stream_vectors import core_vectors
    from dtqatten.integration.stream_testbench import stream_testbench

    return stream_testbench(top, *core_vectors(system.core, SEED), unused=["activity"])
