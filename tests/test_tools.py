"""Programs beside the package: what they print, and what they refuse."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dtqatten import Config

ROOT = Path(__file__).parents[1]


def option_areas(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "tools/option_areas.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)


def test_area_of_an_option() -> None:
    """A sum of counts takes memory; heads are pruned outside of the core."""
    done = option_areas("--preset", "tiny", "--option", "head_pruning", "--option", "cumulative")
    assert done.returncode == 0, done.stderr
    assert re.match(r"`tiny`: [\d,]+ um2 of cells, [\d,]+ of macros\n", done.stdout)
    rows = {
        cells[1].strip("`"): [float(cell.replace(",", "")) for cell in cells[3:6]]
        for cells in (re.split(r" *\| *", line) for line in done.stdout.splitlines()[4:])
    }
    assert rows.keys() == {"cumulative", "head_pruning"}
    assert rows["head_pruning"] == [0, 0, 0]
    cells, macros, share = rows["cumulative"]
    assert cells > 0
    assert 0 < share < 50
    whole = [int(n.replace(",", "")) for n in re.findall(r"[\d,]{4,}", done.stdout)[:2]]
    assert share == pytest.approx(100 * (cells + macros) / sum(whole), abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [(("--option", "sink"), "sink: choose from"), (("--preset", "huge"), "no preset 'huge'")],
)
def test_what_is_not_known_is_refused(arguments: tuple[str, ...], says: str) -> None:
    done = option_areas(*arguments)
    assert done.returncode == 2
    assert says in re.sub(r"[\s│]+", " ", done.stderr)


def test_every_option_of_a_core_is_listed() -> None:
    """All that is off by default is there, but what says how large a core is."""
    text = (ROOT / "tools/option_areas.py").read_text()
    sizes = {"value_load_bits", "value_depth", "normalizer_lanes"}
    off = {
        field.name
        for field in dataclasses.fields(Config)
        if field.default in (False, 0, None) and field.name not in sizes
    }
    assert {name for name in off if f'"{name}":' not in text} == set()
