"""Weights equal the rounding that narrowing stands for, at the corners and at random."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, unsigned

from dtqatten.configuration.core import PRESETS, Config
from dtqatten.hw.softmax.narrowing import narrowing, times_digit
from dtqatten.sim.engines.native import run


def rounded(value: int, narrow: bool, drop: int, config: Config) -> int:
    """Round half up to a code; of that, half up, to its highest nibble."""
    planes, digit = config.planes, 15 if config.unsigned_weights else 7
    top = sum(digit << 4 * i for i in range(planes))
    code = floor(Fraction(value * top, 1 << drop) + Fraction(1, 2))
    if not narrow:
        return code
    step = 1 << 4 * (planes - 1)
    # Balanced digits below the highest nibble lie in [-8, 7] each.
    half = step // 2 if config.unsigned_weights else sum(8 << 4 * i for i in range(planes - 1))
    return min((code + half) // step, digit) * step


@pytest.mark.parametrize("unsigned_weights", [False, True])
@pytest.mark.parametrize("planes", [2, 3])
@pytest.mark.parametrize("bits", [16, 24])
def test_rounds_once_or_twice(bits: int, planes: int, unsigned_weights: bool) -> None:
    rng = np.random.default_rng(planes)
    config = PRESETS["tiny"].replace(planes=planes, unsigned_weights=unsigned_weights)
    digit = 15 if unsigned_weights else 7
    m = Module()
    value, narrow = Signal(unsigned(bits)), Signal()
    multiple, weight = Signal(bits + 4), Signal(4 * planes)
    m.d.comb += [
        multiple.eq(times_digit(config, value)),
        weight.eq(narrowing(config, multiple, narrow, bits)),
    ]
    largest = (1 << bits) - 1
    values = [0, 1, largest, largest - 1, largest // 2, largest // 2 + 1]
    values += rng.integers(0, largest, 300).tolist()

    async def testbench(ctx) -> None:
        for number in values:
            ctx.set(value, number)
            assert ctx.get(multiple) == digit * number
            for one_nibble in (0, 1):
                ctx.set(narrow, one_nibble)
                assert ctx.get(weight) == rounded(number, bool(one_nibble), bits, config)

    run(m, testbench)
