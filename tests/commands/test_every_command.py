"""Every command behaves alike: Ctrl-C, faults, terminals, tables.

Heavy computation is replaced, and only that: each command runs as a user calls it.
"""

import json
import subprocess
from pathlib import Path

import pytest
import typer.main

from command_table import (
    HEAVY,
    INPUTS,
    OUTPUTS,
    ROOT,
    arguments,
    commands,
    files,
    replaced,
    run,
)
from dtqatten.cli import app
from quick_commands import QUICK, ended, printing_json


def test_the_tables_have_every_command() -> None:
    names = set(commands())
    assert set(HEAVY) == names
    assert set(OUTPUTS) <= names
    assert set(INPUTS) <= names
    for name in names:
        group, _, inner = name.partition(" ")
        command = typer.main.get_command(app).commands[group]
        params = (command.commands[inner] if inner else command).params
        known = {option for param in params for option in param.opts}
        assert {"-q", "-v"} <= known
        written = {
            "-o",
            "--page",
            "--measured",
            "--plot",
            "--pictures",
            "--waves",
            "--results",
            "--save",
        }
        assert written & known == set(OUTPUTS.get(name, {}))
        read = {"--policy", "--config", "--template", "--trace", "--recording"} & known
        assert read <= set(" ".join(INPUTS.get(name, [])).split())


@pytest.mark.parametrize("command", list(commands()))
def test_ctrl_c_is_one_line(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files(folder)
    replaced(monkeypatch, command, KeyboardInterrupt())
    result = run(*arguments(command))
    assert result.exit_code == 130, result.output
    # What was waited for may have been told before.
    assert result.stderr.endswith("interrupted\n")
    assert "Traceback" not in result.stderr
    assert files(folder) == before


@pytest.mark.parametrize("command", list(commands()))
def test_a_fault_of_the_program_is_no_usage_error(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = ValueError("a fault")
    replaced(monkeypatch, command, fault)
    result = run(*arguments(command))
    assert result.exception is fault
    assert result.exit_code == 1


@pytest.mark.parametrize("command", QUICK)
def test_narrow_and_without_a_terminal_nothing_is_lost(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("NO_COLOR", "1")
    result = ended(monkeypatch, command)
    assert QUICK[command][1] in result.stdout
    assert "\x1b" not in result.output
    assert "…" not in result.output


@pytest.mark.parametrize("command", QUICK)
def test_quiet_says_results_only(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(files(folder))
    result = ended(monkeypatch, command, "--quiet")
    assert result.stderr == ""
    assert QUICK[command][1] in result.stdout
    assert bool(result.stdout) == bool(QUICK[command][1])
    assert not any(name in result.stdout for name in set(files(folder)) - before)


def test_what_prints_a_table_prints_json_too() -> None:
    tables = {name for name, (_, word) in QUICK.items() if word} - {"config check"}
    assert tables <= set(printing_json())


@pytest.mark.parametrize("command", sorted(set(printing_json()) & set(QUICK)))
def test_json_is_all_there_is_on_stdout(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert json.loads(ended(monkeypatch, command, "--json").stdout)


def test_make_and_the_command_have_one_default() -> None:
    """The Makefile gives a preset only where its caller does."""
    for args, wanted in (([], []), (["PRESET=edge"], ["--preset", "edge"])):
        made = subprocess.run(
            ["make", "-n", "-o", ".venv/.base", "verilog", *args],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        (line,) = [line for line in made.stdout.splitlines() if "dtqatten verilog" in line]
        assert line.split()[2:] == wanted
