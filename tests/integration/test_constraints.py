"""Constraints, as OpenSTA reads them."""

import re
import shutil
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
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


@pytest.mark.skipif(not has_opensta(), reason="OpenSTA is not installed")
@pytest.mark.parametrize("kind", ["sdc", "xdc"])
def test_opensta_reads_them_and_no_path_is_left_out(
    kind: str, liberty: Path, tmp_path: Path
) -> None:
    library = CellLibrary.open([liberty], tmp_path)
    (tmp_path / "wide.v").write_text(verilog(Wide(), "wide"))
    (tmp_path / "wide.sdc").write_text(getattr(limits(400), kind)())
    reads = "".join(f"read_liberty {file.name}\n" for file in library.files)
    (name,) = [file.name for file in library.files]
    yosys(
        f"read_verilog wide.v\nsynth -flatten -top dtqatten_wide\ndfflibmap -liberty {name}\n"
        f"abc -liberty {name}\nopt_clean -purge\nwrite_verilog -noattr netlist.v\n",
        tmp_path,
        "map",
    )
    text = opensta(
        f"{reads}read_verilog netlist.v\nlink_design dtqatten_wide\nread_sdc wide.sdc\n"
        "check_setup -verbose\nreport_checks -path_delay max -from [get_ports {i[2]}] -digits 3\n"
        "report_checks -path_delay max -to [get_ports any] -digits 3\n"
        "report_checks -path_delay max -from [get_ports rst] -digits 3\nexit\n",
        tmp_path,
        "read",
    )
    assert not re.search("warning|error|unconstrained|no clock", text, re.IGNORECASE), text
    assert text.count("1.250") >= 3
    assert text.count("Path Group: clk") == 3
    assert shutil.which("sta")
