"""Constraints, as OpenSTA reads them."""

import re
import shutil
from pathlib import Path
from typing import ClassVar

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from dtqatten.hw.base.export import verilog
from dtqatten.integration.constraints import Constraints
from dtqatten.synth.cells import CellLibrary
from dtqatten.synth.tools import has_opensta, opensta, yosys


class Wide(wiring.Component):
    """A register of four bits between ports, and a bit behind it."""

    i: In(4)
    o: Out(4)
    any: Out(1)

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.d.sync += self.o.eq(self.i)
        m.d.comb += self.any.eq(self.o.any())
        return m


class Apart(Wide):
    """The same, with a bit that crosses from a clock of its input to that of its outputs."""

    clocked: ClassVar = {"slow": ("i",)}

    def elaborate(self, platform: object) -> Module:
        m = Module()
        kept = Signal(4)
        m.d.slow += kept.eq(self.i)
        m.submodules.bit_synchronizer = FFSynchronizer(kept[0], self.any)
        m.d.sync += self.o.eq(kept)
        return m


def limits(mhz: float) -> Constraints:
    component = Wide()
    component._MustUse__used = True
    return Constraints.of(component, "dtqatten_wide", mhz)


def test_clock_and_delays_follow_the_clock_rate() -> None:
    sdc = limits(400).sdc()
    assert "create_clock -name clk -period 2.5 [get_ports clk]" in sdc
    assert "set_clock_uncertainty 0.125 [get_clocks clk]" in sdc
    assert re.findall(r"^set_(\w+)_delay ([\d.]+) -clock clk \[get_ports (.*)\]$", sdc, re.M) == [
        ("input", "1.25", "{rst}"),
        ("input", "1.25", "{i[*]}"),
        ("output", "1.25", "{o[*]}"),
        ("output", "1.25", "{any}"),
    ]
    assert "false_path" not in sdc
    assert "recovery" in sdc
    xdc = limits(400).xdc()
    assert "set_clock_uncertainty" not in xdc
    assert xdc.count("set_input_delay") == 2
    assert 'FREQUENCY PORT "clk" 400 MHZ;' in limits(400).lpf()


def apart() -> Constraints:
    component = Apart()
    component._MustUse__used = True
    return Constraints.of(component, "dtqatten_wide", 400, 100)


def test_each_clock_has_its_ports_and_what_crosses_a_cycle_of_the_faster_one() -> None:
    sdc, xdc = apart().sdc(), apart().xdc()
    assert "create_clock -name clk -period 2.5 [get_ports clk]" in sdc
    assert "create_clock -name slow_clk -period 10 [get_ports slow_clk]" in sdc
    assert "set_clock_uncertainty 0.5 [get_clocks slow_clk]" in sdc
    for text in (sdc, xdc):
        assert re.findall(r"^set_\w+_delay ([\d.]+) -clock (\w+) .*{(.*)}\]$", text, re.M) == [
            ("1.25", "clk", "rst"),
            ("1.25", "clk", "o[*]"),
            ("1.25", "clk", "any"),
            ("5", "slow_clk", "slow_rst"),
            ("5", "slow_clk", "i[*]"),
        ]
    for one, other in (("clk", "slow_clk"), ("slow_clk", "clk")):
        ends = f"-from [get_clocks {one}] -to [get_clocks {other}]"
        assert f"set_max_delay {ends} 2.5\n" in sdc
        assert f"set_max_delay -datapath_only {ends} 2.5\n" in xdc
        for text in (sdc, xdc):
            assert f"set_false_path -hold {ends}\n" in text
    cells = "[get_cells -hierarchical -filter {NAME =~ *_synchronizer/stage*}]"
    assert f"set_property ASYNC_REG TRUE {cells}\n" in xdc
    lpf = apart().lpf()
    assert 'FREQUENCY PORT "clk" 400 MHZ;\nFREQUENCY PORT "slow_clk" 100 MHZ;\n' in lpf
    assert "max_delay" not in limits(400).sdc()
    assert "ASYNC_REG" not in limits(400).xdc()


def timed(top: wiring.Component, constraints: str, liberty: Path, folder: Path, asks: str) -> str:
    """Return what OpenSTA says of a module, mapped to cells, with its constraints."""
    library = CellLibrary.open([liberty], folder)
    (folder / "wide.v").write_text(verilog(top, "wide"))
    (folder / "wide.sdc").write_text(constraints)
    (name,) = [file.name for file in library.files]
    yosys(
        f"read_verilog wide.v\nsynth -flatten -top dtqatten_wide\ndfflibmap -liberty {name}\n"
        f"abc -liberty {name}\nopt_clean -purge\nwrite_verilog -noattr netlist.v\n",
        folder,
        "map",
    )
    text = opensta(
        f"read_liberty {name}\nread_verilog netlist.v\nlink_design dtqatten_wide\n"
        f"read_sdc wide.sdc\ncheck_setup -verbose\n{asks}exit\n",
        folder,
        "read",
    )
    assert not re.search("warning|error|unconstrained|no clock", text, re.IGNORECASE), text
    return text


@pytest.mark.skipif(not has_opensta(), reason="OpenSTA is not installed")
@pytest.mark.parametrize("kind", ["sdc", "xdc"])
def test_opensta_reads_them_and_no_path_is_left_out(
    kind: str, liberty: Path, tmp_path: Path
) -> None:
    text = timed(
        Wide(),
        getattr(limits(400), kind)(),
        liberty,
        tmp_path,
        "report_checks -path_delay max -from [get_ports {i[2]}] -digits 3\n"
        "report_checks -path_delay max -to [get_ports any] -digits 3\n"
        "report_checks -path_delay max -from [get_ports rst] -digits 3\n",
    )
    assert text.count("1.250") >= 3
    assert text.count("Path Group: clk") == 3
    assert shutil.which("sta")


@pytest.mark.skipif(not has_opensta(), reason="OpenSTA is not installed")
def test_opensta_limits_what_crosses(liberty: Path, tmp_path: Path) -> None:
    text = timed(
        Apart(),
        apart().sdc(),
        liberty,
        tmp_path,
        "report_checks -path_delay max -from [get_clocks slow_clk] -to [get_clocks clk]\n"
        "report_checks -path_delay min -from [get_clocks slow_clk] -to [get_clocks clk]\n",
    )
    assert text.count("max_delay") == 1
    assert re.search(r"2\.50\s+2\.50\s+max_delay", text)
    assert "No paths found" in text
