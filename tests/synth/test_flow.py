"""Designs through the whole flow, on a library of a handful of cells."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from dtqatten.synth.design import Design
from dtqatten.synth.flow import ASIC, Flow, hash_of
from dtqatten.synth.report import area_figure, parts, table
from dtqatten.synth.tools import SynthError, has_opensta

#: Two registers with a NAND between them; below, two of those.
LEAF = """module leaf(input clk, rst, a, b, output reg y); reg c, d;
always @(posedge clk) begin c <= a; d <= b; y <= ~(c & d); end endmodule
"""
PAIR = "module pair(input clk, rst, a, b, output y, z);" + "".join(
    f"leaf {name}(.clk(clk), .rst(rst), .a({a}), .b(b), .y({y}));"
    for name, a, y in (("one", "a", "y"), ("two", "y", "z"))
)
LEAF_AREA = 3 * 5.0 + 2.0
#: A memory of 32 bytes beside one of 4 bits.
MEMORY = """module store(input clk, rst, we, input [4:0] w, r, input [7:0] d, output reg [7:0] q,
output reg p); reg [7:0] words [0:31]; reg bits [0:3];
always @(posedge clk) begin if (we) words[w] <= d; q <= words[r];
if (we) bits[w[1:0]] <= d[0]; p <= bits[r[1:0]]; end endmodule
"""

timed = pytest.mark.skipif(not has_opensta(), reason="OpenSTA is not installed")


def design(text: str, top: str) -> Design:
    return Design(top, top, {"design.v": text})


def test_area_by_module(liberty: Path, tmp_path: Path) -> None:
    flow = Flow(tmp_path, (liberty,))
    result = flow.run(ASIC, design(LEAF + PAIR + "endmodule", "pair"), multipliers=2)
    assert result["modules"] == {
        "pair": {"count": 1, "um2": 0.0},
        "leaf": {"count": 2, "um2": 2 * LEAF_AREA},
    }
    assert result["area_um2"] == 2 * LEAF_AREA
    assert result["um2_per_multiplier"] == LEAF_AREA
    assert result["flip_flop_um2"] == 30.0
    assert result["tools"]["pyosys"]
    assert json.loads((tmp_path / "asic-pair.json").read_text()) == json.loads(json.dumps(result))
    assert parts(result) == {"2 leaf": 2 * LEAF_AREA, "1 pair": 0.0}
    assert table(ASIC, [result]).row_count == 1
    assert len(area_figure([result]).axes) == 1


def test_files_and_folders_may_be_called_anything(
    liberty: Path, odd_folder: Path, tmp_path: Path
) -> None:
    """Scripts hold names of our own only; two libraries may have one name."""
    libraries = [odd_folder / folder / "the [cells]; $x.lib" for folder in ("a", "b")]
    head, *gates = liberty.read_text().split("cell(")
    for path, half in zip(libraries, (gates[:4], gates[4:]), strict=True):
        path.parent.mkdir()
        path.write_text("cell(".join([head, *half]) + "}" * (half != gates[4:]))
    source = odd_folder / "a leaf; $x.v"
    source.write_text(LEAF)
    given = Design.of_files([source], "leaf", "clk", ["rst"])
    with pytest.raises(ValueError, match="a path that ABC cannot take: choose with --output"):
        Flow(odd_folder, tuple(libraries)).run(ASIC, given)
    output = tmp_path / "results"
    result = Flow(output, tuple(libraries)).run(ASIC, given)
    assert result["area_um2"] == LEAF_AREA
    assert result.get("fmax_mhz", 1) > 0
    (odd_folder / "b" / libraries[1].name).write_text("changed")
    hash_of.cache_clear()
    with pytest.raises(SynthError):  # not taken for what was synthesized before
        Flow(output, tuple(libraries)).run(ASIC, given)


@pytest.mark.parametrize("name", ["a b", "a;b", "$a", "[a]", "1a", ""])
def test_names_that_scripts_cannot_hold_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "leaf.v").write_text(LEAF)
    for option, names in (
        ("top", (name, "clk", ["rst"])),
        ("clock", ("leaf", name, ["rst"])),
        ("ideal", ("leaf", "clk", [name])),
    ):
        with pytest.raises(
            ValueError, match=rf"--{option} is {re.escape(repr(name))}: give a name"
        ):
            Design.of_files([tmp_path / "leaf.v"], *names)


@timed
def test_timing_of_a_path(liberty: Path, tmp_path: Path) -> None:
    """Clock to output 0.1, NAND 0.05, setup 0.1 ns, and 0.001 ns for each of two 1 fF pins."""
    result = Flow(tmp_path, (liberty,)).run(ASIC, design(LEAF, "leaf"))
    assert result["slack_ns"] == pytest.approx(1 - 0.252, abs=0.002)
    assert result["fmax_mhz"] == pytest.approx(1000 / 0.252, rel=0.01)
    assert result["paths"][0]["end"] == "y"
    assert result["efforts"] == {}


@timed
def test_an_impossible_clock_takes_every_effort_that_helps(liberty: Path, tmp_path: Path) -> None:
    result = Flow(tmp_path, (liberty,), mhz=1e5).run(ASIC, design(LEAF, "leaf"))
    assert result["slack_ns"] < 0
    assert result["fmax_mhz"] == pytest.approx(1000 / 0.252, rel=0.01)


def test_memories_become_macros_where_these_are_smaller(
    liberty: Path, macros: Path, tmp_path: Path
) -> None:
    result = Flow(tmp_path, (liberty,), macros).run(ASIC, design(MEMORY, "store"))
    assert result["memories"] == {
        "sram_32x8_1r1w": {
            "count": 1,
            "um2": 150.0,
            "macro": "ram_32x8",
            "ports": 2,
            "across": 1,
            "deep": 1,
            "access_pj": 0.0,
        }
    }
    assert result["sram_um2"] == 150.0
    # The small memory, its output, and nothing else.
    assert result["flip_flop_um2"] == 5 * 5.0
    if has_opensta():
        assert result["fmax_mhz"] < 1000 / 0.3
    # Read and written at one address it needs a port only, wherever the address comes from.
    one = MEMORY.replace("q <= words[r];", "if (!we) q <= words[w];")
    result = Flow(tmp_path, (liberty,), macros).run(ASIC, design(one, "store"))
    assert {name: kind["um2"] for name, kind in result["memories"].items()} == {
        "sram_32x8_1rw": 100.0
    }
    # No second port is modelled where only memories with one become macros.
    single = Flow(tmp_path, (liberty,), macros, one_port=True)
    assert single.run(ASIC, design(MEMORY, "store"))["memories"] == {}
    assert list(single.run(ASIC, design(one, "store"))["memories"]) == ["sram_32x8_1rw"]
    # A macro gives the word before the write, never the one that is being written.
    seen = MEMORY.replace("q <= words[r];", "q <= we && w == r ? d : words[r];")
    result = Flow(tmp_path, (liberty,), macros).run(ASIC, design(seen, "store"))
    assert result["memories"] == {}
    assert result["flip_flop_um2"] > 32 * 8 * 5.0
    without = Flow(tmp_path, (liberty,)).run(ASIC, design(MEMORY, "store"))
    assert without["memories"] == {}
    assert without["flip_flop_um2"] == (32 * 8 + 8 + 5) * 5.0


def test_results_are_kept_until_something_changes(liberty: Path, tmp_path: Path) -> None:
    done = []

    def run(mhz: float, text: str) -> None:
        Flow(tmp_path, (liberty,), mhz=mhz).run(ASIC, design(text, "leaf"), step=done.append)

    for mhz, text in ((1000, LEAF), (500, LEAF), (500, LEAF.replace("~", ""))):
        done.clear()
        run(mhz, text)
        assert done
        done.clear()
        run(mhz, text)
        assert not done
    (tmp_path / "asic-leaf.json").write_text('{"key": ')
    run(500, LEAF)
    assert done


def test_an_interrupted_run_leaves_no_result_of_the_run_before(
    liberty: Path, tmp_path: Path
) -> None:
    """Its folder holds another netlist then, which must not be placed as that of the result."""

    def run(mhz: float, step: Callable[[str], None]) -> None:
        Flow(tmp_path, (liberty,), mhz=mhz).run(ASIC, design(LEAF, "leaf"), step=step)

    def interrupt(_: str) -> None:
        raise KeyboardInterrupt

    run(1000, lambda _: None)
    (tmp_path / "placed-leaf.json").write_text("{}")
    with pytest.raises(KeyboardInterrupt):
        run(500, interrupt)
    assert not list(tmp_path.glob("*.json"))
    done: list[str] = []
    run(1000, done.append)
    assert done


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("module leaf(input clk; endmodule", "syntax error"),
        ("module other(); endmodule", "Module `leaf' not found"),
        ("module leaf(input clk); gone part(.clk(clk)); endmodule", "gone"),
    ],
)
def test_wrong_verilog_is_refused(liberty: Path, tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SynthError, match=says):
        Flow(tmp_path, (liberty,)).run(ASIC, design(text, "leaf"))
    assert not list(tmp_path.glob("*.json"))


def test_a_library_without_cells_is_refused(macros: Path, tmp_path: Path) -> None:
    (library,) = macros.glob("*32x8.lib")
    with pytest.raises(SynthError, match=r"no buffer in ram_32x8\.lib"):
        Flow(tmp_path, (library,)).run(ASIC, design(LEAF, "leaf"))
    with pytest.raises(SynthError, match="cannot read"):
        Flow(tmp_path, (tmp_path / "none.lib",)).run(ASIC, design(LEAF, "leaf"))


@timed
def test_another_clock_port_is_asked_for(liberty: Path, tmp_path: Path) -> None:
    text = LEAF.replace("clk", "ck")
    with pytest.raises(SynthError, match="leaf has no port clk: name its clock"):
        Flow(tmp_path, (liberty,)).run(ASIC, design(text, "leaf"))
    other = Design("leaf", "leaf", {"design.v": text}, clock="ck")
    assert Flow(tmp_path, (liberty,)).run(ASIC, other)["fmax_mhz"]


@pytest.mark.parametrize("target", ["ecp5", "ice40"])
def test_fpgas(tmp_path: Path, target: str) -> None:
    result = Flow(tmp_path).run(target, design(LEAF, "leaf"))
    assert result["fits"]
    assert result["used"]["lut"] >= 1
    assert result["fmax_mhz"] > 100
    assert table(target, [result]).row_count == 1


def test_seeds_are_tried_until_the_clock_rate_is_reached(tmp_path: Path) -> None:
    def run(mhz: float) -> dict:
        return Flow(tmp_path, mhz=mhz, seeds=3).run("ecp5", design(LEAF, "leaf"))

    reached, missed = run(50), run(5000)
    assert len(reached["tried_mhz"]) == 1
    assert len(missed["tried_mhz"]) == 3
    assert missed["fmax_mhz"] == max(missed["tried_mhz"])
    assert missed["fmax_mhz"] == missed["tried_mhz"][missed["seed"] - 1]


def test_what_an_fpga_cannot_hold(tmp_path: Path) -> None:
    text = "module wide(input clk, input [300:0] a, output [300:0] y); assign y = ~a; endmodule"
    result = Flow(tmp_path).run("ice40", design(text, "wide"))
    assert not result["fits"]
    assert result["used"]["pins"] == 603
