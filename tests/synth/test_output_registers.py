"""Flip-flops that go into block RAMs and multipliers, and those that must not."""

import json
import re
from pathlib import Path

import pytest

from dtqatten.synth.output_registers import merge_output_registers
from dtqatten.synth.tools import yosys

#: A word read, and a register behind it.
MEMORY = """module store(input clk, rst, we, on, input [9:0] w, r, input [{width}:0] d,
output reg [{width}:0] q, output [{width}:0] other);
reg [{width}:0] words [0:{depth}], word; assign other = {other};
always @(posedge clk) begin if (we) words[w] <= d; word <= words[r]; {register} end endmodule
"""

#: A product, and a register behind it.
PRODUCT = """module store(input clk, rst, on, input [17:0] a, b, output reg [35:0] q,
output [35:0] other); wire [35:0] product = a * b; assign other = {other};
always @(posedge clk) begin {register} end endmodule
"""


def merged(tmp_path: Path, register: str, other: str = "0", width: int = 17) -> tuple[int, dict]:
    """Flip-flops that went into the memory, and the module."""
    depth = 1023 if width < 18 else 511
    text = MEMORY.format(width=width, depth=depth, register=register, other=other)
    return merged_module(tmp_path, text)


def merged_module(tmp_path: Path, text: str) -> tuple[int, dict]:
    """Flip-flops that went of a design's, and its module."""
    (tmp_path / "store.v").write_text(text)
    yosys(
        "read_verilog store.v\nsynth_ecp5 -no-rw-check -top store\nwrite_json netlist.json\n",
        tmp_path,
        "logic",
    )
    netlist = json.loads((tmp_path / "netlist.json").read_text())
    cells = netlist["modules"]["store"]["cells"]
    before = sum(cell["type"] == "TRELLIS_FF" for cell in cells.values())
    count = merge_output_registers(netlist)
    assert before - count == sum(cell["type"] == "TRELLIS_FF" for cell in cells.values())
    # Everything that is read is driven, and by one output.
    outputs = [
        bit
        for cell in cells.values()
        for port, bits in cell["connections"].items()
        if cell["port_directions"][port] == "output"
        for bit in bits
    ]
    assert len(outputs) == len(set(outputs))
    assert set(netlist["modules"]["store"]["ports"]["q"]["bits"]) <= set(outputs)
    assert not merge_output_registers(netlist)  # all there are
    return count, netlist["modules"]["store"]


@pytest.mark.parametrize("width", [17, 35])
@pytest.mark.parametrize(
    ("register", "enable"), [("q <= word;", None), ("if (on) q <= word;", "on")]
)
def test_registers_go_into_the_memory(tmp_path, register, enable, width) -> None:
    count, module = merged(tmp_path, register, width=width)
    assert count == width + 1
    (ram,) = [cell for cell in module["cells"].values() if cell["type"] == "DP16KD"]
    outputs = {port for port in ram["connections"] if re.match(r"DO[AB]\d", port)}
    driven = [bit for port in outputs for bit in ram["connections"][port]]
    assert set(module["ports"]["q"]["bits"]) <= set(driven)
    on = module["ports"]["on"]["bits"] if enable else ["1"]
    halves = "AB" if width > 17 else "B"
    for half in halves:
        assert ram["parameters"][f"REGMODE_{half}"] == "OUTREG"
        assert ram["connections"][f"OCE{half}"] == on


def test_the_second_of_two_registers_stays(tmp_path: Path) -> None:
    count, _ = merged(tmp_path, "last <= word; q <= last;", "0; reg [17:0] last")
    assert count == 18


@pytest.mark.parametrize(
    ("register", "other"),
    [
        ("if (rst) q <= 0; else q <= word;", "0"),
        ("if (!on) q <= word;", "0"),
        ("q <= word + 1;", "0"),
        ("q <= word;", "word"),
        ("q[8:0] <= word[8:0]; if (on) q[17:9] <= word[17:9];", "0"),
        ("q[8:0] <= word[8:0]; q[17:9] <= ~word[17:9];", "0"),
    ],
    ids=["reset", "inverted", "logic", "read too", "two enables", "some"],
)
def test_others_stay(tmp_path: Path, register: str, other: str) -> None:
    count, module = merged(tmp_path, register, other)
    assert count == 0
    for cell in module["cells"].values():
        if cell["type"] == "DP16KD":
            assert cell["parameters"]["REGMODE_A"] == cell["parameters"]["REGMODE_B"] == "NOREG"


@pytest.mark.parametrize(
    ("register", "enable"), [("q <= product;", None), ("if (on) q <= product;", "on")]
)
def test_registers_go_into_the_multiplier(tmp_path, register, enable) -> None:
    count, module = merged_module(tmp_path, PRODUCT.format(register=register, other="0"))
    assert count == 36
    (product,) = [cell for cell in module["cells"].values() if cell["type"] == "MULT18X18D"]
    connections, parameters = product["connections"], product["parameters"]
    assert module["ports"]["q"]["bits"] == [connections[f"P{i}"][0] for i in range(36)]
    assert connections["CLK0"] == module["ports"]["clk"]["bits"]
    assert connections["CE0"] == (module["ports"]["on"]["bits"] if enable else ["1"])
    assert connections["RST0"] == ["0"]
    assert {parameters[f"REG_OUTPUT_{what}"] for what in ("CLK", "CE", "RST")} == {
        "CLK0",
        "CE0",
        "RST0",
    }


@pytest.mark.parametrize(
    ("register", "other"),
    [
        ("if (rst) q <= 0; else q <= product;", "0"),
        ("q <= product + 1;", "0"),
        ("q <= product;", "product"),
    ],
    ids=["reset", "logic", "read too"],
)
def test_others_stay_behind_the_multiplier(tmp_path: Path, register: str, other: str) -> None:
    count, module = merged_module(tmp_path, PRODUCT.format(register=register, other=other))
    assert count == 0
    (product,) = [cell for cell in module["cells"].values() if cell["type"] == "MULT18X18D"]
    assert "REG_OUTPUT_CLK" not in product["parameters"]
