"""LEF files: geometry read by a library, checked against the text."""

import gzip
import re
from pathlib import Path

import pytest

from dtqatten.synth.place.lef import Geometry, lef_files, read_lef
from dtqatten.synth.tools import InputError


def test_sizes_and_pins_are_those_of_the_text(lef: Path, tmp_path: Path) -> None:
    cells = read_lef(lef_files([lef]), tmp_path)
    text = (lef / "cells.lef").read_text()
    sizes = re.findall(r"MACRO (\w+)\n CLASS CORE ;\n.*\n SIZE (\S+) BY (\S+) ;", text)
    assert len(sizes) == 8
    for name, width, height in sizes:
        assert (cells[name].width, cells[name].height) == (float(width), float(height))
        assert cells[name].core
    # A third of the width each; y between 0.2 and 0.4.
    assert cells["NAND2"].pins["B"] == pytest.approx((1.0, 0.3))
    assert cells["NAND2"].outputs == {"Y"}
    macro = cells["ram_32x8"]
    assert not macro.core
    assert (macro.width, macro.height, len(macro.pins)) == (10.0, 10.0, 8 + 8 + 5 + 1)
    geometry = Geometry.of(cells, ["INV", "BUF", "DFF"])
    assert (geometry.row, geometry.site) == (1.0, 0.5)


def test_what_is_missing_is_named(lef: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no LEF geometry of XOR2: give the LEF files of the"):
        Geometry.of(read_lef(lef_files([lef]), tmp_path), ["INV", "XOR2"])
    with pytest.raises(InputError, match=r"none\.lef: there is none"):
        lef_files([tmp_path / "none.lef"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"no \*\.lef or \*\.lef\.gz in"):
        lef_files([tmp_path / "empty"])


@pytest.mark.parametrize("text", ["no LEF at all", "MACRO A\n CLASS CORE ;\n SIZE 1 BY\n", ""])
def test_what_is_no_lef_file_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.lef"
    path.write_text(text)
    with pytest.raises(InputError, match=r"cannot read the LEF files bad\.lef|no cell in the LEF"):
        read_lef([path], tmp_path)
    packed = tmp_path / "bad.lef.gz"
    packed.write_text(text or "-")
    with pytest.raises(InputError, match=r"cannot read the LEF file .*bad\.lef\.gz"):
        read_lef([packed], tmp_path)


def test_cells_of_two_heights_or_two_geometries_are_refused(lef: Path, tmp_path: Path) -> None:
    cells = read_lef(lef_files([lef]), tmp_path)
    text = (lef / "cells.lef").read_text()
    taller = tmp_path / "taller.lef"
    taller.write_text(text.replace("SIZE 1.0 BY 1.0", "SIZE 1.0 BY 2.0"))
    other = read_lef([taller], tmp_path)
    with pytest.raises(InputError, match="cells of 2 heights"):
        Geometry.of(other, ["INV", "BUF"])
    with pytest.raises(InputError, match=r"taller\.lef has another geometry of INV"):
        read_lef([lef / "cells.lef", taller], tmp_path)
    packed = tmp_path / "same.lef.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert read_lef([packed], tmp_path)["DFF"] == cells["DFF"]
