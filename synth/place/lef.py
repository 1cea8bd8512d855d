"""Geometry of cells and macros, from LEF files."""

import gzip
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import reduce
from math import gcd
from pathlib import Path

from dtqatten.synth.tools import InputError, SynthError, run

__all__ = ["Geometry", "Outline", "lef_files", "read_lef"]

DUMP = Path(__file__).with_name("lef_dump.py")

#: Manufacturing grids are whole nm.
NM = 1000


@dataclass(frozen=True)
class Outline:
    """A cell in its upright orientation, um; the origin is its lower left corner.

    Attributes
    ----------
    core : bool
        Stands in rows; else it is a macro.
    pins : dict
        Centre of each signal pin.
    outputs : frozenset of str
        Which of them are outputs.
    parts : tuple of (float, float)
        Lower left corners of the macros that a block of several is made of.
    more : dict
        Further places that a pin of such a block connects.
    """

    width: float
    height: float
    core: bool
    pins: dict[str, tuple[float, float]]
    outputs: frozenset[str]
    parts: tuple[tuple[float, float], ...] = ()
    more: dict[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Geometry:
    """What a library's cells look like, um.

    Attributes
    ----------
    cells : dict of str to Outline
    row, site : float
        Height of a row, and the grid of cells in it.
    """

    cells: dict[str, Outline]
    row: float
    site: float

    @classmethod
    def of(cls, cells: dict[str, Outline], used: Iterable[str]) -> "Geometry":
        """Find rows and sites: height and common grid of the cells that a library has.

        Raises
        ------
        InputError
            If one of the cells ``used`` is missing, or they do not stand in rows of one height.
        """
        names = sorted(used)
        missing = [name for name in names if name not in cells]
        if missing:
            raise InputError(
                f"no LEF geometry of {', '.join(missing[:5])}"
                + (f" and {len(missing) - 5} more cells" if len(missing) > 5 else "")
                + ": give the LEF files of the cells in --liberty with --lef"
            )
        core = [cells[name] for name in names if cells[name].core]
        heights = {round(cell.height * NM) for cell in core}
        if len(heights) != 1:
            raise InputError(
                f"cells of {len(heights)} heights in um, {sorted(h / NM for h in heights)}: "
                "placement takes cells of one row"
            )
        site = reduce(gcd, (round(cell.width * NM) for cell in core))
        return cls(cells, heights.pop() / NM, site / NM)


def lef_files(paths: Sequence[Path]) -> list[Path]:
    """Return the LEF files among some files and folders.

    Raises
    ------
    InputError
        If one does not exist, or a folder has none.
    """
    files: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted((*path.glob("*.lef"), *path.glob("*.lef.gz")))
            if not inside:
                raise InputError(f"no *.lef or *.lef.gz in {path}: give a folder of LEF files")
            files += inside
        elif path.exists():
            files.append(path)
        else:
            raise InputError(f"cannot read the LEF file {path}: there is none")
    return files


def read_lef(files: Sequence[Path], folder: Path) -> dict[str, Outline]:
    """Read the cells of LEF files, plain or compressed by gzip; work in ``folder``.

    Raises
    ------
    InputError
        If a file is no LEF file, there is no cell in them, or two cells of one name differ.
    """
    plain = []
    for number, path in enumerate(files):
        try:
            content = path.read_bytes()
            if path.suffix == ".gz":
                content = gzip.decompress(content)
        except (OSError, EOFError) as error:
            raise InputError(f"cannot read the LEF file {path}: {error}") from None
        plain.append(f"geometry_{number}.lef")
        (folder / plain[-1]).write_bytes(content)
    try:
        run([sys.executable, str(DUMP), "lef.json", *plain], folder, "lef.log")
    except SynthError as error:
        names = ", ".join(path.name for path in files)
        raise InputError(f"cannot read the LEF files {names}: {error}") from None
    cells: dict[str, Outline] = {}
    for path, found in zip(files, json.loads((folder / "lef.json").read_text()), strict=True):
        for cell in found:
            dx, dy = cell["origin"]
            width, height = cell["size"]
            outline = Outline(
                width,
                height,
                core=cell["class"].startswith("CORE"),
                pins={name: (x + dx, y + dy) for name, (_, x, y) in cell["pins"].items()},
                outputs=frozenset(n for n, (way, _, _) in cell["pins"].items() if way == "OUTPUT"),
            )
            name = cell["name"]
            if cells.setdefault(name, outline) != outline:
                raise InputError(f"{path.name} has another geometry of {name} than a file before")
    if not cells:
        raise InputError("no cell in the LEF files: give the cells' beside the technology's")
    return cells
