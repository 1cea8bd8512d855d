"""Yosys and ABC: run in a directory, errors reported, time limited."""

from pathlib import Path

import pytest

from dtqatten.sim.proofs.yosys import abc, run_yosys

COUNTER = """
module counter(input clk, output differ);
reg [23:0] count = 0;
always @(posedge clk) count <= count + 1;
assign differ = &count;
endmodule
"""


def test_a_script_reads_and_writes_its_directory(tmp_path: Path) -> None:
    (tmp_path / "counter.v").write_text(COUNTER)
    run_yosys("read_verilog counter.v\nproc\nwrite_rtlil counter.il\n", tmp_path)
    assert "module \\counter" in (tmp_path / "counter.il").read_text()


def test_folders_may_be_called_anything(odd_folder: Path) -> None:
    """ABC, which Yosys calls by a shell, keeps its files where temporary ones go."""
    (odd_folder / "counter.v").write_text(COUNTER)
    run_yosys("read_verilog counter.v\nsynth\nabc\nwrite_rtlil counter.il\n", odd_folder)
    assert (odd_folder / "counter.il").stat().st_size


def test_errors_are_reported(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"Yosys failed:\n(.|\n)*nothing\.v"):
        run_yosys("read_verilog nothing.v", tmp_path)
    assert "nothing.aig" in abc("read_aiger nothing.aig", tmp_path, 10)


def test_what_takes_too_long_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "counter.v").write_text(COUNTER)
    steps = ["read_verilog counter.v", "synth", "aigmap", "setundef -zero -init"]
    run_yosys("\n".join([*steps, "write_aiger -zinit c.aig"]), tmp_path)
    assert abc("read_aiger c.aig; print_stats", tmp_path, 60)
    assert abc("read_aiger c.aig; bmc3 -F 100000000", tmp_path, 0.5) == ""
