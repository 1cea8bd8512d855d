"""Memories modelled by macros."""

from pathlib import Path

import pytest

from dtqatten.hw.base.memory_shape import Memory
from dtqatten.synth.sram import SECOND_PORT, read_macros, smallest
from dtqatten.synth.tools import SynthError


def test_macros_are_read(macros: Path) -> None:
    small, large = read_macros(macros)
    assert (small.words, small.width, small.area) == (32, 8, 100.0)
    assert (small.delay, small.setup, small.pin, small.clock) == (0.3, 0.05, 5.0, 20.0)
    assert large.load == (5.0, 500.0)
    assert large.slew == (0.01, 0.2)


@pytest.mark.parametrize(
    ("words", "width", "of", "across", "deep"),
    [
        (1, 1, 32, 1, 1),
        (32, 8, 32, 1, 1),
        (32, 9, 32, 2, 1),
        (33, 8, 64, 1, 1),
        (64, 24, 64, 3, 1),
        (65, 8, 64, 1, 2),  # stacked only beyond the deepest
    ],
)
def test_the_smallest_that_is_deep_enough(
    macros: Path, words: int, width: int, of: int, across: int, deep: int
) -> None:
    model = smallest(read_macros(macros), Memory(words, width))
    assert (model.macro.words, model.across, model.deep) == (of, across, deep)
    area = across * deep * {32: 100, 64: 180}[of]
    assert model.area == SECOND_PORT * area
    assert smallest(read_macros(macros), Memory(words, width, ports=1)).area == area


def test_a_folder_without_macros_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SynthError, match="no memory macro in"):
        read_macros(tmp_path)
    (tmp_path / "x.lib").write_text("library(x) {")
    with pytest.raises(SynthError, match=r"x\.lib is no Liberty file"):
        read_macros(tmp_path)
