"""A cell library and SRAM macros small enough to read."""

from pathlib import Path

import pytest

from small_cells import HEAD, LIBERTY


@pytest.fixture(scope="session")
def liberty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inverter, NAND, NOR, buffer and flip-flop."""
    path = tmp_path_factory.mktemp("liberty") / "cells.lib"
    path.write_text(LIBERTY)
    return path


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
