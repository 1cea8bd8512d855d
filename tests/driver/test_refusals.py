"""What the driver refuses itself: layers the machine cannot do, arenas that are none."""

import numpy as np
import pytest

from driven import BASE, layer
from dtqatten.driver.device import Arena, Device
from dtqatten.driver.errors import LayoutError
from dtqatten.driver.layers import Layer
from dtqatten.golden.numerics.codes import Codes, quantize
from dtqatten.golden.numerics.options import Options
from dtqatten.sim.machine.samples import DRIVEN


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"heads": 13}, "13 heads, more than the machine's 12"),
        ({"tokens": 41}, "41 tokens, more than the machine's 40"),
        ({"cumulative": True, "fresh": True}, "cannot do <Flag.CUMULATIVE"),
        ({"chained": True}, "the first layer is chained"),
    ],
)
def test_the_driver_refuses_what_the_machine_would(device, changes, message) -> None:
    with pytest.raises(LayoutError, match=message):
        device.run([layer(**changes)])


def test_other_channels_are_refused(device) -> None:
    q = quantize(np.ones((1, 2, 16)))
    with pytest.raises(LayoutError, match="16 channels, but the machine has d_head 32"):
        device.run([Layer(q=q, k=q, v=q, k0=1, k1=0)])


@pytest.mark.parametrize(
    ("signed", "gain", "message"),
    [
        (False, -2, "a gain of K is -2 without signed_gains"),
        (True, 3, "a gain of K is 3 with signed_gains, which are even"),
    ],
)
def test_gains_of_another_kind_are_refused(device, signed, gain, message) -> None:
    q = quantize(np.ones((1, 2, 32)))
    k = Codes(q.codes, q.scale, np.full((1, 2), gain))
    with pytest.raises(LayoutError, match=message):
        device.check(Layer(q=q, k=k, v=q, k0=1, k1=0, options=Options(signed_gains=signed)))


def test_shapes_that_disagree_are_refused() -> None:
    q, k = quantize(np.ones((3, 4, 8))), quantize(np.ones((2, 4, 8)))
    with pytest.raises(LayoutError, match="shapes disagree"):
        Layer(q=q, k=k, v=k, k0=1, k1=0)


def test_what_an_arena_keeps_is_not_taken_back() -> None:
    arena = Arena(4096, 4096)
    assert (arena.take(100), arena.keep(100), arena.keep(1)) == (4096, 8064, 8000)
    arena.clear()
    assert arena.take(3904) == 4096
    with pytest.raises(LayoutError, match="64 bytes wanted, 0 left of the 4096"):
        arena.take(64)
    with pytest.raises(LayoutError, match=r"1 bytes wanted, 0 left .* or keep less in it"):
        arena.keep(1)


def test_arenas_are_pages_and_have_an_end() -> None:
    with pytest.raises(LayoutError, match="whole pages"):
        Arena(64, 4096)
    arena = Arena(4096, 4096)
    assert (arena.take(1), arena.take(64), arena.take(0)) == (4096, 4160, 4224)
    with pytest.raises(LayoutError, match="5000 bytes wanted, 3968 left of the 4096"):
        arena.take(5000)


@pytest.mark.parametrize(("base", "size"), [(0, 0), (-4096, 4096), (4096, -4096), (4096, 100)])
def test_arenas_that_are_none_are_refused(base, size) -> None:
    with pytest.raises(LayoutError, match=f"memory of {size} bytes"):
        Arena(base, size)


@pytest.mark.parametrize("shift", [-1, 0, 1, 3])
def test_arenas_that_overlap_are_refused(device, shift) -> None:
    inputs = Arena(BASE + 0x4000, 4 * 4096)
    outputs = Arena(inputs.base + shift * 4096, 2 * 4096)
    with pytest.raises(LayoutError, match="overlap"):
        Device(device.bus, inputs, outputs)
    Device(device.bus, inputs, Arena(inputs.last + 1, 4096))


def test_arenas_beyond_the_address_bits_are_refused(device) -> None:
    low, high = Arena(0, 4096), Arena((1 << DRIVEN.address_bits) - 4096, 4096)
    Device(device.bus, low, high)
    beyond = Arena(1 << DRIVEN.address_bits, 4096)
    for arenas in ((low, beyond), (beyond, low)):
        with pytest.raises(LayoutError, match="the machine has 40 address bits"):
            Device(device.bus, *arenas)


def test_empty_chains_are_refused(device) -> None:
    with pytest.raises(LayoutError, match="at least one layer"):
        device.run([])
