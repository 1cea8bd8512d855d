"""The commands as a person types them: a simulated board in a process of its own, and a host."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest

from dtqatten.api.attention import attention_layers

ROOT = Path(__file__).parents[2]
MAIN = (
    "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    "from dtqatten.cli import app; app()"
)


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def dtqatten(*args: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, *map(str, args)],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )


@contextmanager
def simulated(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Start ``dtqatten board simulate`` and wait until it serves."""
    with subprocess.Popen(
        [
            *(sys.executable, "-c", MAIN, "board", "simulate", "--board", "ulx3s-85f"),
            *("--link", "board.tty"),
        ],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert "dtqatten board run --port board.tty" in process.stdout.readline()
            yield process
        finally:
            process.kill()


RUN = ("board", "run", "in.npz", "--port", "board.tty", "--board", "ulx3s-85f", "--json")


@contextmanager
def talking(folder: Path, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Start a run of half a minute, and wait until it has had its port for so many seconds."""
    port = os.readlink(folder / "board.tty")
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, "board", "run", "--sentence", "--port", "board.tty"],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            while port not in map(str, opened(process.pid)):
                assert process.poll() is None
                time.sleep(0.05)
            time.sleep(seconds)
            yield process
        finally:
            process.kill()


def opened(process: int) -> Iterator[Path]:
    """Yield what a process has open."""
    for entry in Path(f"/proc/{process}/fd").iterdir():
        with suppress(OSError):
            yield entry.readlink()


def test_a_person_with_a_board(tmp_path: Path) -> None:
    """A layer through the ULX3S's own machine; either end killed; the next run right."""
    rng = np.random.default_rng(0)
    q, k, v = rng.normal(size=(3, 1, 1, 12, 32))
    np.savez(tmp_path / "in.npz", q=q, k=k, v=v)
    (wanted,) = attention_layers(q, k, v, preset="tiny")
    with simulated(tmp_path) as board:
        assert (tmp_path / "board.tty").is_symlink()
        done = dtqatten(*RUN, "--save", "out.npz", folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)[0]["kept"] == len(wanted.ids)
        with np.load(tmp_path / "out.npz") as found:
            for name in ("output", "ids", "bits", "importance"):
                assert np.array_equal(found[f"{name}_0"], getattr(wanted, name))

        # The host is killed in the middle, twice; the board is as good as new.
        for seconds in (0.3, 2.0):
            with talking(tmp_path, seconds) as host:
                host.kill()
                host.communicate()
        again = dtqatten(*RUN, folder=tmp_path)
        assert again.returncode == 0, again.stderr
        assert json.loads(again.stdout) == json.loads(done.stdout)

        # The board is unplugged while a host runs.
        with talking(tmp_path, 1.0) as host:
            board.kill()
            out, err = host.communicate(timeout=120)
    assert (host.returncode, out) == (1, ""), err
    assert err.startswith("dtqatten: board.tty is gone: ")
    assert len(err.splitlines()) == 1
    gone = dtqatten(*RUN, folder=tmp_path)
    assert gone.returncode == 2
    assert gone.stderr.startswith("dtqatten: cannot open board.tty: ")

    # Plugged in again, under the name of old; Ctrl-C takes the name away.
    with simulated(tmp_path) as board:
        assert dtqatten(*RUN, folder=tmp_path).returncode == 0
        board.send_signal(signal.SIGINT)
        assert board.wait(timeout=20) == 130
        assert not (tmp_path / "board.tty").is_symlink()


def test_a_name_that_something_else_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dtqatten.commands.board import linked
    from dtqatten.files.errors import UsageError

    (tmp_path / "mine").write_text("x")
    with pytest.raises(UsageError, match="is there, and no link"), linked("x", tmp_path / "mine"):
        pass
    assert (tmp_path / "mine").read_text() == "x"
    with linked("/dev/null", tmp_path / "deep" / "name") as name:
        assert os.readlink(name) == "/dev/null"
    assert not os.path.lexists(name)
