"""The testbenches on simulators: the machine passes, a flipped bit fails."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from beside import written
from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.files.scratch import scratch
from dtqatten.hw.blocks import Block
from dtqatten.integration.fusesoc import TIMING
from dtqatten.sim.engines.compiler import SHARED_MODULES, verilator_environment
from dtqatten.sim.engines.verilated import without_initial_values
from dtqatten.sim.engines.waivers import WAIVERS

#: Data of what is expected, and the line that says how it went.
EXPECTED = {
    "core": ("dtqatten_core_tb_outputs.hex", "all beats equal"),
    "system": ("dtqatten_system_tb_after.hex", "memory and registers equal"),
    "two_clock_system": (
        "dtqatten_two_clock_system_tb_after.hex",
        "memory and registers equal",
    ),
}
#: Half of a period of a host's own clock, and its first edge, where the machine's are 5 and 5.
HOST_CLOCKS = [(5, 5), (5, 2), (7, 3), (1, 1), (60, 17)]
#: Machines at the edges: of one PE and one token; with all that decoders use, in segments, and with
#: what encoders prune.
MACHINES = {
    "one": SystemConfig(
        core=Config(rows=1, cols=1, depth=1, d_head=8, n_max=1, heads=1, topk_lanes=1),
        bus_bits=64,
        burst_beats=1,
    ),
    "generation": SystemConfig(
        core=Config(
            rows=4,
            cols=3,
            depth=4,
            d_head=16,
            n_max=20,
            capacity=1000,
            windows=True,
            grouped=True,
            held_importance=True,
            skip_tiles=True,
            topk_lanes=4,
        ),
        bus_bits=512,
        address_bits=64,
    ),
    "segments": SystemConfig(
        core=Config(
            rows=4,
            cols=3,
            depth=8,
            d_head=8,
            n_max=7,
            capacity=65536,
            planes=3,
            v_gains=True,
            windows=True,
            sinks=True,
            grouped=True,
            skip_tiles=True,
            local_values=True,
            topk_lanes=4,
            merge_rows=20,
            product_stages=2,
        ),
        bus_bits=256,
        burst_beats=4,
    ),
    "pruned heads": SystemConfig(
        core=Config(
            rows=2,
            cols=3,
            depth=4,
            d_head=8,
            n_max=9,
            v_gains=True,
            cumulative=True,
            count_normalize=True,
            head_pruning=True,
            topk_lanes=2,
            planes=3,
        ),
        bus_bits=64,
        address_bits=16,
    ),
    "progressive, unsigned": SystemConfig(
        core=Config(
            rows=4,
            cols=3,
            depth=4,
            d_head=16,
            n_max=12,
            capacity=100,
            grouped=True,
            progressive=True,
            unsigned_weights=True,
            block_exponents=True,
            topk_lanes=4,
        ),
        bus_bits=64,
    ),
}


def sources(block: str) -> list[str]:
    return [f"dtqatten_{block}{part}.v" for part in ("_tb", "_memories", "")]


def icarus(
    block: str, folder: Path, language: str = "-g2005", parameters: Sequence[str] = ()
) -> Callable[[], str]:
    """Compile a testbench and return what runs it; all is unknown at power-up."""
    path = folder / f"dtqatten_{block}.v"
    path.write_text(without_initial_values(path.read_text()))
    given = [f"-Pdtqatten_{block}_tb.{each}" for each in parameters]
    options = [language, "-Wall", "-Wno-timescale", *given]
    command = ["iverilog", *options, "-o", "tb.vvp", *sources(block)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    assert not done.stderr
    return lambda: (
        subprocess.run(
            ["vvp", "-n", "tb.vvp"], cwd=folder, capture_output=True, text=True, check=True
        ).stdout
    )


def verilator(block: str, folder: Path) -> Callable[[], str]:
    command = [
        *("verilator", "--binary", "-j", "2", "-o", "tb", *TIMING),
        *("--top-module", f"dtqatten_{block}_tb", "--Mdir", "objects"),
        *SHARED_MODULES,
        *(f"-Wno-{rule}" for rule in WAIVERS),
        *sources(block),
    ]
    subprocess.run(
        command, cwd=folder, env=verilator_environment(0), capture_output=True, check=True
    )
    return lambda: (
        subprocess.run(
            ["objects/tb"], cwd=folder, capture_output=True, text=True, check=True
        ).stdout
    )


def check(block: str, folder: Path, run: Callable[[], str]) -> None:
    data, says = EXPECTED[block]
    assert f"PASS: dtqatten_{block}, {says}" in run()
    # A bit that is expected otherwise, in the last word that is.
    lines = (folder / data).read_text().splitlines()
    place = max(at for at, line in enumerate(lines) if set(line) != set("a5"))
    flipped = f"{int(lines[place], 16) ^ 1:0{len(lines[place])}x}"
    (folder / data).write_text("\n".join([*lines[:place], flipped, *lines[place + 1 :]]) + "\n")
    said = run()
    assert "PASS" not in said
    assert f"FAIL: dtqatten_{block}" in said
    assert f"{flipped}" in said


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus is not installed")
@pytest.mark.parametrize("block", ["core", "system"])
def test_icarus(block: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    shutil.copytree(request.getfixturevalue(f"{block}_package"), tmp_path, dirs_exist_ok=True)
    check(block, tmp_path, icarus(block, tmp_path))


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus is not installed")
@pytest.mark.parametrize(("half", "late"), HOST_CLOCKS)
def test_a_host_on_a_clock_of_its_own(
    half: int, late: int, two_clock_system_package: Path, tmp_path: Path
) -> None:
    shutil.copytree(two_clock_system_package, tmp_path, dirs_exist_ok=True)
    clock = [f"HOST_HALF={half}", f"HOST_LATE={late}"]
    check("two_clock_system", tmp_path, icarus("two_clock_system", tmp_path, parameters=clock))


@pytest.mark.parametrize(
    "block",
    ["core", *(pytest.param(name, marks=pytest.mark.long) for name in list(EXPECTED)[1:])],
)
def test_verilator(block: str, request: pytest.FixtureRequest) -> None:
    with scratch() as folder:
        shutil.copytree(request.getfixturevalue(f"{block}_package"), folder, dirs_exist_ok=True)
        check(block, folder, verilator(block, folder))


@pytest.mark.long
@pytest.mark.skipif(shutil.which("iverilog") is None, reason="Icarus is not installed")
@pytest.mark.parametrize("block", [Block.CORE, Block.SYSTEM])
@pytest.mark.parametrize("name", MACHINES)
def test_every_kind_of_machine(name: str, block: Block, tmp_path: Path) -> None:
    check(block, written(block, tmp_path, MACHINES[name]), icarus(block, tmp_path))
