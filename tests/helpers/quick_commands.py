"""Commands that run to their end, with a quick answer in place of the heavy part."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import typer.main
from typer.testing import Result

from command_table import (
    HEAVY,
    arguments,
    commands,
    run,
)
from dtqatten.cli import app
from dtqatten.files.whole import write_text

Patch = Callable[[pytest.MonkeyPatch], None]


def export_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Export Verilog at once: its name."""

    def export(component: Any, name: str, **_: Any) -> str:
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
    monkeypatch.setattr(sweep, "run", lambda *_: [row])


def _explore(monkeypatch: pytest.MonkeyPatch) -> None:
    from dtqatten.synth.explore import Machine

    names = [(each.name, each.type) for each in dataclasses.fields(Machine)]
    row = Machine(**{name: "tiny" if kind is str else 1 for name, kind in names})
    monkeypatch.setattr("dtqatten.model.sweep.run", lambda *_: [row])


def _synth(monkeypatch: pytest.MonkeyPatch) -> None:
    def synthesize(self: Any, target: str, design: Any, **_: object) -> dict[str, Any]:
        used = {"LUTs": 398, "flip-flops": 80}
        result = {"target": target, "design": design.name, "used": used, "fits": True}
        write_text(self.output / f"{target}-{design.name}.json", json.dumps(result))
        return {**result, "tools": {"pyosys": "0.70"}}

    export_at_once(monkeypatch)
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
    export_at_once(monkeypatch)
    monkeypatch.setattr("dtqatten.sim.engines.lint.lint_verilog", lambda *_: "")
    monkeypatch.setattr("dtqatten.sim.engines.slang.slang_verilog", lambda *_: "")
    monkeypatch.setattr("dtqatten.sim.proofs.yosys.check_verilog", lambda *_: "")


def _eval(monkeypatch: pytest.MonkeyPatch) -> None:
    from dtqatten.algorithm import evaluate

    names = [each.name for each in dataclasses.fields(evaluate.Evaluation)]
    found = evaluate.Evaluation(**dict.fromkeys(names, 1.0))
    task = SimpleNamespace(worse_by=lambda *_: 0.0)
    monkeypatch.setattr(HEAVY["eval"][1], lambda *_: (task, SimpleNamespace(layers=6)))
    monkeypatch.setattr("dtqatten.commands.evaluate.plain_score", lambda *_: None)
    monkeypatch.setattr(evaluate, "evaluate", lambda *_, **__: found)


def _build(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(board: Any, output: Any, **_: object) -> dict[str, Any]:
        used = {"luts": 40_000, "ffs": 20_000, "brams": 100, "dsps": 20}
        result = {"board": board.name, **used, "available": dict.fromkeys(used, 80_000)}
        result |= {"needed_mhz": 80.0, "fmax_mhz": 84.5, "bitstream": str(output / "x.bit")}
        write_text(output / f"{board.name}.json", json.dumps(result))
        return result

    monkeypatch.setattr(HEAVY["board build"][1], build)


def _program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HEAVY["board program"][1], lambda *_, **__: None)


def _board_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from dtqatten.api.attention import attention_layers
    from dtqatten.golden.traces.recording import Recording

    recorded = Recording.load(Path("in.npz"))
    layers = attention_layers(recorded.q, recorded.k, recorded.v, preset="tiny")
    monkeypatch.setattr(HEAVY["board run"][1], lambda *_, **__: SimpleNamespace(close=list))
    monkeypatch.setattr("dtqatten.boards.host.device_on", lambda *_: None)
    monkeypatch.setattr("dtqatten.boards.host.run_layers", lambda *_, **__: layers)


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
    "explore": (_explore, "fastest"),
    "synth": (_synth, "flip-flops"),
    "results": (_results, "core_mm2"),
    "mutate": (_mutate, "equivalent"),
    "faults": (_faults, "recovered: 1"),
    "trace": (_trace, ""),
    "sim": (_sim, "cycles compared"),
    "formal": (_formal, "proved"),
    "lint": (_lint, "clean"),
    "eval": (_eval, "bit operations"),
    "board list": (_nothing, "ulx3s-85f"),
    "board build": (_build, "flip-flops"),
    "board program": (_program, ""),
    "board run": (_board_run, "golden"),
    "config show": (_nothing, "value_depth"),
    "config check": (_nothing, "good"),
}


def ended(monkeypatch: pytest.MonkeyPatch, command: str, *more: str) -> Result:
    """Run a command to its end."""
    QUICK[command][0](monkeypatch)
    result = run(*arguments(command, *more))
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def printing_json() -> list[str]:
    found = []
    for name in commands():
        group, _, inner = name.partition(" ")
        command = typer.main.get_command(app).commands[group]
        params = (command.commands[inner] if inner else command).params
        if any("--json" in param.opts for param in params):
            found.append(name)
    return found
