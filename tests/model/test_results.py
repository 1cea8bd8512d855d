"""The gathered figures: complete where results are there, empty where they are not."""

import json
from pathlib import Path

import pytest

from dtqatten.configuration.core import PRESETS
from dtqatten.model import results
from dtqatten.model.compare import Speedup
from dtqatten.model.core import CoreRun
from dtqatten.model.energy import coefficients, dram_bytes, head_energy
from dtqatten.model.netlist import BLOCKS
from dtqatten.model.results import figures, markdown
from dtqatten.model.workload import Workload

BLOCK = {
    "area_um2": 5e5,
    "fmax_mhz": 900.0,
    "uniform_mw": 100.0,
    "memories": {
        "sram": {"count": 2, "access_pj": 3.0, "ports": 2},
        "banks": {"count": 4, "access_pj": 5.0, "ports": 1},
    },
}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cycle models are not what is tested here."""
    run = CoreRun(5000, 7000, dict.fromkeys(RUN_UNITS, 0.5), 0.9)
    monkeypatch.setattr(results, "run_core", lambda config, workload: run)
    speedup = Speedup(11.0, 12.0)
    monkeypatch.setattr(results, "speedups", lambda config, layers: speedup)
    monkeypatch.setattr(results, "searched_speedup", lambda *_: speedup)


RUN_UNITS = ("score_array", "softmax", "value_array", "normalizer", "module_b")


def test_what_is_missing_is_null(tmp_path: Path) -> None:
    found = {one.name: one.value for one in figures(tmp_path)}
    assert found["core_mm2"] is None
    assert found["gops_per_joule"] is None
    assert found["gops_at_1ghz"] == pytest.approx(2 * 2 * 384**2 * 64 / 5000)
    assert "not measured" in markdown(figures(tmp_path), "")


def test_the_error_of_the_area_model(tmp_path: Path) -> None:
    found = {one.name: one for one in figures(tmp_path, explore_errors=[0.02, -0.06])}
    assert found["explore_error"].value == pytest.approx(0.04)
    assert "2 designs that it is not fitted to, at most 0.060" in found["explore_error"].says


def test_placed_figures(tmp_path: Path) -> None:
    missing = {one.name: one.value for one in figures(tmp_path, None, lambda folder: None)}
    placed = ("placed_fmax_mhz", "placed_core_mm2", "placed_density", "placed_gops_per_mm2")
    assert [missing[name] for name in (*placed, "pe_pj_placed")] == [None] * 5
    core = {"placed_fmax_mhz": 800.0, "placed_mm2": 4.0, "placed_density": 0.7}
    (tmp_path / "placed-base-core.json").write_text(json.dumps(core))
    pe = {"um2_per_multiplier_placed": 250.0}
    (tmp_path / "placed-base-pe.json").write_text(json.dumps(pe))
    found = {one.name: one.value for one in figures(tmp_path, None, lambda folder: 3.0)}
    assert [found[name] for name in placed[:3]] == [800.0, 4.0, 0.7]
    assert found["placed_gops_per_mm2"] == pytest.approx(0.8 * found["gops_at_1ghz"] / 4.0)
    assert (found["um2_per_multiplier_placed"], found["pe_pj_placed"]) == (250.0, 3.0)


def test_what_is_there_is_put_together(tmp_path: Path) -> None:
    for block in BLOCKS:
        (tmp_path / f"asic-base-{block}.json").write_text(json.dumps(BLOCK))
    pe = {"um2_per_multiplier": 200.0, "uniform_mw": 0.1}
    (tmp_path / "asic-base-pe.json").write_text(json.dumps(pe))
    found = {one.name: one.value for one in figures(tmp_path, lambda folder: 2.0)}
    assert found["core_mm2"] == pytest.approx(2.5)
    assert found["asic_fmax_mhz"] == 900
    assert found["gops"] == pytest.approx(0.9 * found["gops_at_1ghz"])
    assert found["gops_per_mm2"] == pytest.approx(found["gops"] / 2.5)
    assert found["gops_per_joule"] > found["gops_per_joule_with_dram"] > 0
    # The whole core, where it has been synthesized, says more than its blocks.
    core = {"area_um2": 2e6, "fmax_mhz": 1010.0, "uniform_mw": None}
    (tmp_path / "asic-base-core.json").write_text(json.dumps(core))
    whole = {one.name: one.value for one in figures(tmp_path, lambda folder: 2.0)}
    assert (whole["core_mm2"], whole["asic_fmax_mhz"]) == (2.0, 1010.0)
    assert whole["gops"] == pytest.approx(whole["gops_at_1ghz"])
    assert whole["gops_per_joule"] == found["gops_per_joule"]


def test_energy_by_hand() -> None:
    base = PRESETS["base"]
    run = CoreRun(1000, 0, dict.fromkeys(RUN_UNITS, 0.5), 0.9)
    parts = coefficients(base, dict.fromkeys(BLOCKS, BLOCK), {"uniform_mw": 0.1}, 2.0)
    energy = head_energy(Workload(), run, parts)
    assert energy["PEs of array"] == pytest.approx(256 * 2.0)
    assert energy["PEs of value_array"] == pytest.approx(256 * 2.0 * 11 / 8)
    assert energy["logic of array"] == pytest.approx(100.0 - 32 * 0.1)
    assert energy["logic of softmax"] == pytest.approx(100.0)
    # A word of a pair of banks serves four steps, is written and read, and serves one step.
    assert energy["memories of array"] == pytest.approx(2 * 3.0 * 0.5 + 2 / 4 * 5.0 * 0.5)
    assert energy["memories of softmax"] == pytest.approx(2 * 2 * 3.0 * 0.5 + 2 * 2 * 5.0 * 0.5)
    assert energy["memories of value_array"] == pytest.approx(2 * 3.0 * 0.5 + 2 * 5.0 * 0.5)


def test_bytes_of_a_head() -> None:
    workload = Workload(tokens=10, d_head=8, shares=(0.2, 0.5, 0.3))
    assert dram_bytes(workload) == 8 * (3 * (2.5 + 3) + 8)
