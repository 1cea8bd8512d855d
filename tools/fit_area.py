"""Fit the area model of ``dtqatten explore`` to mapped cores: ``tools/fit_area.py --help``."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from dtqatten.configuration.choices import Schedule
from dtqatten.configuration.core import PRESETS, Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.files.whole import write_text
from dtqatten.hw.blocks import Block
from dtqatten.model.measured import measured
from dtqatten.synth.blocks import block_design
from dtqatten.synth.cells import CellLibrary
from dtqatten.synth.estimate.contents import contents_of
from dtqatten.synth.estimate.fitting import Sample, error, fit
from dtqatten.synth.flow import ASIC, Flow
from dtqatten.synth.macros import read_macros
from dtqatten.synth.place.lef import lef_files, read_lef
from dtqatten.synth.tools import versions

HERE = Path(__file__).parents[1]
TINY, BASE = PRESETS["tiny"], PRESETS["base"]

#: Machines whose cores the model is fitted to: small ones, the last with most of what adds logic.
FITTED = {
    "tiny": TINY,
    "wide": Config(rows=2, cols=8, depth=8, d_head=64, n_max=128, pod_cols=4),
    "optional": Config(
        rows=4,
        cols=4,
        depth=4,
        d_head=32,
        n_max=64,
        windows=True,
        sinks=True,
        progressive=True,
        skip_tiles=True,
        local_values=True,
    ),
}
#: Designs that tell its error.
HELD_OUT = {
    "base": (
        BASE,
        (Block.CORE, Block.ARRAY, Block.SOFTMAX, Block.VALUE_ARRAY, Block.NORMALIZER, Block.PE),
    ),
    "tiny": (TINY, (Block.NORMALIZER,)),
    "gains": (
        Config(rows=4, cols=8, depth=4, d_head=64, n_max=128, v_gains=True),
        (Block.CORE, Block.SOFTMAX),
    ),
    "interleaved": (
        Config(rows=2, cols=2, depth=1, d_head=32, n_max=64, schedule=Schedule.INTERLEAVED),
        (Block.CORE,),
    ),
    "skipping": (BASE.replace(skip_tiles=True), (Block.VALUE_ARRAY,)),
    "local": (BASE.replace(skip_tiles=True, local_values=True), (Block.VALUE_ARRAY,)),
}


def sample(flow: Flow, name: str, config: Config, block: Block) -> Sample:
    """Return a block of a machine, mapped, and what its Verilog holds."""
    typer.echo(f"{name}-{block}", err=True)
    design = block_design(f"{name}-{block}", block, SystemConfig(core=config))
    result = flow.run(ASIC, design)
    with tempfile.TemporaryDirectory() as folder:
        return Sample(result, contents_of(design, Path(folder)))


def main(
    liberty: Annotated[list[Path], typer.Option(envvar="DTQATTEN_LIBERTY", help="Cells.")],
    sram: Annotated[Path, typer.Option(envvar="DTQATTEN_SRAM", help="Folder of macros.")],
    lef: Annotated[list[Path], typer.Option(envvar="DTQATTEN_LEF", help="Their geometry.")],
    synth: Annotated[Path, typer.Option(help="Folder for results of synthesis.")] = Path(
        "build/synth"
    ),
    output: Annotated[Path, typer.Option("-o")] = HERE / "synth/estimate/fitted.json",
) -> None:
    """Fit areas of word-level cells to mapped designs, by what their modules hold.

    Maps what has not been mapped before, half an hour in all.
    """
    macros = read_macros(sram)
    with tempfile.TemporaryDirectory() as folder:
        cells = CellLibrary.open(liberty, Path(folder))
        outlines = read_lef(lef_files(lef), Path(folder))
    power = measured()["base"].power
    assert power is not None
    pes = BASE.rows * BASE.cols * BASE.depth
    flow = Flow(synth, tuple(liberty), sram)
    fitting = [sample(flow, name, config, Block.CORE) for name, config in FITTED.items()]
    others = [
        sample(flow, name, config, block)
        for name, (config, blocks) in HELD_OUT.items()
        for block in blocks
    ]
    model = fit(
        fitting,
        others,
        macros,
        {one.name: (outlines[one.name].width, outlines[one.name].height) for one in macros},
        flip_flop_um2=cells.flip_flop_area,
        pj_per_product=power.cycle_pj["PEs of array"] / pes,
        source=f"{', '.join(path.name for path in liberty)}; macros "
        f"{', '.join(sorted({one.name.partition('_')[0] for one in macros}))}; pyosys "
        f"{versions('pyosys')['pyosys']}; fitted to "
        f"{', '.join(each.result['design'] for each in fitting)}",
    )
    for each in fitting:
        typer.echo(f"{each.result['design']}: {100 * error(model, each):+.1f} %, fitted to")
    for name, off in model.error.items():
        typer.echo(f"{name}: {100 * off:+.1f} %")
    write_text(output, model.text())


if __name__ == "__main__":
    typer.run(main)
