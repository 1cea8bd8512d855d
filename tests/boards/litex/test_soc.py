"""The C driver on VexRiscv, beside the machine, on LiteDRAM: recorded layers, errors, caches."""

import shutil
import subprocess
import sys

import pytest

from dtqatten.boards.c_sources import FOLDER

pytest.importorskip("pythondata_cpu_vexriscv")
pytestmark = pytest.mark.skipif(
    shutil.which("riscv64-unknown-elf-gcc") is None, reason="gcc for RISC-V is not installed"
)
#: What every run says, whatever the memory.
OUTCOMES = [
    "open: OK",
    "chain: OK",
    "a bad descriptor: MACHINE_ERROR K0",
    "a short timeout: TIMED_OUT",
    "chain, polled: OK",
    "an abort: ABORTED",
    "chain again: OK",
]


def firmware(*args: str) -> tuple[int, list[str]]:
    """Run the firmware on a simulated SoC; return the exit code and what it says."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "dtqatten.boards.litex.run", *args],
        cwd=FOLDER.resolve().parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert lines, done.stderr[-3000:]
    return done.returncode, lines


@pytest.mark.parametrize("soc", ["sdr", pytest.param("ddr3", marks=pytest.mark.long)])
def test_recorded_layers(soc: str) -> None:
    """Each layer's outputs, ids and importance, three times, with errors in between."""
    code, lines = firmware(soc)
    assert (code, lines[-1]) == (0, "PASS")
    assert [line for line in lines[:-1] if not line.startswith(" ")] == OUTCOMES
    equal = [line.split(": ")[1] for line in lines if "bytes" in line]
    assert equal == ["equal"] * (3 * 2 * 3)


def test_without_cache_maintenance_it_fails() -> None:
    """Or the caches of the SoC prove nothing."""
    code, lines = firmware("sdr", "--define", "NO_MAINTENANCE")
    assert (code, lines[-1]) == (1, "FAIL")
