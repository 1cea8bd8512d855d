"""Outputs: checked before anything is computed, whole, and in a folder of their own."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from command_table import HEAVY, OUTPUTS, arguments, files, refused, replaced, run
from quick_commands import QUICK, ended, export_at_once


def wrong_outputs() -> Iterator[Any]:
    """Yield outputs that cannot be: command, option, path and what the message says."""
    for command, options in OUTPUTS.items():
        for option, kind in options.items():
            suffix = kind if kind.startswith(".") else ""
            cases = {
                f"afile/x{suffix}": "is below",
                f"afile/x/y{suffix}": "is below",
                # A file system in which nobody can make a file, root neither.
                f"/proc/self/x{suffix}": "cannot be made",
            }
            if kind == "folder":
                cases["afile"] = "is a file"
            else:
                cases[f"adir{suffix}"] = "is a directory"
            if suffix:
                cases["picture.nothing"] = "must end in"
            for path, says in cases.items():
                yield pytest.param(command, option, path, says, id=f"{command} {option} {path}")


@pytest.mark.parametrize(("command", "option", "path", "says"), list(wrong_outputs()))
def test_outputs_are_checked_before_anything_is_computed(
    command: str,
    option: str,
    path: str,
    says: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (folder / "afile").write_text("mine")
    for name in ("adir", "adir.png"):
        (folder / name).mkdir()
    before = files(folder)
    replaced(monkeypatch, command, AssertionError("it computes"))
    refused(run(*arguments(command, option, path)), path, says)
    assert files(folder) == before


@pytest.mark.parametrize(
    ("command", "names"),
    [
        (
            "registers",
            [
                "registers.md",
                "dtqatten.h",
                "dtqatten_driver.h",
                "dtqatten_driver.c",
                "dtqatten_layout.c",
            ],
        ),
        ("verilog", ["dtqatten_pe.v"]),
        ("bench", ["array.json", "timeline.png"]),
        ("sweep", ["sweep.csv", "sweep.png"]),
        ("explore", ["explore.csv", "explore.png"]),
        ("synth", ["area.png"]),
    ],
)
def test_a_directory_where_a_file_will_be_is_refused_too(
    command: str, names: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replaced(monkeypatch, command, AssertionError("it computes"))
    for name in names:
        (folder / name).mkdir()
        refused(run(*arguments(command, "-o", ".")), name, "is a directory")
        (folder / name).rmdir()


def outputs_that_work() -> Iterator[Any]:
    for command, options in OUTPUTS.items():
        for option, kind in options.items():
            if command in QUICK and option not in ("--waves", "--pictures"):
                yield pytest.param(command, option, kind, id=f"{command} {option}")


@pytest.mark.parametrize(("command", "option", "kind"), list(outputs_that_work()))
def test_missing_folders_are_made_and_old_files_replaced(
    command: str, option: str, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path("new/deep/x" + (kind if kind.startswith(".") else ""))
    ended(monkeypatch, command, option, str(path))
    made = files(folder / "new")
    assert made
    for name in made:
        (folder / "new" / name).write_text("{}")
    ended(monkeypatch, command, option, str(path))
    again = files(folder / "new")
    assert again.keys() == made.keys()
    assert b"{}" not in again.values()


@pytest.mark.parametrize("command", QUICK)
def test_by_default_everything_is_written_below_the_folder_it_runs_in(
    command: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever that is; the commands that write nothing leave nothing."""
    before = files(folder)
    ended(monkeypatch, command)
    writes = set(OUTPUTS) - {"sim", "stalls", "eval", "run", "board run"}
    assert (files(folder) == before) == (command not in writes)


def test_two_presets_are_two_folders(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_at_once(monkeypatch)
    for args in ("--preset tiny", "--preset base", "--preset tiny --rows 2", "--config small.toml"):
        assert run("verilog", "--block", "pe", *args.split()).exit_code == 0
    found = sorted(path.parent.name for path in Path("build/verilog").rglob("*.v"))
    assert found == ["base", "small", "tiny", "tiny-rows-2"]


def test_measured_values_are_not_replaced_by_none(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dtqatten.model.results import Figure, markdown

    refused(run("results", "--synth", "missing"), "no results in missing")
    page = folder / "docs" / "results.md"
    page.parent.mkdir()
    old = [Figure("core_mm2", 2.5, "", ""), Figure("pe_pj", 3.0, "", ""), Figure("x", None, "", "")]
    page.write_text(markdown(old, ""))
    before = files(folder)
    monkeypatch.setattr(
        HEAVY["results"][1], lambda *_: [old[0], Figure("pe_pj", None, "", ""), old[2]]
    )
    result = run("results", "--synth", "synth")
    refused(result, "docs/results.md has values of pe_pj, which")
    assert files(folder) == before
    assert run("results", "--synth", "synth", "--page", "other.md").exit_code == 0
    page.unlink()
    monkeypatch.setattr(HEAVY["results"][1], lambda *_: [Figure("core_mm2", None, "", "")])
    refused(run("results", "--synth", "synth"), "build/results.json has values of core_mm2")


def test_numbers_alone_need_no_matplotlib(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.delitem(sys.modules, "dtqatten.sim.studies.plots", raising=False)
    ended(monkeypatch, "stalls")
    refused(run(*arguments("stalls", "--plot", "x.png")), "matplotlib is not installed")


def test_a_mean_of_no_tiles_is_not_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dtqatten.sim.studies.stalls import StallStudy

    even = StallStudy([0.0, 0.0], 0.0, 0.0, 16.0, 1.0, 4, np.zeros((4, 9), np.uint8))
    monkeypatch.setattr(HEAVY["stalls"][1], lambda *_: even)
    assert "that stall" not in run("stalls").stdout
