"""A cell library and SRAM macros small enough to read."""

import gzip
from pathlib import Path

import pytest

from small_cells import HEAD, LIBERTY, gate


@pytest.fixture(scope="session")
def liberty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inverter, NAND, NOR, buffer and flip-flop."""
    path = tmp_path_factory.mktemp("liberty") / "cells.lib"
    path.write_text(LIBERTY)
    return path


@pytest.fixture(scope="session")
def sized_liberty(liberty: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same cells, and gates four times as strong."""
    path = tmp_path_factory.mktemp("sized_liberty") / "cells.lib"
    strong = (
        ("INV_X4", 2.0, "!A", "A", 4.0),
        ("BUF_X4", 3.0, "A", "A", 4.0),
        ("NAND2_X4", 4.0, "!(A & B)", "AB", 4.0),
    )
    cells = "".join(gate(*each) for each in strong)
    path.write_text(liberty.read_text().rstrip().removesuffix("}") + cells + "}\n")
    return path


#: Widths of cells that stand in rows of 1 um: their areas.
WIDTHS = {
    "INV": 1.0,
    "BUF": 1.5,
    "NAND2": 2.0,
    "NOR2": 2.0,
    "DFF": 5.0,
    "INV_X4": 2.0,
    "BUF_X4": 3.0,
    "NAND2_X4": 4.0,
}
PINS = {"INV": "AY", "BUF": "AY", "NAND2": "ABY", "NOR2": "ABY", "DFF": "CDQ"}


def lef_cell(name: str, kind: str, width: float, height: float, pins: dict[str, str]) -> str:
    """Return a LEF cell; its pins, by direction, are at equal distances from left to right."""
    text = f"MACRO {name}\n CLASS {kind} ;\n ORIGIN 0 0 ;\n SIZE {width} BY {height} ;\n"
    for i, (pin, way) in enumerate(pins.items()):
        x = (i + 0.5) * width / len(pins)
        text += (
            f" PIN {pin}\n  DIRECTION {way} ;\n  USE SIGNAL ;\n  PORT\n   LAYER metal1 ;\n"
            f"    RECT {x - 0.05:.3f} 0.2 {x + 0.05:.3f} 0.4 ;\n  END\n END {pin}\n"
        )
    return text + f"END {name}\n\n"


@pytest.fixture(scope="session")
def lef(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the geometry of all these cells, and of the macros."""
    folder = tmp_path_factory.mktemp("lef")
    head = 'VERSION 5.7 ;\nBUSBITCHARS "[]" ;\nDIVIDERCHAR "/" ;\n\n'
    cells = "".join(
        lef_cell(
            name,
            "CORE",
            width,
            1.0,
            {p: "OUTPUT" if p in "YQ" else "INPUT" for p in PINS[name.removesuffix("_X4")]},
        )
        for name, width in WIDTHS.items()
    )
    (folder / "cells.lef").write_text(head + cells + "END LIBRARY\n")
    for words, width, area in ((32, 8, 100.0), (64, 8, 180.0)):
        pins = {f"rd_out[{i}]": "OUTPUT" for i in range(width)}
        pins |= {f"wd_in[{i}]": "INPUT" for i in range(width)}
        pins |= {f"addr_in[{i}]": "INPUT" for i in range((words - 1).bit_length())}
        name = f"ram_{words}x{width}"
        text = lef_cell(name, "BLOCK", area / 10, 10.0, {**pins, "clk": "INPUT"})
        with gzip.open(folder / f"{name}.lef.gz", "wt") as file:
            file.write(f"{head}{text}END LIBRARY\n")
    return folder


def macro(words: int, width: int, area: float) -> str:
    address = (words - 1).bit_length()
    setup = """timing() { related_pin : clk; timing_type : setup_rising;
rise_constraint(scalar) { values("0.05"); } fall_constraint(scalar) { values("0.05"); } }"""
    ports = (("addr_in", address), ("wd_in", width))
    return f"""library(ram_{words}x{width}) {{ {HEAD}
cell(ram_{words}x{width}) {{ area : {area};
memory() {{ type : ram; address_width : {address}; word_width : {width}; }}
pin(clk) {{ direction : input; capacitance : 20.0; clock : true; }}
bus(rd_out) {{ direction : output; timing() {{ related_pin : "clk"; timing_type : rising_edge;
cell_rise(scalar) {{ values("0.3"); }} cell_fall(scalar) {{ values("0.25"); }}
rise_transition(line) {{ index_1("5, 500"); values("0.01, 0.2"); }}
fall_transition(line) {{ index_1("5, 500"); values("0.01, 0.2"); }} }} }}
{"".join(f"bus({n}) {{ direction : input; capacitance : 5.0; {setup} }}" for n, _ in ports)} }} }}
"""


@pytest.fixture(scope="session")
def macros(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of two SRAM macros."""
    folder = tmp_path_factory.mktemp("sram")
    for words, width, area in ((32, 8, 100.0), (64, 8, 180.0)):
        (folder / f"ram_{words}x{width}.lib").write_text(macro(words, width, area))
    return folder
