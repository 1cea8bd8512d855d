"""What a user can get wrong with each command is refused with the way out."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from command_line import COMMANDS
from dtqatten.cli import app

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
        (["--model", "minilm", "--preset", "huge"], PRESET),
        (["--model", "minilm", "--policy", NOWHERE], "cannot read the policy /nowhere/at/all"),
        (["--model", NOWHERE], "cannot load the model /nowhere/at/all"),
        (["--model", "minilm", "--causal"], "--causal: is for arrays, not for --model"),
        (["in.npz", "--generate", "8"], "--generate: is for --model"),
    ],
    "estimate": [
        (["bart"], "'bart' is no model"),
        (["minilm", "--shares", "1,2"], "give three percentages of sum 100"),
        (["minilm", "--policy", NOWHERE], "/nowhere/at/all"),
        (["minilm", "--preset", "huge"], PRESET),
    ],
    "verilog": [
        (["--preset", "huge"], PRESET),
        (["--preset", "tiny", "--depth", "7"], "does not divide d_head = 32: use 4"),
        (["--topk-lanes", "3"], "topk_lanes is 3, not a power of two: use 2 or 4"),
        (["--value-depth", "0"], "value_depth is 0, outside 1..128"),
        (["--block", "topk", "--monitored"], "--monitored is for arrays, not topk"),
        (["--bus-bits", "64"], "bus_bits: a core has no bus; choose --block system"),
        (["--block", "system", "--bus-bits", "65"], "bus_bits is 65: choose 64, 128"),
        (["--mhz", "250"], "--mhz: is for --package; leave it out"),
        (["--package", "--mhz", "0"], "greater than or equal to 0.001"),
        (["--package", "--mhz", "1e6"], "less than or equal to 100000"),
        (["--block", "topk", "--testbench"], "--testbench is for core and system, not topk"),
        (["--testbench", "--serial-pins"], "a block with --serial-pins has none"),
        (["--lite-clock"], "--lite-clock: a core has no AXI4-Lite; choose --block system"),
        (
            ["--block", "system", "--lite-clock", "--serial-pins"],
            "--lite-clock: --serial-pins have one clock",
        ),
        (["--block", "system", "--package", "--lite-mhz", "5"], "--lite-mhz: is for --lite-clock"),
        (["--block", "system", "--lite-clock", "--lite-mhz", "5"], "--lite-mhz: is for --package"),
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
    "bench": [
        (["--part", "huge"], "'huge' is not one of"),
        (["--output", __file__], "is a file"),
        (["--part", "decode", "--keys", "5"], "--keys is 5, which is not measured: use one of 512"),
        (["--part", "core", "--model", "7B"], "are of --part decode: add it"),
    ],
    "compare": [
        (["--preset", "huge"], PRESET),
        (["--d-head", "12"], "d_head is 12, not a multiple of 8"),
        (["--shares", "50,50"], "give three percentages of sum 100"),
        (["--shares", "nan,50,50"], "give three percentages of sum 100"),
        (["--policy", NOWHERE], NOWHERE),
    ],
    "policies": [
        (["--policy", NOWHERE], "cannot read the policy /nowhere/at/all"),
        (["--preset", "tiny"], "--preset: for --run only"),
        (["-o", "x.json"], "--output: for --run only"),
        (["--accuracy", NOWHERE], "/nowhere/at/all is not a readable"),
        (["--policy", "minilm-bbc", "--accuracy", __file__], "has no rows of dtqatten accuracy"),
    ],
    "sweep": [
        (["--preset", "huge"], PRESET),
        (["--rows", "0x4"], "--rows is '0x4': give whole numbers from 1 on"),
        (["--tokens", "0"], "give whole numbers from 1 on"),
        (["--value-depth", "200"], "value_depth is 200, outside 1..128"),
        (["--bus-bits", "100"], "bus_bits is 100: choose 64"),
        (["--dask", "tcp://x:1", "--workers", "1"], "--workers: --dask has workers of its own"),
    ],
    "explore": [
        (["--preset", "huge"], PRESET),
        (["berd"], "'berd' is no model: give one of minilm"),
        (["--cols", "x"], "--cols is 'x': give whole numbers from 1 on"),
        (["--density", "2"], "--density is 2.0: give 0.3 to 0.95"),
        (["--mm2", "-1"], "should be greater than or equal to 0"),
        (["--area-model", __file__], "is no area model"),
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
        (["--target", "ecp5", "--one-port"], "--one-port: for --target asic only"),
        (["--target", "asic", "--seeds", "2"], "--seeds: for FPGAs only"),
        (["--target", "asic", "--serial-pins"], "--serial-pins: for FPGAs only"),
        (["--target", "ecp5", "--verilog", NOWHERE, "--top", "x"], "cannot read /nowhere/at/all"),
        (["--target", "ecp5", "--place"], "--place is for cells: give --target asic, and no other"),
        (["--place"], "--place is for cells: give --target asic"),
        (["--target", "asic", "--place"], "--place needs the geometry of the cells: give --lef"),
        (["--target", "asic", "--density", "0.7"], "--density: for --place only; leave it out"),
        (["--target", "ecp5", "--lef", NOWHERE], "--lef: for --place only; leave it out"),
        (["--target", "ecp5", "--liberty", NOWHERE], "--liberty: for --target asic only; leave it"),
        (["--target", "ice40", "--sram", "."], "--sram: for --target asic only; leave it out"),
        (["--clock-wire", "1", "0.1"], "--clock-wire: for --place only; leave it out"),
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
    "board": [
        (["list", "--nonsense"], "No such option"),
        (["build", "--board", "huge"], "no board 'huge': choose one of ulx3s-85f"),
        (["build", "--board", "ulx3s-85f", "--seeds", "0"], "greater than or equal to 1"),
        (["program", "--board", "ulx3s-85f"], "there is no bitstream build/board/ulx3s-85f.bit"),
        (["simulate", "--board", "huge"], "no board 'huge'"),
        (["simulate", "--board", "ulx3s-85f", "--memory", "x"], "--memory is 'x': choose one of"),
        (["build", "--board", "ecpix5-85f", "--memory", "sdram"], "ecpix5-85f has no SDRAM for"),
        (["program", "--board", "ulx3s-85f", "--memory", "sdram"], "ulx3s-85f-sdram.bit"),
        (["run", "--board", "huge"], "no board 'huge'"),
        (["run", "--port", NOWHERE], f"cannot open {NOWHERE}"),
        (["run", "--sentence", "--heads", "2"], "--heads: other layers have been given"),
        (["run", NOWHERE, "--sentence"], "--sentence: other layers have been given"),
        (["run", NOWHERE], f"{NOWHERE} is not a readable"),
        (["run", "--shares", "1,2"], "give three percentages of sum 100"),
        (["run", "--patience", "0"], "greater than or equal to 0.01"),
    ],
    "accuracy": [
        (["minilm"], "'minilm' is no MODEL:TASK, such as minilm:stsb"),
        (["minilm:huge"], "no task 'huge': choose one of"),
        (["minilm:stsb", "--part", "train"], "'train' is no part to report: choose dev or test"),
        (["--study", "continuation", "--renew"], "--renew: is not for --study continuation"),
        (["--study", "continuation", "--method", "x"], "--method: is not for"),
        (["--study", "numbers", "--steps", "1"], "--steps: is not for --study numbers"),
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
