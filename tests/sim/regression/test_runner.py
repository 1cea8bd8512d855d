"""cocotb on Icarus and Verilator: every configuration, every clock edge."""

from collections import Counter
from pathlib import Path

import pytest

from dtqatten import Config, Schedule
from dtqatten.sim.regression import runner
from dtqatten.sim.regression.runner import SimulationError, Simulator, available, simulate
from dtqatten.sim.regression.scenarios import CORE_JOBS, JOBS, Scenario


def label(config: Config) -> str:
    return f"{config.rows}x{config.cols}x{config.depth}-d{config.d_head}-{config.schedule}"


@pytest.mark.parametrize("simulator", list(Simulator))
@pytest.mark.parametrize(
    "job",
    [
        *(pytest.param(job, id=label(job[0])) for job in JOBS),
        # The committed trace takes 21,464 cycles of the core; `make sim` streams it, too.
        pytest.param(CORE_JOBS[0], id="core-trace", marks=pytest.mark.long),
        *(pytest.param(job, id=f"core-{label(job[0])}") for job in CORE_JOBS[1:]),
    ],
)
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
    verilog = runner.verilog

    def broken(*args) -> str:
        text = verilog(*args)
        assert text.count("acc <= ") == 1
        return text.replace("acc <= ", "acc <= 1 ^ ")

    monkeypatch.setattr(runner, "verilog", broken)
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
