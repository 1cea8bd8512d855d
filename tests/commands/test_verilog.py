"""``dtqatten verilog``: what is written, under which names."""

import re

import pytest
from typer.testing import CliRunner

from dtqatten.cli import app


def run(*arguments: object):
    return CliRunner().invoke(app, ["verilog", "--preset", "tiny", *map(str, arguments)])


def test_split_is_the_same_text_a_file_a_module(tmp_path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run("--block", "array", "-o", whole, "--prefix", "mine_").exit_code == 0
    found = run("--block", "array", "-o", parts, "--prefix", "mine_", "--split")
    assert found.exit_code == 0, found.output
    assert "mine_array.f" in found.output
    text = (whole / "mine_array.v").read_text()
    listed = (parts / "mine_array.f").read_text().split()
    assert sorted(listed) == sorted(
        f"{name}.v" for name in re.findall(r"^module (\S+?) ?\(", text, re.MULTILINE)
    )
    assert {path.name for path in parts.iterdir()} == {*listed, "mine_array.f"}
    header = text.split("/*")[0]
    bodies = [(parts / name).read_text() for name in listed]
    assert all(body.startswith(header) for body in bodies)
    assert all(body.removeprefix(header) in text for body in bodies)


@pytest.mark.parametrize("prefix", ["1a", "a-", "a b", "é", "../x"])
def test_prefixes_that_are_no_identifier_are_refused(prefix, tmp_path) -> None:
    found = run("--block", "pe", "-o", tmp_path, "--prefix", prefix)
    assert found.exit_code == 2
    assert "give letters, digits and _, no digit first" in re.sub(r"\s+", " ", found.output)
    assert not list(tmp_path.iterdir())


def test_a_list_that_cannot_be_written_leaves_no_file(tmp_path) -> None:
    (tmp_path / "dtqatten_pe.f").mkdir()
    found = run("--block", "pe", "-o", tmp_path, "--split")
    assert found.exit_code == 2
    assert "dtqatten_pe.f" in found.output
    assert [path.name for path in tmp_path.iterdir()] == ["dtqatten_pe.f"]


def test_sources_are_noted_where_asked(tmp_path) -> None:
    assert run("--block", "pe", "-o", tmp_path, "--src").exit_code == 0
    assert 'src = "hw/arrays/pe.py:' in (tmp_path / "dtqatten_pe.v").read_text()
    assert run("--block", "pe", "-o", tmp_path, "--prefix", "").exit_code == 2


def test_wrapped_memories_are_a_file_of_their_own(tmp_path) -> None:
    found = run("--block", "score_accumulator", "-o", tmp_path, "--memories", "wrapped")
    assert found.exit_code == 0, found.output
    assert "dtqatten_score_accumulator.f" in found.output
    listed = (tmp_path / "dtqatten_score_accumulator.f").read_text().split()
    assert listed == ["dtqatten_score_accumulator_memories.v", "dtqatten_score_accumulator.v"]
    models, design = ((tmp_path / name).read_text() for name in listed)
    assert {*re.findall(r"^module (\w+)", models, re.MULTILINE)} == {"dtqatten_sram_16x128_1r1w"}
    assert design.count("dtqatten_sram_16x128_1r1w counters (") == 2
    assert "memories of dtqatten_score_accumulator" in models
    split = tmp_path / "split"
    options = ("--memories", "wrapped", "--split")
    assert run("--block", "score_accumulator", "-o", split, *options).exit_code == 0
    assert "module dtqatten_sram" in (split / "dtqatten_sram_16x128_1r1w.v").read_text()


def test_a_block_without_sram_has_none_to_wrap(tmp_path) -> None:
    found = run("--block", "pe", "-o", tmp_path, "--memories", "wrapped")
    assert found.exit_code == 2
    assert "--memories wrapped: this pe has no SRAM; leave it out" in found.output
    assert not list(tmp_path.iterdir())


def test_a_package_is_beside_the_verilog(tmp_path) -> None:
    found = run("--block", "pe", "-o", tmp_path, "--package", "--mhz", "250", "--prefix", "my_")
    assert found.exit_code == 0, found.output
    assert {path.name for path in tmp_path.iterdir()} == {
        f"my_pe.{kind}" for kind in ("v", "sdc", "xdc", "lpf", "xml", "core")
    }
    assert "-period 4 " in (tmp_path / "my_pe.sdc").read_text()
    assert "- my_pe.v\n" in (tmp_path / "my_pe.core").read_text()
    assert run("--block", "pe", "-o", tmp_path, "--package").exit_code == 0
    assert "-period 10 " in (tmp_path / "dtqatten_pe.sdc").read_text()


def test_a_clock_of_axi_lite_is_a_module_of_its_own(tmp_path) -> None:
    options = ("--lite-clock", "--package", "--mhz", "250", "--lite-mhz", "100")
    found = run("--block", "system", "-o", tmp_path, *options, "--prefix", "my_", "--testbench")
    assert found.exit_code == 0, found.output
    top = "my_two_clock_system"
    names = {f"{top}.{kind}" for kind in ("v", "sdc", "xdc", "lpf", "xml", "core", "rdl")}
    names |= {f"{top}_tb.v", f"{top}_tb_before.hex", f"{top}_tb_after.hex"}
    assert {path.name for path in tmp_path.iterdir()} == names
    text = (tmp_path / f"{top}.v").read_text()
    assert f"module {top}(" in text
    assert "module my_system(" in text
    assert "// s_axil_clk: clock of s_axil_*, irq" in text
    sdc = (tmp_path / f"{top}.sdc").read_text()
    assert "create_clock -name clk -period 4 [get_ports clk]" in sdc
    assert "create_clock -name s_axil_clk -period 10 [get_ports s_axil_clk]" in sdc
    assert "set_output_delay 5 -clock s_axil_clk [get_ports {irq}]" in sdc
    assert "set_input_delay 2 -clock clk [get_ports {m_axi_rvalid}]" in sdc


def test_nothing_is_written_where_a_file_cannot_be(tmp_path) -> None:
    (tmp_path / "dtqatten_pe.xml").mkdir()
    found = run("--block", "pe", "-o", tmp_path, "--package")
    assert found.exit_code == 2
    assert "dtqatten_pe.xml is a directory" in re.sub(r"\s+", " ", found.output)
    assert [path.name for path in tmp_path.iterdir()] == ["dtqatten_pe.xml"]


def test_serial_pins_are_a_module_of_their_own(tmp_path) -> None:
    found = run("--block", "pe", "-o", tmp_path, "--serial-pins", "--package")
    assert found.exit_code == 0, found.output
    assert "serial_out" in (tmp_path / "dtqatten_pe_pins.v").read_text()
    assert "[get_ports {serial_in}]" in (tmp_path / "dtqatten_pe_pins.sdc").read_text()
