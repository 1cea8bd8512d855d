"""Folders that make and simulators can work in, wherever temporary files go."""

import os
import tempfile
from pathlib import Path

import pytest

from dtqatten.files import scratch
from dtqatten.files.scratch import is_plain, tool_environment

ODD = ("with space", "quo'te", 'quo"te', "dollar$HOME", "hash#", "col:on", "semi;colon", "per%cent")


@pytest.mark.parametrize("name", ODD)
def test_a_folder_that_tools_cannot_use_is_passed_over(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd, plain = tmp_path / name, tmp_path / "plain"
    odd.mkdir()
    plain.mkdir()
    assert is_plain(plain)
    assert not is_plain(odd)
    monkeypatch.setattr(scratch, "FALLBACKS", (str(tmp_path / "missing"), str(plain)))
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    with scratch.scratch() as folder:
        assert folder.parent == plain
        assert tool_environment() == {**os.environ, "TMPDIR": str(plain)}
    assert not list(plain.iterdir())
    monkeypatch.setattr(scratch, "FALLBACKS", ())
    with pytest.raises(OSError, match=r"a path that make .* cannot take.*: set TMPDIR to a folder"):
        tool_environment()


def test_a_plain_folder_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch.scratch() as folder:
        assert folder.parent == tmp_path
