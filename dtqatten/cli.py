"""The command line: one module of :mod:`dtqatten.commands` per command."""

from typing import Annotated

import typer

from dtqatten import __version__
from dtqatten.commands.ablation import ablation
from dtqatten.commands.accuracy import accuracy
from dtqatten.commands.bench import bench
from dtqatten.commands.board import (
    board_build,
    board_list,
    board_program,
    board_run,
    board_simulate,
)
from dtqatten.commands.command import add
from dtqatten.commands.compare import compare
from dtqatten.commands.config import check_config, show_config
from dtqatten.commands.demo import demo
from dtqatten.commands.estimate import estimate
from dtqatten.commands.evaluate import evaluate
from dtqatten.commands.explore import explore
from dtqatten.commands.faults import faults
from dtqatten.commands.formal import formal
from dtqatten.commands.lint import lint
from dtqatten.commands.mutate import mutate
from dtqatten.commands.policies import policies
from dtqatten.commands.registers import registers
from dtqatten.commands.results import results
from dtqatten.commands.run import run
from dtqatten.commands.search import search
from dtqatten.commands.sim import sim
from dtqatten.commands.stalls import stalls
from dtqatten.commands.sweep import sweep
from dtqatten.commands.synth import synth
from dtqatten.commands.trace import trace
from dtqatten.commands.verilog import verilog

__all__ = ["app"]

app = typer.Typer(
    name="dtqatten",
    help="Generate, simulate and measure the DTQAtten attention accelerator.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"dtqatten {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Generate, simulate and measure the DTQAtten attention accelerator."""


COMMANDS = (
    demo,
    run,
    estimate,
    verilog,
    registers,
    sim,
    stalls,
    bench,
    compare,
    ablation,
    sweep,
    explore,
    synth,
    results,
    lint,
    mutate,
    policies,
    formal,
    faults,
    trace,
    search,
    accuracy,
)
for command in COMMANDS:
    add(app, command)
add(app, evaluate, "eval")

config = typer.Typer(
    help="Show what a configuration is made of, or check a file of one.", no_args_is_help=True
)
add(config, show_config, "show")
add(config, check_config, "check")
app.add_typer(config, name="config")

board = typer.Typer(
    help="Build, program and run the machine on an FPGA board, or on a simulated one.",
    no_args_is_help=True,
)
for name, function in (
    ("list", board_list),
    ("build", board_build),
    ("program", board_program),
    ("run", board_run),
    ("simulate", board_simulate),
):
    add(board, function, name)
app.add_typer(board, name="board")
