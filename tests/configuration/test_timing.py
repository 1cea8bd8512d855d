"""What has registers of its own, as each preset chooses it."""

import dataclasses

import pytest

from dtqatten.configuration.core import PRESETS
from dtqatten.configuration.timing import ASIC, FPGA, Timing


@pytest.mark.parametrize("preset", list(PRESETS))
def test_only_the_preset_for_fpgas_has_more_registers(preset: str) -> None:
    assert PRESETS[preset].timing == (FPGA if preset == "edge" else ASIC)


def test_stages_of_products_choose() -> None:
    config = PRESETS["tiny"]
    assert config.timing is ASIC
    assert config.replace(product_stages=2).timing is FPGA


def test_a_machine_has_none_unless_it_says_so() -> None:
    assert not any(dataclasses.asdict(ASIC).values())
    assert Timing() == ASIC
    assert all(dataclasses.asdict(FPGA).values())
    assert FPGA.word_stages == 2


def test_stages_of_the_grid() -> None:
    """Two for a word, two for products; else the products alone."""
    assert PRESETS["edge"].grid_stages == 4
    assert PRESETS["base"].grid_stages == 1


def test_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ASIC.word_stages = 1  # type: ignore[misc]
