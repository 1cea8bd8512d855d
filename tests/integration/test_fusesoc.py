"""The core file, as FuseSoC reads it and runs tools by it."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

FUSESOC = "import sys; from fusesoc.main import main; sys.exit(main())"


def fusesoc(folder: Path, at: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FUSESOC, "--cores-root", str(folder), *arguments],
        cwd=at,
        env={"HOME": str(at), "PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("block", ["core", "system"])
def test_files_that_are_named_are_there(block: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(f"{block}_package")
    core = yaml.safe_load((folder / f"dtqatten_{block}.core").read_text())
    named = set()
    for fileset in core["filesets"].values():
        named |= {next(iter(f)) if isinstance(f, dict) else f for f in fileset["files"]}
    there = {path.name for path in folder.iterdir()}
    beside = {f"dtqatten_{block}.core", f"dtqatten_{block}.xml", f"dtqatten_{block}.rdl"}
    assert named == there - beside


def test_fusesoc_sets_up_each_target(core_package: Path, tmp_path: Path) -> None:
    shown = fusesoc(core_package, tmp_path, "core", "show", "dtqatten_core")
    assert shown.returncode == 0, shown.stderr
    for target in ("default", "lint", "synth", "sim"):
        assert f"\n{target}" in shown.stdout
    for target, tool in (("lint", "verilator"), ("sim", "icarus"), ("sim", "verilator")):
        run = fusesoc(
            core_package,
            tmp_path,
            *("run", "--setup", "--target", target, "--tool", tool, "dtqatten_core"),
        )
        said = run.stdout + run.stderr
        assert run.returncode == 0, said
        assert "ERROR" not in said
        assert "WARNING" not in said
