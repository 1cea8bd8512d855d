"""Which clock a machine's cycles are told in."""

import dataclasses

import pytest

from dtqatten.configuration.core import PRESETS
from dtqatten.model import clock
from dtqatten.model.clock import clock_of
from dtqatten.model.measured import Measured, measured


@pytest.mark.parametrize(
    ("preset", "mhz", "where"),
    [("tiny", 1000, "45 nm"), ("paper", 1000, "45 nm"), ("edge", 120, "ECP5")],
)
def test_what_is_not_measured_has_the_clock_that_it_is_made_for(preset, mhz, where, monkeypatch):
    """An FPGA's machine is not told in the cycles of an ASIC."""
    monkeypatch.setattr(clock, "measured", dict)
    found = clock_of(PRESETS[preset])
    assert (found.mhz, found.measured) == (mhz, False)
    assert where in found.says
    assert str(found).startswith(f"{mhz} MHz (assumed: ")


def test_a_variant_of_an_fpga_s_preset_is_an_fpga_s() -> None:
    assert clock_of(PRESETS["edge"].replace(n_max=384)).mhz == 120


def test_measured_rates_count_up_to_what_registers_are_placed_for(monkeypatch) -> None:
    fast = dataclasses.replace(measured()["base"], fmax_mhz=1007.0, before="")
    for known, mhz in ((fast, 1000.0), (dataclasses.replace(fast, fmax_mhz=950.0), 950.0)):
        monkeypatch.setattr(clock, "measured", lambda known=known: {"base": known})
        found = clock_of(PRESETS["base"])
        assert (found.mhz, found.measured) == (mhz, True)
    earlier = dataclasses.replace(fast, before="with other streams")
    monkeypatch.setattr(clock, "measured", lambda: {"base": earlier})
    assert not clock_of(PRESETS["base"]).measured
    assert "cells, typical, not placed; with other streams" in str(clock_of(PRESETS["base"]))
    slow = Measured("ECP5-85", 96.5, None, None, "", "")
    monkeypatch.setattr(clock, "measured", lambda: {"edge": slow})
    assert clock_of(PRESETS["edge"]).mhz == 96.5
    assert "96.5 MHz by timing analysis, ECP5-85" in str(clock_of(PRESETS["edge"]))
