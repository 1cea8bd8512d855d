"""Standard-cell libraries: Liberty files, and the few cells of them that a flow must know."""

import gzip
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from dtqatten.synth.adders import FullAdder, full_adder
from dtqatten.synth.tools import InputError, yosys

__all__ = ["BufferCell", "CellLibrary"]


@dataclass(frozen=True, order=True)
class BufferCell:
    """A buffer: its area, cell and pins."""

    area: float
    cell: str
    input: str
    output: str


@dataclass(frozen=True)
class CellLibrary:
    """A standard-cell library at one corner.

    Attributes
    ----------
    files : tuple of Path
        Its Liberty files, unpacked.
    digest : str
        Hash of their content.
    buffers : tuple of Buffer
        From the smallest on.
    flip_flop_area : float
        Area of the smallest flip-flop, in the library's unit.
    adder : FullAdder or None
        The smallest full adder, if there is one.
    """

    files: tuple[Path, ...]
    digest: str
    buffers: tuple[BufferCell, ...]
    flip_flop_area: float
    adder: FullAdder | None = None

    @property
    def buffer(self) -> str:
        """The smallest buffer: it stands for what drives a block's inputs."""
        return self.buffers[0].cell

    @classmethod
    def open(cls, paths: list[Path], folder: Path) -> "CellLibrary":
        """Read Liberty files, plain or compressed by gzip; work in ``folder``.

        Raises
        ------
        SynthError
            If a file cannot be read, or there is no buffer or flip-flop in them.
        """
        digest = hashlib.sha256()
        files = []
        for number, path in enumerate(paths):
            try:
                content = path.read_bytes()
                if path.suffix == ".gz":
                    content = gzip.decompress(content)
            except (OSError, EOFError) as error:
                raise InputError(f"cannot read the Liberty file {path}: {error}") from None
            digest.update(content)
            # OpenSTA reads no compressed files. Names of our own: a script splits others at spaces.
            plain = folder / f"cells_{number}.lib"
            plain.write_bytes(content)
            files.append(plain)
        # Cells that Yosys does not understand are none that a flow must know.
        lenient = "-ignore_miss_func -ignore_buses"
        reads = "".join(f"read_liberty {lenient} {file.name}\n" for file in files)
        yosys(reads + "write_json cells.json\n", folder, "cells")
        cells = json.loads((folder / "cells.json").read_text())["modules"]
        buffers, flip_flops = [], []
        for name, cell in cells.items():
            area = float(cell["attributes"].get("area", 0))
            pins: dict[str, list[str]] = {"input": [], "output": [], "inout": []}
            for pin, port in cell["ports"].items():
                pins[port["direction"]].append(pin)
            match pins["input"], pins["output"]:
                case [a], [z] if area and cell["ports"][a]["bits"] == cell["ports"][z]["bits"]:
                    buffers.append(BufferCell(area, name, a, z))
            if any(part["type"].startswith("$_DFF_") for part in cell["cells"].values()):
                flip_flops.append(area)
        if not buffers or not flip_flops:
            missing = "buffer" if not buffers else "flip-flop"
            names = ", ".join(path.name for path in paths)
            raise InputError(
                f"no {missing} in {names}: give all files of a standard-cell library, "
                "--liberty FILE for each"
            )
        return cls(
            tuple(files),
            digest.hexdigest(),
            tuple(sorted(buffers)),
            min(flip_flops),
            full_adder(cells),
        )
