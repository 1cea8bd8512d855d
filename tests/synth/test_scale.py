"""Limits of loads and delays, by a library's smallest buffer."""

import pytest

from dtqatten.synth.cells import BufferCell
from dtqatten.synth.place.drives import Drive, Drives
from dtqatten.synth.scale import NANGATE45, Scale, load_scale


def drive(delay: float) -> Drive:
    return Drive(1.0, {"A": 1.0}, frozenset(), 1.0, delay, 60.0)


def test_the_reference_is_one() -> None:
    assert Scale.of(0.974659, 2.418, 27.8) == NANGATE45 == Scale(1.0, 1.0)


def test_heavier_and_slower_gates() -> None:
    assert load_scale(2.26339) == 2.32
    assert Scale.of(2.26339, 2.798, 103.2) == Scale(2.32, 3.45)


@pytest.mark.parametrize(("slowest", "stays"), [(15.0, True), (15.1, False)])
def test_delay_cells_are_no_buffers(slowest: float, stays: bool) -> None:
    drives = Drives([])
    drives.cells = {"quick": drive(10.0), "slow": drive(slowest)}
    buffers = [BufferCell(1.0, name, "A", "Y") for name in drives.cells]
    assert drives.quick(buffers) == tuple(buffers[: 1 + stays])
    assert drives.quick([]) == ()
