"""Weights equal the rounding that narrowing stands for, at the corners and at random."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from amaranth.hdl import Module, Signal, unsigned

from dtqatten.configuration.core import PRESETS, Config
from dtqatten.hw.softmax.narrowing import narrowing, tile_exponent, times_digit
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


@pytest.mark.parametrize("unsigned_weights", [False, True])
@pytest.mark.parametrize("planes", [2, 3])
@pytest.mark.parametrize("bits", [16, 24])
def test_an_exponent_scales_up_before_it_rounds(bits, planes, unsigned_weights) -> None:
    rng = np.random.default_rng(planes)
    config = PRESETS["tiny"].replace(planes=planes, unsigned_weights=unsigned_weights)
    m = Module()
    value, narrow, exponent = Signal(unsigned(bits)), Signal(), Signal(2)
    weight = Signal(4 * planes)
    multiple = times_digit(config, value)
    m.d.comb += weight.eq(narrowing(config, multiple, narrow, bits, exponent))

    async def testbench(ctx) -> None:
        for up in range(4):
            largest = (1 << bits - up) - 1
            values = [0, 1, largest, largest - 1, largest // 2, largest // 2 + 1]
            ctx.set(exponent, up)
            for number in values + rng.integers(0, largest, 200).tolist():
                ctx.set(value, number)
                for one_nibble in (0, 1):
                    ctx.set(narrow, one_nibble)
                    assert ctx.get(weight) == rounded(number << up, bool(one_nibble), bits, config)

    run(m, testbench)


def test_exponents_are_leading_zeros_of_the_largest_value_a_cycle_later() -> None:
    m = Module()
    values = [Signal(16, name=f"value_{c}") for c in range(3)]
    exponent = Signal(2)
    m.d.comb += exponent.eq(tile_exponent(m, values))
    rng = np.random.default_rng(0)
    beats = rng.integers(0, 65536, (200, 3)) >> rng.integers(0, 17, (200, 3))
    beats[:4] = [[0, 0, 0], [8191, 0, 1], [1, 8192, 8191], [0, 16383, 32768]]

    async def testbench(ctx) -> None:
        for beat in beats.tolist():
            for signal, value in zip(values, beat, strict=True):
                ctx.set(signal, value)
            await ctx.tick()
            assert ctx.get(exponent) == min(16 - max(beat).bit_length(), 3)

    run(m, testbench)
