"""Mapped netlists to place: one of cells only, one with memories."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dtqatten.synth.cells import CellLibrary
from dtqatten.synth.design import Design
from dtqatten.synth.flow import ASIC, Flow
from dtqatten.synth.place.floorplan import outline_of
from dtqatten.synth.place.layout import Layout
from dtqatten.synth.place.lef import Geometry, lef_files, read_lef
from dtqatten.synth.place.memories import memory_outlines
from dtqatten.synth.place.netlist import read_netlist

#: A pipeline of adders in modules of its own, and a port that another one copies.
ADDERS = """module stage(input clk, input [7:0] a, b, output reg [7:0] y);
always @(posedge clk) y <= a + b; endmodule
module adders(input clk, rst, input [7:0] a, b, output [7:0] y, z, output [7:0] copy, output one);
wire [7:0] p, q; assign copy = a; assign one = 1'b1; assign z = y;
stage first(.clk(clk), .a(a), .b(b), .y(p)); stage second(.clk(clk), .a(p), .b(b), .y(q));
stage third(.clk(clk), .a(p), .b(q), .y(y)); endmodule
"""
#: Two memories of two macros side by side, beside some gates.
STORES = """module store(input clk, we, input [4:0] at, input [15:0] d, output reg [15:0] q);
reg [15:0] words [0:31];
always @(posedge clk) if (we) words[at] <= d; else q <= words[at]; endmodule
module stores(input clk, rst, we, input [4:0] at, input [15:0] d, output [15:0] q);
wire [15:0] p; reg [15:0] r; always @(posedge clk) r <= p ^ d;
store one(.clk(clk), .we(we), .at(at), .d(d), .q(p));
store two(.clk(clk), .we(we), .at(at), .d(r), .q(q)); endmodule
"""
HALO = 1.0


@dataclass
class Mapped:
    """A mapped design: what synthesis said, and its folder."""

    design: Design
    result: dict[str, Any]
    folder: Path
    lef: Path

    def layout(self, work: Path, *, density: float = 0.7, aspect: float = 1.0) -> Layout:
        """Return a layout in which nothing has its place yet."""
        for name in ("netlist.v", *(path.name for path in self.folder.glob("*.lib"))):
            (work / name).write_bytes((self.folder / name).read_bytes())
        cells = read_lef(lef_files([self.lef]), work)
        library = CellLibrary.open(sorted(work.glob("cells_*.lib")), work)
        first = library.buffers[0]
        netlist = read_netlist(
            work, "netlist.v", self.design.top, (first.cell, first.input, first.output)
        )
        memories = memory_outlines(self.result["memories"], cells, HALO)
        outlines = {name: outline for name, outline in cells.items() if outline.core} | memories
        geometry = Geometry.of(cells, {name for name in outlines if name not in memories})
        used = [outlines[kind] for kind in netlist.kinds]
        plan = outline_of(
            sum(cell.width * cell.height for cell in used if cell.core),
            [(cell.width, cell.height) for cell in used if not cell.core],
            density=density,
            aspect=aspect,
            halo=HALO,
            row=geometry.row,
            site=geometry.site,
        )
        cells_, ports = len(netlist.kinds), len(netlist.ports)
        upright = np.zeros((cells_, 2), dtype=bool)
        return Layout(netlist, outlines, plan, np.zeros((cells_, 2)), upright, np.zeros((ports, 2)))


def mapped(text: str, top: str, liberty: Path, macros: Path | None, lef: Path, at: Path) -> Mapped:
    design = Design(top, top, {"design.v": text})
    Flow(at, (liberty,), macros).run(ASIC, design)
    result = json.loads((at / f"{ASIC}-{top}.json").read_text())
    return Mapped(design, result, at / "work" / f"{ASIC}-{top}", lef)


@pytest.fixture(scope="session")
def adders(sized_liberty: Path, lef: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapped:
    at = tmp_path_factory.mktemp("adders")
    return mapped(ADDERS, "adders", sized_liberty, None, lef, at)


@pytest.fixture(scope="session")
def stores(
    sized_liberty: Path, macros: Path, lef: Path, tmp_path_factory: pytest.TempPathFactory
) -> Mapped:
    at = tmp_path_factory.mktemp("stores")
    return mapped(STORES, "stores", sized_liberty, macros, lef, at)
