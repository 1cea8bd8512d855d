"""Macros of Liberty files."""

import gzip
from pathlib import Path

import pytest

from dtqatten.synth.macros import read_macros
from dtqatten.synth.tools import SynthError


def test_macros_are_read(macros: Path) -> None:
    small, large = read_macros(macros)
    assert (small.words, small.width, small.area) == (32, 8, 100.0)
    assert (small.delay, small.setup, small.pin, small.clock) == (0.3, 0.05, 5.0, 20.0)
    assert large.load == (5.0, 500.0)
    assert large.slew == (0.01, 0.2)


#: In pF, pJ and ps; numbers without quotes, states of the enable, a second clock for a self-test.
OTHER_UNITS = """library(ram) { capacitive_load_unit(1, pf); time_unit : "1ps";
slew_lower_threshold_pct_rise : 30; slew_upper_threshold_pct_rise : 70;
slew_derate_from_library : 0.5;
cell(ram) { area : 70.0; memory() { type : ram; address_width : 6; word_width : 4; }
pin(CLK) { direction : input; capacitance : 0.003; clock : "true";
internal_power() { when : "EN"; rise_power(scalar) { values(2.5); }
fall_power(scalar) { values(0.5); } }
internal_power() { when : "!EN"; rise_power(scalar) { values(0.1); }
fall_power(scalar) { values(0); } } }
pin(TEST_CLK) { direction : input; capacitance : 0.002; clock : "true";
internal_power() { rise_power(scalar) { values(2.0); } fall_power(scalar) { values(0.1); } } }
pin(EN) { direction : input; capacitance : 0.004;
timing() { related_pin : "CLK"; timing_type : setup_rising;
rise_constraint(two) { values("-10, 20", "30, 40"); } fall_constraint(two) { values("1, 2"); } } }
bus(D) { direction : input; capacitance : 0.001;
pin(D[3:0]) { timing() { related_pin : "CLK"; timing_type : setup_rising;
rise_constraint(two) { values("5, 60"); } fall_constraint(two) { values("1, 2"); } } } }
bus(Q) { direction : output; timing() { related_pin : "CLK"; timing_type : rising_edge;
cell_rise(two) { values("300, 310", "320, 330"); } cell_fall(two) { values("100, 110"); }
rise_transition(line) { index_1("0.001, 0.002, 0.01"); values("8, 9, 80"); }
fall_transition(line) { index_1("0.001, 0.002, 0.01"); values("1, 2, 3"); } } }
} }
"""


def test_macros_in_other_units_and_with_a_self_test(tmp_path: Path) -> None:
    (tmp_path / "ram.lib.gz").write_bytes(gzip.compress(OTHER_UNITS.encode()))
    (macro,) = read_macros(tmp_path)
    assert (macro.name, macro.words, macro.width, macro.area) == ("ram", 64, 4, 70.0)
    assert (macro.delay, macro.setup) == pytest.approx((0.33, 0.06))
    assert (macro.pin, macro.clock) == (4.0, 3.0)
    assert macro.load == (1.0, 10.0)
    # Half of 8 and 80 ps take 40 % of the swing, one and a half times that 60 %.
    assert macro.slew == pytest.approx((0.006, 0.06))
    assert macro.access == 3000.0


def test_a_folder_without_macros_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SynthError, match="no memory macro in"):
        read_macros(tmp_path)
    (tmp_path / "x.lib").write_text("library(x) {")
    with pytest.raises(SynthError, match=r"x\.lib is no Liberty file"):
        read_macros(tmp_path)
