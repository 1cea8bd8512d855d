"""Machines side by side: their figures against parts that are known otherwise."""

from dataclasses import replace

import pytest

from dtqatten.configuration.core import PRESETS
from dtqatten.model.core import run_core
from dtqatten.model.shapes import SHAPES
from dtqatten.model.sweep import points, to_csv
from dtqatten.synth.estimate.area_model import fitted
from dtqatten.synth.explore import Explorer, Machine, best, front
from dtqatten.synth.explore_picture import explore_figure

SHARES = (0.28, 0.414, 0.306)


@pytest.fixture(scope="module")
def tiny() -> tuple[Machine, Machine]:
    """The smallest preset, with 4 and with 2 rows, on MiniLM."""
    explorer = Explorer(fitted(), SHAPES["minilm"], 0.75, 2.8)
    work = points({"tiny": PRESETS["tiny"]}, {"rows": [4, 2]}, [32], [SHARES], d_head=32)
    four, two = map(explorer, work)
    return four, two


def test_time_is_that_of_the_cycle_model(tiny: tuple[Machine, Machine]) -> None:
    """Of 6 layers of 12 heads, at 1 GHz."""
    four, _ = tiny
    (point,) = points({"tiny": PRESETS["tiny"]}, {}, [32], [SHARES], d_head=32)
    assert four.head_cycles == run_core(point.config, point.workload).head_cycles
    assert four.sequence_us == pytest.approx(72 * four.head_cycles / 1000)
    assert four.mw == pytest.approx(1e3 * four.sequence_uj / four.sequence_us)
    assert four.gops == pytest.approx(2 * 2 * 32**2 * 32 / four.head_cycles)


def test_area_is_near_that_of_the_mapped_core(tiny: tuple[Machine, Machine]) -> None:
    """``dtqatten synth --target asic --preset tiny --block core``: 338,399 um2, 109,351 SRAM."""
    four, two = tiny
    assert four.sram_mm2 == pytest.approx(0.109351, abs=1e-6)
    assert four.cells_mm2 + four.sram_mm2 == pytest.approx(0.338399, rel=0.03)
    assert four.die_mm2 > four.cells_mm2 / 0.75 + four.sram_mm2
    assert two.cells_mm2 < four.cells_mm2
    assert two.multipliers == 64


def test_the_best_machine_is_the_fastest_within_limits(tiny: tuple[Machine, Machine]) -> None:
    four, two = tiny
    assert best(tiny) is four
    assert best(tiny, mm2=(two.die_mm2 + four.die_mm2) / 2) is two
    assert best(tiny, mw=two.mw) is two
    assert best(tiny, mm2=0.1) is None
    same = replace(four, die_mm2=four.die_mm2 * 2)
    assert best([same, four]) is four


def test_energy_that_is_not_measured_is_not_known(tiny: tuple[Machine, Machine]) -> None:
    """Such a machine has die and time, is compared with none in energy, and in no limit of mW."""
    explorer = Explorer(fitted(), SHAPES["minilm"], 0.75, 2.8)
    other = PRESETS["tiny"].replace(block_exponents=True)
    (point,) = points({"other": other}, {}, [32], [SHARES], d_head=32)
    found = explorer(point)
    assert (found.sequence_uj, found.mw, found.costs) == (None, None, None)
    assert found.die_mm2 > 0
    assert found.sequence_us > 0
    assert front([found, *tiny]) == front(tiny)
    assert best([found]) is found
    assert best([found], mw=1e9) is None
    header, row = to_csv([found], Machine).splitlines()
    values = dict(zip(header.split(","), row.split(","), strict=True))
    assert (values["sequence_uj"], values["mw"]) == ("", "")
    assert explore_figure([found, *tiny], found)
    assert explore_figure([found], None)


def test_the_front_holds_what_none_beats_in_all(tiny: tuple[Machine, Machine]) -> None:
    four, two = tiny
    worse = replace(four, die_mm2=four.die_mm2 + 1, sequence_us=four.sequence_us + 1)
    assert front([four, two, worse]) == [four, two]
    assert front([worse]) == [worse]
    assert front([four, four]) == [four, four]
