"""The commands, and how a test calls one."""

from typer.testing import CliRunner

from dtqatten.cli import app

COMMANDS = [
    *("demo", "verilog", "sim", "stalls", "bench", "compare", "sweep", "results", "synth", "lint"),
    *("mutate", "trace", "search", "eval", "accuracy", "registers", "formal", "faults"),
    *("config", "run", "estimate", "board", "policies", "explore"),
]


def invoke(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    return result.exit_code, result.output
