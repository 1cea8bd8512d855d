"""Every command: what is heavy in it, what it reads and writes, and how a test calls it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner, Result

from dtqatten.cli import app

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
    "verilog": ("--preset tiny --block pe", "dtqatten.hw.base.export.verilog"),
    "registers": ("", "dtqatten.commands.registers.markdown"),
    "sim": ("--simulator verilator", "dtqatten.sim.regression.runner.simulate"),
    "stalls": ("", "dtqatten.sim.studies.stalls.study"),
    "bench": ("--part array", "dtqatten.sim.studies.array_bench.measure"),
    "compare": ("--preset tiny", "dtqatten.model.compare.searched_speedup"),
    "ablation": (
        "--policy minilm-bbc-fast --preset tiny --tokens 8",
        "dtqatten.model.ablation.run_core",
    ),
    "sweep": ("--preset tiny --tokens 8 --d-head 32", "dtqatten.model.sweep.run"),
    "explore": ("minilm --preset tiny --tokens 8", "dtqatten.model.sweep.run"),
    "synth": ("--target ecp5 --preset tiny --block pe", "dtqatten.synth.flow.Flow.run"),
    "results": ("--synth synth", "dtqatten.model.results.figures"),
    "policies": ("--policy minilm-bbc --run", "dtqatten.sim.machine.policies.unsupported"),
    "lint": ("--config small.toml", "dtqatten.hw.base.export.verilog"),
    "mutate": ("--block pe", "dtqatten.sim.proofs.mutation.measure"),
    "formal": ("", "dtqatten.sim.proofs.formal.prove"),
    "faults": ("", "dtqatten.sim.machine.axi.simulated_device"),
    "trace": ("--text x", "dtqatten.commands.trace.make_trace"),
    "search": ("--model m --task bbc", "dtqatten.commands.search.opened"),
    "eval": ("--model m --task bbc", "dtqatten.commands.evaluate.opened"),
    "accuracy": ("", "dtqatten.commands.accuracy.opened"),
    "board list": ("", "dtqatten.commands.board.described"),
    "board build": ("--board ulx3s-85f", "dtqatten.boards.build.build"),
    "board program": ("--board ulx3s-85f --bitstream in.npz", "dtqatten.boards.program.program"),
    "board simulate": ("--board ulx3s-85f", "dtqatten.boards.simulated.SimulatedBoard"),
    "board run": ("in.npz --port pty", "dtqatten.driver.serial_bus.SerialBus"),
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
    "ablation": {"-o": "file"},
    "sweep": {"-o": "folder"},
    "explore": {"-o": "folder"},
    "synth": {"-o": "folder"},
    "results": {"-o": "file", "--page": "file", "--measured": "file"},
    "policies": {"-o": "file"},
    "mutate": {"-o": "file"},
    "faults": {"-o": "file"},
    "trace": {"-o": "file"},
    "search": {"-o": "file"},
    "eval": {"-o": "file", "--pictures": "folder"},
    "accuracy": {"-o": "file", "--results": "file"},
    "board build": {"-o": "folder"},
    "board run": {"--save": "file"},
}
#: Inputs: how each command is told of a file, {} in its place. All arguments, if the first is no
#: option.
INPUTS: dict[str, list[str]] = {
    "demo": ["--part array --trace {}", "--recording {}", "--config {}"],
    "run": ["{}", "in.npz --config {}", "-q --model minilm --policy {}"],
    "estimate": ["{}", "minilm --policy {}", "minilm --config {}"],
    "verilog": ["--config {}"],
    "stalls": ["--config {}"],
    "compare": ["--policy {}", "--config {}"],
    "ablation": ["--policy {}", "--config {}"],
    "policies": ["--policy {}"],
    "sweep": ["--config {}"],
    "explore": ["{}", "--config {}", "--area-model {}"],
    "synth": ["--config {}"],
    "lint": ["--config {}"],
    "search": ["--template {}", "--objective cycles --config {}"],
    "eval": ["--policy {}", "--policy minilm-bbc-values --config {}"],
    "accuracy": ["--results {}"],
    "board run": ["{}"],
    "config show": ["--config {}"],
    "config check": ["{}"],
}
#: Those for which a file that is not there is no fault.
MADE = {("accuracy", "--results {}")}


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
