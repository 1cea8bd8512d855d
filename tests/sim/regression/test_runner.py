"""cocotb on Icarus and Verilator: every configuration, every clock edge."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dtqatten import Config, Schedule
from dtqatten.sim.regression import runner
from dtqatten.sim.regression.runner import SimulationError, Simulator, available, simulate
from dtqatten.sim.regression.scenarios import CORE_JOBS, JOBS, Scenario


def label(config: Config) -> str:
    return f"{config.rows}x{config.cols}x{config.depth}-d{config.d_head}-{config.schedule}"


#: Icarus runs all but the largest in `make test`. Verilator, which takes as long to compile each,
#: runs these, and in process the presets' arrays and the cores of tests/hw/test_core.py.
ON_VERILATOR = ("4x4x4-d32-plane_major", "1x5x3-d24-interleaved", "core-1x1x1-d8-plane_major")
LARGE = (
    "64x1x2-d8-plane_major",
    "1x2x128-d128-plane_major",
    "core-trace",
    "core-3x6x8-d64-plane_major",
    "core-2x8x24-d96-plane_major",
    "core-2x3x16-d128-plane_major",
    "core-3x5x5-d80-interleaved",
)


def runs() -> Iterator[Any]:
    """Every job on both simulators, as `make sim` runs them."""
    jobs: dict[str, Any] = {label(job[0]): job for job in JOBS}
    jobs |= {"core-trace": CORE_JOBS[0]}
    jobs |= {f"core-{label(job[0])}": job for job in CORE_JOBS[1:]}
    assert len(jobs) == len(JOBS) + len(CORE_JOBS)
    assert jobs.keys() >= {*ON_VERILATOR, *LARGE}
    for name, job in jobs.items():
        for simulator in Simulator:
            elsewhere = simulator is Simulator.VERILATOR and name not in ON_VERILATOR
            marks = [pytest.mark.long] * (elsewhere or name in LARGE)
            yield pytest.param(simulator, job, id=f"{name}-{simulator}", marks=marks)


@pytest.mark.parametrize(("simulator", "job"), list(runs()))
def test_equals_cycle_model(simulator: Simulator, job, compared: Counter[str]) -> None:
    if not available(simulator):
        pytest.fail(f"{simulator} is not installed; `make setup` installs it")
    config, scenarios = job
    cycles = simulate(simulator, config, scenarios)
    assert cycles > 0
    compared[simulator] += cycles


def test_temporary_files_may_go_anywhere(odd_folder: Path) -> None:
    """Icarus, which is called by a shell; what make makes of it, test_verilated says."""
    config, scenarios = JOBS[0]
    waves = odd_folder / "the waves"
    assert simulate(Simulator.ICARUS, config, scenarios[:1], waves=waves) > 0
    assert [path.stem for path in waves.iterdir()] == ["icarus"]


@pytest.mark.parametrize("simulator", list(Simulator))
def test_a_fault_in_the_verilog_fails(simulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Break the RTL and see the run go red, with the cycle in the message."""
    config = JOBS[0][0]
    exported = runner.exported

    def broken(*args, **options) -> str:
        text = exported(*args, **options)
        assert text.count("acc <= ") == 1
        return text.replace("acc <= ", "acc <= 1 ^ ")

    monkeypatch.setattr(runner, "exported", broken)
    with pytest.raises(SimulationError, match=r"cycle \d+: acc is"):
        simulate(simulator, config, [Scenario()])


def test_every_accepted_edge_value_is_simulated() -> None:
    """The jobs reach both ends of every parameter's range."""
    configs = [config for config, _ in JOBS]
    for name, low, high in (
        ("rows", 1, 64),
        ("cols", 1, 128),
        ("depth", 1, 128),
        ("d_head", 8, 128),
        ("n_max", 1, 1024),
    ):
        values = {getattr(config, name) for config in configs}
        assert {low, high} <= values, name
    assert {config.schedule for config in configs} == set(Schedule)
