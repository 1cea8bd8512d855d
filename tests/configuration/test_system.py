"""Sizes of a memory system."""

import pytest

from dtqatten.configuration.core import PRESETS, ConfigError
from dtqatten.configuration.system import SystemConfig


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"bus_bits": 96}, "bus_bits is 96: choose 64, 128, 256 or 512"),
        ({"address_bits": 8}, r"address_bits is 8, outside 16\.\.64"),
        ({"burst_beats": 12}, "burst_beats is 12: choose a power of two up to 256"),
        ({"bus_bits": 512, "burst_beats": 128}, "power of two up to 64, what a page of 4096"),
        ({"buffer_bursts": 1}, r"buffer_bursts is 1, outside 2\.\.16"),
    ],
)
def test_impossible_sizes_are_refused(changes, message) -> None:
    with pytest.raises(ConfigError, match=message):
        SystemConfig(core=PRESETS["tiny"], **changes)


def test_derived_sizes() -> None:
    system = SystemConfig(core=PRESETS["base"], bus_bits=256)
    assert (system.bus_bytes, system.buffer_beats, system.plane_bytes) == (32, 64, 32)
