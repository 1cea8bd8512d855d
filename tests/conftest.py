"""Shared by all tests: the count of compared cycles, shown at the end."""

import gc
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

# Models run for some thousand cycles: compiling them longer does not pay.
os.environ.setdefault("DTQATTEN_OPTIMIZE", "0")

# Their assertions say what differs, as those of tests do.
HELPERS = sorted(path.stem for path in (Path(__file__).parent / "helpers").glob("*.py"))
pytest.register_assert_rewrite(*HELPERS)

COMPARED = pytest.StashKey[Counter[str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[COMPARED] = Counter()


def pytest_collection_finish() -> None:
    """Spare the garbage collector modules and tests: they stay, and it walks them each time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


@pytest.fixture
def compared(request: pytest.FixtureRequest) -> Counter[str]:
    """Cycles compared with the cycle model, by simulator; add to it."""
    return request.config.stash[COMPARED]


@pytest.fixture
def odd_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of spaces and quotes, which is also where temporary files go."""
    folder = tmp_path / """it's a "folder" """
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)  # what the standard library remembers
    assert tempfile.gettempdir() == str(folder)
    return folder


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Tell the counts of a worker of pytest-xdist."""
    if hasattr(session.config, "workeroutput"):
        counts = session.config.stash[COMPARED]
        session.config.workeroutput["compared"] = {str(name): n for name, n in counts.items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Add up the workers' counts; one that crashed has none."""
    node.config.stash[COMPARED].update(getattr(node, "workeroutput", {}).get("compared", {}))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    for simulator, cycles in sorted(config.stash[COMPARED].items()):
        terminalreporter.write_line(f"{simulator}: {cycles} cycles equal to the cycle model")
