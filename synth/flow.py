"""From a design to its result, kept as JSON until design, flow, tools or options change."""

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from dtqatten.files.locks import alone
from dtqatten.files.pictures import save
from dtqatten.files.scratch import is_plain
from dtqatten.hw.base import memory_shape
from dtqatten.synth import (
    adders,
    asic,
    cells,
    fanout,
    fpga,
    macros,
    output_registers,
    scale,
    sram,
    timing,
)
from dtqatten.synth.cells import CellLibrary
from dtqatten.synth.design import Design
from dtqatten.synth.place.design import place_design
from dtqatten.synth.place.lef import lef_files
from dtqatten.synth.place.options import PlaceOptions
from dtqatten.synth.place.picture import layout_figure
from dtqatten.synth.store import kept
from dtqatten.synth.tools import InputError, SynthError, has_opensta, versions

__all__ = ["ASIC", "Flow", "Placement"]

#: Target that is no FPGA.
ASIC = "asic"


@cache
def hash_of(path: Path) -> str:
    """Return the hash of a file's content."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error}") from None


def source_hash(part: ModuleType) -> str:
    """Return the hash of a module's source."""
    return hash_of(Path(str(part.__file__)))


@dataclass(frozen=True)
class Placement:
    """That mapped netlists are placed, too.

    Parameters
    ----------
    lef : tuple of Path
        LEF files of cells and macros, or folders of them.
    options : PlaceOptions

    Raises
    ------
    SynthError
        If a LEF file cannot be read, or there is no OpenSTA.
    """

    lef: tuple[Path, ...]
    options: PlaceOptions

    def __post_init__(self) -> None:
        if not has_opensta():
            raise SynthError("--place needs OpenSTA (Debian: opensta)")
        for path in lef_files(self.lef):
            hash_of(path)

    def key(self) -> dict[str, Any]:
        """Return what a placed result depends on beside the netlist."""
        parts = sorted(Path(__file__).with_name("place").glob("*.py"))
        return {
            "place": self.options.summary(),
            "geometry": [(path.name, hash_of(path)) for path in lef_files(self.lef)],
            "place_flow": [hash_of(path) for path in parts],
            "place_tools": versions("coloquinte", "lefdef"),
        }


