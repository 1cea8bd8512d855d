"""Weights equal the rounding that narrowing stands for, at the corners and at random."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, unsigned

from dtqatten.hw.softmax.narrowing import narrowing, sevenfold
from dtqatten.sim.engines.native import run


def rounded(value: int, narrow: bool, drop: int, planes: int) -> int:
    """Round half up to a code; of that, half up, to its highest nibble."""
    top = sum(7 << 4 * i for i in range(planes))
    code = floor(Fraction(value * top, 1 << drop) + Fraction(1, 2))
    if not narrow:
        return code
    # Balanced digits below the highest nibble lie in [-8, 7] each.
    half = sum(8 << 4 * i for i in range(planes - 1))
    step = 1 << 4 * (planes - 1)
    return (code + half) // step * step


@pytest.mark.parametrize("planes", [2, 3])
@pytest.mark.parametrize("bits", [16, 24])
def test_rounds_once_or_twice(bits: int, planes: int) -> None:
    rng = np.random.default_rng(planes)
    m = Module()
    value, narrow = Signal(unsigned(bits)), Signal()
    seven, weight = Signal(bits + 3), Signal(4 * planes)
    m.d.comb += [
        seven.eq(sevenfold(value)),
        weight.eq(narrowing(seven, narrow, bits, planes)),
    ]
    largest = (1 << bits) - 1
    values = [0, 1, largest, largest - 1, largest // 2, largest // 2 + 1]
    values += rng.integers(0, largest, 300).tolist()

    async def testbench(ctx) -> None:
        for number in values:
            ctx.set(value, number)
            assert ctx.get(seven) == 7 * number
            for one_nibble in (0, 1):
                ctx.set(narrow, one_nibble)
                assert ctx.get(weight) == rounded(number, bool(one_nibble), bits, planes)

    run(m, testbench)
