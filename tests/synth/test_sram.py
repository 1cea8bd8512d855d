"""Memories modelled by macros."""

from pathlib import Path

import pytest

from dtqatten.hw.base.memory_shape import Memory
from dtqatten.synth.macros import read_macros
from dtqatten.synth.sram import SECOND_PORT, smallest


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
