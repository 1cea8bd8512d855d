"""Fit the area model of ``dtqatten explore`` to mapped cores: ``tools/fit_area.py --help``."""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from dtqatten.configuration.core import PRESETS
from dtqatten.files.whole import write_text
from dtqatten.model.measured import measured
from dtqatten.synth.cells import CellLibrary
from dtqatten.synth.design import Design
from dtqatten.synth.estimate.contents import contents_of
from dtqatten.synth.estimate.fitting import Sample, error, fit
from dtqatten.synth.macros import read_macros
from dtqatten.synth.place.lef import lef_files, read_lef
from dtqatten.synth.tools import versions

HERE = Path(__file__).parents[1]


def sample(path: Path) -> Sample:
    """Return a result of ``dtqatten synth``, with what its Verilog holds."""
    result = json.loads(path.read_text())
    top = next(iter(result["modules"]))
    sources = [path.parent / "work" / path.stem / f"{top}.v"]
    design = Design.of_files(sources, top, "clk", [])
    with tempfile.TemporaryDirectory() as folder:
        return Sample(result, contents_of(design, Path(folder)))


def main(
    samples: Annotated[
        list[Path], typer.Argument(help="Results to fit to: build/synth/asic-<design>.json.")
    ],
    held_out: Annotated[list[Path], typer.Option(help="Results that tell the error; repeatable.")],
    liberty: Annotated[list[Path], typer.Option(envvar="DTQATTEN_LIBERTY", help="Cells.")],
    sram: Annotated[Path, typer.Option(envvar="DTQATTEN_SRAM", help="Folder of macros.")],
    lef: Annotated[list[Path], typer.Option(envvar="DTQATTEN_LEF", help="Their geometry.")],
    output: Annotated[Path, typer.Option("-o")] = HERE / "synth/estimate/fitted.json",
) -> None:
    """Fit areas of word-level cells to mapped designs, by what their modules hold."""
    macros = read_macros(sram)
    with tempfile.TemporaryDirectory() as folder:
        cells = CellLibrary.open(liberty, Path(folder))
        outlines = read_lef(lef_files(lef), Path(folder))
    base, power = PRESETS["base"], measured()["base"].power
    assert power is not None
    pes = base.rows * base.cols * base.depth
    fitting, others = [sample(path) for path in samples], [sample(path) for path in held_out]
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
