"""Run cocotb testbenches on Icarus and Verilator."""

import dataclasses
import enum
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cocotb_tools.check_results import get_results
from cocotb_tools.runner import Verilator, get_runner

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.files.scratch import scratch
from dtqatten.hw.arrays.score_array import ScoreArray
from dtqatten.hw.base.export import PREFIX, verilog
from dtqatten.hw.core import AttentionCore
from dtqatten.hw.system import System
from dtqatten.sim.engines.compiler import SHARED_MODULES, verilator_environment
from dtqatten.sim.engines.exported import exported
from dtqatten.sim.engines.verilated import ports_of, without_initial_values
from dtqatten.sim.engines.waivers import WAIVERS
from dtqatten.sim.regression.scenarios import CoreScenario, Scenario

__all__ = ["SimulationError", "Simulator", "available", "simulate", "simulate_chains"]


class Simulator(enum.StrEnum):
    """A Verilog simulator."""

    ICARUS = "icarus"
    VERILATOR = "verilator"


class SimulationError(AssertionError):
    """A testbench failed; the message ends with the simulator's log."""


def available(simulator: Simulator) -> bool:
    """Return whether a simulator is installed; Verilator comes as a Python package."""
    return simulator is Simulator.VERILATOR or shutil.which("iverilog") is not None


class _PortsOnly(Verilator):
    """cocotb's runner, but with the top's ports public and nothing below them.

    Every signal public, as cocotb has it, keeps Verilator from optimizing: twice the time of the
    C++ compiler.
    """

    def _build_command(self) -> Any:
        commands = super()._build_command()
        ports = {"--public-flat-rw": ["--public-depth", "1"]}
        return [[o for word in line for o in ports.get(word, [word])] for line in commands]


@contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    """Change ``os.environ``, from which the runner and its simulator take theirs."""
    before = dict(os.environ)
    os.environ.update(changes)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def simulate(
    simulator: Simulator,
    config: Config,
    scenarios: Sequence[Scenario] | Sequence[CoreScenario],
    *,
    waves: Path | None = None,
) -> int:
    """Compare the Verilog of the core, or of its score array, with the model on every clock edge.

    Parameters
    ----------
    simulator : Simulator
    config : Config
    scenarios : sequence of Scenario, or of CoreScenario
        Which they are says what is simulated.
    waves : Path, optional
        Folder for a waveform file.

    Returns
    -------
    int
        Cycles compared.

    Raises
    ------
    SimulationError
        If a cycle differs, or a simulation does not end.
    """
    block = "core" if isinstance(scenarios[0], CoreScenario) else "array"
    job = {
        "block": block,
        "config": dataclasses.asdict(config),
        "scenarios": [dataclasses.asdict(s) for s in scenarios],
    }
    text = (
        exported(block, AttentionCore, config)
        if block == "core"
        else exported(block, ScoreArray, config, monitored=True)
    )
    result = _run(simulator, text, block, "dtqatten.sim.regression.testbench", job, waves)
    return int(result["compared"])


def simulate_chains(
    simulator: Simulator, system: SystemConfig, *, chains: int, latency: int, seed: int = 0
) -> int:
    """Run chains of random layers on a whole machine, on the AXI models of cocotbext-axi.

    Parameters
    ----------
    simulator : Simulator
    system : SystemConfig
    chains : int
    latency : int
        Most cycles from an address to its data. More than 1: random ones, channels pause, and
        answers come interleaved and out of order.
    seed : int
        Of everything random.

    Returns
    -------
    int
        Chains that were bit-exact: all.

    Raises
    ------
    SimulationError
        If a result differs, a rule of AXI that the models check is broken, or a chain hangs.
    """
    job: dict[str, Any] = {
        "system": dataclasses.asdict(system),
        "chains": chains,
        "latency": latency,
        "seed": seed,
    }
    component, testbench = System(system), "dtqatten.sim.machine.axi_testbench"
    # Verilator has two values: there all is known.
    watched = ports_of(component) if simulator is Simulator.ICARUS else []
    job["outputs"] = [port.name for port in watched if not port.is_input]
    text = verilog(component, "system")
    result = _run(simulator, text, "system", testbench, job, None)
    return int(result["chains"])


def _run(
    simulator: Simulator,
    text: str,
    block: str,
    testbench: str,
    job: dict[str, Any],
    waves: Path | None,
) -> dict[str, Any]:
    """Run a cocotb testbench on a block and return its result.

    On Icarus, which has four values, everything but ROMs starts unknown, as on a chip: no valid
    output may depend on a word that was not written or a register that was not reset.

    Parameters
    ----------
    simulator : Simulator
    text : str
        Verilog of the block.
    block : str
        Its name in it.
    testbench : str
        Module of the testbench.
    job : dict
        What the testbench is to do.
    waves : Path, optional
        Where waves go.
    """
    unknown = simulator is Simulator.ICARUS
    with (
        scratch() as directory,
        # The testbench takes most of a cycle's time: compiling longer does not pay.
        _environment(verilator_environment(optimize=1)),
    ):
        top = f"{PREFIX}{block}"
        source, task, result = (directory / n for n in (f"{top}.v", "job.json", "result.json"))
        source.write_text(without_initial_values(text) if unknown else text)
        task.write_text(json.dumps({**job, "unknown": unknown, "result": str(result)}))
        log = directory / "log"
        options = []
        if simulator is Simulator.VERILATOR:
            options = ["-Wno-fatal", *SHARED_MODULES, *(f"-Wno-{name}" for name in WAIVERS)]
        runner = _PortsOnly() if simulator is Simulator.VERILATOR else get_runner(simulator.value)
        try:
            runner.build(
                sources=[source],
                hdl_toplevel=top,
                build_args=options,
                build_dir=directory / "build",
                waves=waves is not None,
                log_file=directory / "build.log",
                timescale=("1ns", "1ps"),
            )
            results = runner.test(
                hdl_toplevel=top,
                test_module=testbench,
                build_dir=directory / "build",
                test_dir=directory,
                results_xml=str(directory / "results.xml"),
                extra_env={"DTQATTEN_JOB": str(task)},
                waves=waves is not None,
                log_file=log,
            )
            failed = get_results(Path(results))[1]
        except (SystemExit, RuntimeError) as stop:
            failed = str(stop) or "stopped"
        if waves is not None:
            waves.mkdir(parents=True, exist_ok=True)
            for pattern in ("**/*.fst", "**/*.vcd"):
                for file in directory.glob(pattern):
                    shutil.copy(file, waves / f"{simulator}{file.suffix}")
        if failed or not result.exists():
            logs = [path for path in (directory / "build.log", log) if path.exists()]
            tail = "\n".join(path.read_text()[-6000:] for path in logs)
            raise SimulationError(f"{simulator} failed on {block}, {job}:\n{tail}")
        found: dict[str, Any] = json.loads(result.read_text())
        return found