@dataclass(frozen=True)
class Flow:
    """Synthesis with some libraries and options.

    Parameters
    ----------
    output : Path
        Folder of the results, ``<target>-<design>.json`` each, and of ``work``, where the tools
        leave scripts, logs and netlists.
    liberty : tuple of Path
        The standard cells' Liberty files.
    macros : Path or None
        Folder of SRAM macros' Liberty files.
    mhz : float or None
        Clock rate aimed at; by default 1000, on FPGAs 120.
    flatten, one_port, full_adders : bool
        See :func:`~dtqatten.synth.asic.synthesize`.
    seeds : int
        See :func:`~dtqatten.synth.fpga.place_and_route`.
    placement : Placement or None
        Of :data:`ASIC`: its results are ``placed-<design>.json`` besides, and a picture
        ``placed-<design>.png``.

    Raises
    ------
    InputError
        If a Liberty file cannot be read.
    """

    output: Path
    liberty: tuple[Path, ...] = ()
    macros: Path | None = None
    mhz: float | None = None
    flatten: bool = False
    seeds: int = 1
    placement: Placement | None = None
    one_port: bool = False
    full_adders: bool = False

    def __post_init__(self) -> None:
        # Before anything long begins.
        for path in self.liberty:
            hash_of(path)

    def run(
        self,
        target: str,
        design: Design,
        *,
        shown: dict[str, Any] | None = None,
        multipliers: int | None = None,
        step: Callable[[str], None] = lambda what: None,
    ) -> dict[str, Any]:
        """Return the result of a design.

        Parameters
        ----------
        target : str
            :data:`ASIC` or a name in :data:`~dtqatten.synth.fpga.DEVICES`.
        design : Design
        shown : dict
            What the result shall say of the design.
        multipliers : int or None
            4-bit multipliers in it: the result says the area of each.
        step : callable
            Told what is being done.

        Returns
        -------
        dict
            That of :func:`~dtqatten.synth.asic.synthesize` or
            :func:`~dtqatten.synth.fpga.place_and_route`, with ``target``, ``clock_mhz``,
            ``tools`` by version, and ``libraries`` by hash; placed, with that of
            :func:`~dtqatten.synth.place.design.place_design` and what it was placed with.

        Raises
        ------
        SynthError
            If a tool refuses the design, or a library cannot be read.
        """
        options = self._asic_options() if target == ASIC else self._fpga_options(target)
        name = f"{target}-{design.name}"

        def make() -> dict[str, Any]:
            folder = self._emptied(name)
            if target == ASIC:
                # What was placed was another netlist.
                (self.output / f"placed-{design.name}.json").unlink(missing_ok=True)
                result = asic.synthesize(
                    design,
                    CellLibrary.open(list(self.liberty), folder),
                    macros.read_macros(self.macros) if self.macros else [],
                    folder,
                    mhz=options["clock_mhz"],
                    flatten=self.flatten,
                    one_port=self.one_port,
                    full_adders=self.full_adders,
                    timed="opensta" in options["tools"],
                    step=step,
                )
                if multipliers:
                    result["um2_per_multiplier"] = result["area_um2"] / multipliers
            else:
                device = fpga.DEVICES[target]
                result = fpga.place_and_route(
                    design,
                    device,
                    folder,
                    mhz=options["clock_mhz"],
                    seeds=options["seeds"],
                    step=step,
                )
            return {
                "target": target,
                "design": design.name,
                **(shown or {}),
                "multipliers": multipliers,
                **options,
                **result,
            }

        # Two runs of one design would work in one folder; the second finds the first one's result.
        with alone(self.output / "work" / f"{name}.lock"):
            file = self.output / f"{name}.json"
            if target != ASIC or self.placement is None:
                return kept(file, design.key(**options), make)
            if not (self.output / "work" / name / "netlist.v").exists():
                file.unlink(missing_ok=True)  # a result alone cannot be placed
            result = kept(file, design.key(**options), make)
            return self._placed(self.placement, design, result, multipliers, step)

    def _emptied(self, name: str) -> Path:
        """Return the empty folder of a run, whose result before goes first: its files are gone."""
        (self.output / f"{name}.json").unlink(missing_ok=True)
        folder = (self.output / "work" / name).resolve()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def _placed(
        self,
        placement: Placement,
        design: Design,
        mapped: dict[str, Any],
        multipliers: int | None,
        step: Callable[[str], None],
    ) -> dict[str, Any]:
        """Return the result of a mapped design, placed."""
        name = f"placed-{design.name}"
        key = placement.key()

        def make() -> dict[str, Any]:
            folder = self._emptied(name)
            placed = place_design(
                design,
                mapped,
                self.output / "work" / f"{ASIC}-{design.name}",
                placement.lef,
                placement.options,
                folder,
                mhz=mapped["clock_mhz"],
                step=step,
            )
            step("picture")
            path = placed.timing.paths[0] if placed.timing.paths else None
            title = f"{design.name}: {placed.result['placed_mm2']:.4f} mm2"
            save(layout_figure(placed.layout, path, title), self.output / f"{name}.png")
            result = {**mapped, **key, **placed.result}
            del result["key"]
            if multipliers:
                die = 1e6 * placed.result["placed_mm2"]
                result["um2_per_multiplier_placed"] = die / multipliers
            return result

        return kept(self.output / f"{name}.json", design.key(mapped=mapped["key"], **key), make)

    def _asic_options(self) -> dict[str, Any]:
        if not is_plain(self.output.resolve()):
            raise InputError(
                f"the results go to {str(self.output.resolve())!r}, a path that ABC cannot take: "
                "choose with --output a folder of letters, digits and . / + @ - _"
            )
        files = macros.macro_files(self.macros) if self.macros else []
        return {
            "clock_mhz": self.mhz or 1000.0,
            "flatten": self.flatten,
            "one_port": self.one_port,
            "full_adders": self.full_adders,
            "flow": [
                source_hash(part)
                for part in (adders, asic, cells, fanout, memory_shape, scale, sram, timing)
            ],
            "tools": versions("pyosys", timing=has_opensta()),
            "libraries": [(path.name, hash_of(path)) for path in (*self.liberty, *files)],
        }

    def _fpga_options(self, target: str) -> dict[str, Any]:
        device = fpga.DEVICES[target]
        return {
            "clock_mhz": self.mhz or 120.0,
            "part": device.part,
            "seeds": self.seeds,
            "flow": [source_hash(part) for part in (fpga, output_registers)],
            "tools": versions("pyosys", device.package),
        }
