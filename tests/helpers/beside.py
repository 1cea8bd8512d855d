"""All that goes beside a block's Verilog, written to a folder."""

from pathlib import Path

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.files.whole import write_text
from dtqatten.hw.base.export import verilog_with_wrappers
from dtqatten.hw.blocks import Block, build
from dtqatten.integration.chain_vectors import chain_vectors
from dtqatten.integration.package import package
from dtqatten.integration.stream_testbench import stream_testbench
from dtqatten.integration.stream_vectors import core_vectors
from dtqatten.integration.system_testbench import system_testbench

MACHINE = SystemConfig(
    core=Config(rows=2, cols=2, depth=4, d_head=8, n_max=6, heads=2, topk_lanes=2),
    bus_bits=64,
    burst_beats=2,
)


def written(
    block: Block, folder: Path, machine: SystemConfig = MACHINE, *, lite_clock: bool = False
) -> Path:
    """Write all that a block has, wrapped memories included, and return the folder."""
    name = f"two_clock_{block}" if lite_clock else str(block)
    top = f"dtqatten_{name}"
    component = build(block, machine, lite_clock=lite_clock)
    design, models = verilog_with_wrappers(component, name)
    verilog = {f"{top}_memories.v": models, f"{top}.v": design}
    if block is Block.SYSTEM:
        bench = system_testbench(machine, top, chain_vectors(machine, 0), lite_clock=lite_clock)
    else:
        bench = stream_testbench(top, *core_vectors(machine.core, 0), unused=["activity"])
    system = machine if block is Block.SYSTEM else None
    names = list(verilog)
    beside = package(
        component, top, names, mhz=250, lite_mhz=80, system=system, testbench=list(bench)
    )
    for name, text in (verilog | dict(bench) | dict(beside)).items():
        write_text(folder / name, text)
    return folder
