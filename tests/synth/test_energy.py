"""Energy of a PE on a library of a handful of cells."""

from pathlib import Path

import pytest

from dtqatten.configuration.core import Config
from dtqatten.golden.traces.trace import example
from dtqatten.hw.arrays.pod import Pod
from dtqatten.hw.base.export import verilog
from dtqatten.synth.design import Design
from dtqatten.synth.energy import pe_energy, placed_pe_energy, trace_steps
from dtqatten.synth.flow import ASIC, Flow, Placement
from dtqatten.synth.place.options import PlaceOptions
from dtqatten.synth.tools import SynthError, has_opensta

CONFIG = Config(rows=2, cols=3, depth=1, d_head=32)


def test_steps_are_those_of_the_recorded_layer() -> None:
    trace = example()
    steps = trace_steps(CONFIG, trace)
    tiles = -(-len(trace.kept) // CONFIG.rows) * -(-len(trace.kept) // CONFIG.cols)
    assert sum(step.last for step in steps) == len(trace.q) * tiles


@pytest.mark.skipif(not has_opensta(), reason="OpenSTA is not installed")
def test_energy_of_a_pe(liberty: Path, tmp_path: Path) -> None:
    design = Design("pe", "dtqatten_pe", {"pe.v": verilog(Pod(CONFIG, CONFIG.score_width), "pe")})
    Flow(tmp_path, (liberty,), mhz=10).run(ASIC, design)
    folder = tmp_path / "work" / "asic-pe"
    steps = trace_steps(CONFIG, example())[:100]
    energy = pe_energy(folder, CONFIG, steps)
    assert (energy.cycles, energy.instances) == (100, 6)
    assert energy.check_pj > 0
    # Nothing moves when operands do not.
    still = pe_energy(folder, CONFIG, [steps[0]] * 3 + [steps[0]] * 200)
    assert still.check_pj < energy.check_pj


@pytest.mark.skipif(not has_opensta(), reason="OpenSTA is not installed")
def test_energy_of_a_pe_is_its_pod_s_over_its_pes(liberty: Path, tmp_path: Path) -> None:
    """Registers that a pod shares are the only difference: fewer toggle, and none leaks twice."""
    found = []
    for pod in (1, 3):
        config = CONFIG.replace(pod_cols=pod)
        text = verilog(Pod(config, config.score_width), "pe")
        design = Design(f"pod{pod}", "dtqatten_pe", {"pe.v": text})
        result = Flow(tmp_path, (liberty,), mhz=10).run(ASIC, design, multipliers=pod)
        steps = trace_steps(config, example())[:100]
        energy = pe_energy(tmp_path / "work" / f"asic-pod{pod}", config, steps)
        assert (energy.cycles, energy.instances) == (100, 6)
        found.append((result["um2_per_multiplier"], energy.check_pj, energy.total_pj))
    alone, shared = found
    for each, less in zip(alone[:2], shared[:2], strict=True):
        assert 0.9 * each < less < each
    # OpenSTA prints three digits.
    assert shared[2] == pytest.approx(alone[2], rel=0.05)


def test_a_missing_netlist_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(SynthError, match="run `dtqatten synth --block pe`"):
        pe_energy(tmp_path, CONFIG, [])


@pytest.mark.skipif(not has_opensta(), reason="OpenSTA is not installed")
def test_energy_of_a_placed_pe(sized_liberty: Path, lef: Path, tmp_path: Path) -> None:
    """What the gates do is the same; wires and clock tree come on top."""
    design = Design("pe", "dtqatten_pe", {"pe.v": verilog(Pod(CONFIG, CONFIG.score_width), "pe")})
    # Slow enough that nothing is repaired.
    options = PlaceOptions(effort=1, rounds=0)
    flow = Flow(tmp_path, (sized_liberty,), mhz=10, placement=Placement((lef,), options))
    result = flow.run(ASIC, design)
    assert result["repair"] == {"buffers": 0, "sizes": 0}
    steps = trace_steps(CONFIG, example())[:100]
    mapped = pe_energy(tmp_path / "work" / "asic-pe", CONFIG, steps)
    placed = placed_pe_energy(tmp_path / "work" / "placed-pe", CONFIG, steps)
    assert placed.check_pj == pytest.approx(mapped.check_pj)
    assert placed.switching_pj > mapped.switching_pj
    wires = result["wire_mm"] * 1000 * options.signal.ff + 1e-9
    # Each net toggles at most once a cycle, the clock twice.
    most = 1.1**2 / 2 * (wires + 2 * result["clock_tree"]["wire_mm"] * 1000 * options.clock.ff)
    clock_pj = 1000 * result["clock_tree"]["mw"] / 10
    assert placed.switching_pj < mapped.switching_pj + most / 1000 + clock_pj
    with pytest.raises(SynthError, match="run `dtqatten synth --block pe --place`"):
        placed_pe_energy(tmp_path, CONFIG, steps)
