"""``dtqatten sim``: the cocotb testbenches on the chosen simulators."""

import enum
from pathlib import Path
from typing import Annotated, Any

import typer

from dtqatten.commands.options import fail, needs, refuse

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
    waves: Annotated[
        Path | None, typer.Option(help="Folder for waveforms.", file_okay=False)
    ] = None,
) -> None:
    """Simulate every test configuration, equal to the golden model on every clock edge."""
    with needs("sim"):
        from rich.progress import track

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
    for chosen_simulator, config, scenarios in track(runs, description="simulating"):
        try:
            cycles = simulate(chosen_simulator, config, scenarios, waves=waves)
        except SimulationError as error:
            raise fail(error) from None
        compared[chosen_simulator] += cycles
        typer.echo(f"{chosen_simulator:9} {cycles:7} cycles equal  {config}")
    for chosen_simulator, cycles in compared.items():
        typer.echo(f"{chosen_simulator}: {cycles} cycles compared, 0 differ")
