"""What the documents show: examples run, commands have the options that they are given."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from dtqatten.cli import app
from dtqatten.configuration.system import SystemConfig
from dtqatten.sim.machine import axi
from dtqatten.sim.machine.samples import DRIVEN

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]


def examples() -> Iterator[Any]:
    for path in DOCUMENTS:
        text = path.read_text(encoding="utf-8")
        for block in re.finditer(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
            line = text[: block.start()].count("\n") + 2
            # Tracebacks then name the document's own line.
            yield pytest.param("\n" * (line - 1) + block[1], str(path), id=f"{path.name}:{line}")


def commands() -> Iterator[Any]:
    for path in [*DOCUMENTS, ROOT / "Makefile"]:
        text = path.read_text(encoding="utf-8")
        # On a line of their own or in a code span, which may be broken.
        spans = re.findall(r"`(dtqatten\s[^`]+)`", text)
        lines = re.findall(
            r"^(?:\$ |\s*\$\(BIN\)/|\.venv/bin/)?(dtqatten .*?)(?:#.*)?$", text, re.M
        )
        for command in dict.fromkeys(" ".join(each.split()) for each in [*spans, *lines]):
            yield pytest.param(command, id=f"{path.name}: {command}")


@pytest.mark.parametrize(("code", "document"), list(examples()))
def test_examples_run(
    code: str, document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    made = axi.simulated_device

    def machine(system: SystemConfig, *, timeout: int) -> Any:
        assert system.core.replace(value_depth=5, n_max=40, heads=12) == DRIVEN.core
        return made(DRIVEN, timeout=timeout, optimize=0)

    monkeypatch.setattr(axi, "simulated_device", machine)
    exec(compile(code, document, "exec"), {"__name__": "__main__"})


def test_there_are_examples() -> None:
    assert {Path(example.values[1]).name for example in examples()} >= {
        "algorithm.md",
        "system.md",
        "topk.md",
    }


@pytest.mark.parametrize("command", list(commands()))
def test_commands_have_the_options_that_documents_give_them(command: str) -> None:
    _, name, *words = shlex.split(command)
    known = typer.main.get_command(app).commands
    if name == "--help":
        return
    assert name in known
    command = known[name]
    for word in words[:1] if hasattr(command, "commands") else ():
        command = command.commands[word]
    options = {option for param in command.params for option in (*param.opts, "--help")}
    assert {word for word in words if re.match("--?[a-z]", word)} <= options
