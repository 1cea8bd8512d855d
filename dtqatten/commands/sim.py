"""``dtqatten sim``: the cocotb testbenches on the chosen simulators."""

import enum
from pathlib import Path
from typing import Annotated, Any

import typer

from dtqatten.commands.console import print_json, progress, show
from dtqatten.commands.options import JsonOption, fail, needs, refuse
from dtqatten.commands.paths import output_folder

__all__ = ["sim"]


class SimulatorChoice(enum.StrEnum):
    """Simulators to run on."""

    ICARUS = "icarus"
    VERILATOR = "verilator"
    ALL = "all"


def sim(
    simulator: Annotated[
        SimulatorChoice, typer.Option(help="Simulator to run on.")
    ] = SimulatorChoice.ALL,
    waves: Annotated[Path | None, output_folder("Folder for waveforms.", "--waves")] = None,
    as_json: JsonOption = False,
) -> None:
    """Simulate every test configuration, equal to the golden model on every clock edge."""
    with needs("sim"):
        from dtqatten.sim.regression.runner import SimulationError, Simulator, available, simulate
        from dtqatten.sim.regression.scenarios import CORE_JOBS, JOBS
    chosen = [s for s in Simulator if simulator in (s.value, SimulatorChoice.ALL.value)]
    for missing in [s for s in chosen if not available(s)]:
        raise refuse(
            f"{missing} is not installed: apt-get install iverilog, or --simulator verilator"
        )
    compared = dict.fromkeys(chosen, 0)
    jobs: list[tuple[Any, Any]] = [*JOBS, *CORE_JOBS]
    runs = [(s, config, scenarios) for s in chosen for config, scenarios in jobs]
    with progress() as bar:
        for chosen_simulator, config, scenarios in bar.track(runs, description="simulating"):
            try:
                cycles = simulate(chosen_simulator, config, scenarios, waves=waves)
            except SimulationError as error:
                raise fail(error) from None
            compared[chosen_simulator] += cycles
            show(f"{chosen_simulator:9} {cycles:7} cycles equal  {config}")
    show(*(f"{each}: {cycles} cycles compared, 0 differ" for each, cycles in compared.items()))
    if as_json:
        print_json({"cycles_compared": compared})
