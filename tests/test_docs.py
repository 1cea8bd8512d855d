"""What the documents show: examples run, commands have the options that they are given.

Examples of a tutorial run in order, Python and shell, in one folder; what a ``text`` block behind
one shows is what it prints. A ``console`` block shows what takes longer or needs a download. Other
documents' examples stand alone.
"""

import contextlib
import importlib.util
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from dtqatten.boards.c_sources import FOLDER
from dtqatten.cli import app
from dtqatten.configuration.system import SystemConfig
from dtqatten.sim.machine import axi
from dtqatten.sim.machine.samples import DRIVEN

ROOT = Path(__file__).parents[1]
TUTORIALS = sorted(ROOT.glob("docs/tutorials/*.md"))
ALONE = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))]
DOCUMENTS = [*ALONE, *TUTORIALS, *sorted(ROOT.glob("docs/reference/*.md"))]
#: Commands that documents name before they are there.
COMING: set[str] = set()


def blocks(path: Path) -> Iterator[tuple[str, str]]:
    """Yield language and text of each code block, which begins at the document's own line."""
    text = path.read_text(encoding="utf-8")
    for block in re.finditer(r"^```(\w+)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        # Tracebacks then name the document's own line.
        yield block[1], "\n" * (text[: block.start()].count("\n") + 1) + block[2]


def examples() -> Iterator[Any]:
    for path in ALONE:
        for language, code in blocks(path):
            if language == "python":
                line = len(code) - len(code.lstrip("\n")) + 1
                yield pytest.param(code, str(path), id=f"{path.name}:{line}")


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


@pytest.fixture(autouse=True)
def one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate the machine that tests of the driver have compiled in place of preset tiny's."""
    made = axi.simulated_device

    def machine(system: SystemConfig, *, timeout: int) -> Any:
        assert system.core.replace(value_depth=5, n_max=40, heads=12, capacity=100) == DRIVEN.core
        return made(DRIVEN, timeout=timeout, optimize=0)

    monkeypatch.setattr(axi, "simulated_device", machine)


@pytest.mark.parametrize(("code", "document"), list(examples()))
def test_examples_run(
    code: str, document: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(code, document, "exec"), {"__name__": "__main__"})


def test_there_are_examples() -> None:
    assert {Path(example.values[1]).name for example in examples()} >= {
        "algorithm.md",
        "system.md",
        "topk.md",
    }


def run_python(code: str, path: Path, names: dict[str, Any]) -> str:
    """Run an example in the names of those before it and return what it prints."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, str(path), "exec"), names)
    return printed.getvalue()


def run_shell(code: str, folder: Path) -> str:
    """Run a shell example with this checkout's commands and return what it prints."""
    tools = folder / ".tools"
    tools.mkdir(exist_ok=True)
    command = tools / "dtqatten"
    command.write_text(f"#!{sys.executable}\nfrom dtqatten.cli import app\napp()\n", "utf-8")
    command.chmod(0o755)
    path = os.pathsep.join([str(tools), str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", code],
        cwd=folder,
        env={**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{code.strip()}\n{done.stdout}{done.stderr}"
    return done.stdout


def compile_c(code: str, folder: Path) -> str:
    """Compile an example of C with the driver."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    (folder / "example.c").write_text(code, "utf-8")
    flags = ["-std=c11", "-Wall", "-Wextra", "-pedantic", "-Werror", f"-I{FOLDER}", "-c"]
    subprocess.run([compiler, *flags, "example.c"], cwd=folder, check=True)
    return ""


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_tutorials_do_what_they_say(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for package in re.findall(r"<!-- needs: (\w+) -->", path.read_text("utf-8")):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"{package} is not installed; the tutorial says how")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__main__"}
    printed = ""
    ran = 0
    for language, code in blocks(path):
        match language:
            case "python":
                printed = run_python(code, path, names)
            case "sh":
                printed = run_shell(code, tmp_path)
            case "c":
                printed = compile_c(code, tmp_path)
            case "text":
                assert printed.strip() == code.strip(), f"{path}: the example prints something else"
            case _:
                assert language == "console", f"{path}: a block of {language}, which no test runs"
                continue
        ran += 1
    assert ran, f"{path} has no example"


@pytest.mark.parametrize("command", list(commands()))
def test_commands_have_the_options_that_documents_give_them(command: str) -> None:
    _, name, *words = shlex.split(command)
    known = typer.main.get_command(app).commands
    if name == "--help":
        return
    if name in COMING - known.keys():
        pytest.skip(f"dtqatten {name} is not there yet")
    assert name in known
    found = known[name]
    while hasattr(found, "commands") and words:
        found = found.commands[words.pop(0)]
    options = {option for param in found.params for option in (*param.opts, "--help")}
    assert {word for word in words if re.match("--?[a-z]", word)} <= options


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_make_has_the_targets_that_documents_name(path: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    text = path.read_text("utf-8")
    named = set(re.findall(r"`make ([a-z-]+)", text))
    named |= set(re.findall(r"^(?:\$ )?make ([a-z-]+)", text, re.M))
    assert named <= targets


LINKING = [*DOCUMENTS, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]


@pytest.mark.parametrize("path", LINKING, ids=lambda path: path.name)
def test_links_lead_to_files_of_the_repository(path: Path) -> None:
    """As GitHub resolves them; `make docs` checks them, and anchors, on the site."""
    text = re.sub(r"^```.*?^```$|`[^`]*`", "", path.read_text("utf-8"), flags=re.M | re.DOTALL)
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", text)
    missing = [link for link in links if "//" not in link and not (path.parent / link).exists()]
    assert not missing
