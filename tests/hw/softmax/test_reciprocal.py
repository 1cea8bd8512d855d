"""The reciprocal against the golden function."""

import gc

import numpy as np
import pytest

from dtqatten.golden.numerics import softmax
from dtqatten.hw.softmax.reciprocal import Reciprocal
from dtqatten.sim.engines.verilated import VerilatedModel


def compare(width: int, bits: int, divisors: list[int]) -> None:
    """One divisor a cycle; each reciprocal comes exactly ``latency`` cycles later."""
    component = Reciprocal(width, bits=bits)
    assert component.latency == {1: 18, 2: 10, 4: 6, 8: 4, 16: 3}[bits]
    latency = component.latency
    rtl = VerilatedModel(component, "reciprocal")
    got = [rtl.step({"divisor": d}, "o")["o"] for d in [*divisors, *[0] * latency]][latency:]
    mantissa, exponent = softmax.reciprocal(np.array(divisors))
    assert [o & 0x1FFFF for o in got] == mantissa.tolist()
    assert [o >> 17 for o in got] == exponent.tolist()


@pytest.mark.parametrize(("width", "bits"), [(1, 1), (12, 1), (12, 4), (12, 16)])
def test_every_divisor(width: int, bits: int) -> None:
    compare(width, bits, list(range(1 << width)))


@pytest.mark.parametrize(("width", "bits"), [(26, 1), (25, 2), (26, 8)])
def test_wide_divisors(width: int, bits: int) -> None:
    near = [(1 << z) + d for z in range(2, width) for d in (-1, 0, 1)]
    rng = np.random.default_rng(width)
    sizes = 2.0 ** rng.uniform(0, width, 3000)
    compare(width, bits, [0, 1, (1 << width) - 1, *near, *sizes.astype(np.int64).tolist()])


@pytest.mark.parametrize(
    ("width", "options", "message"),
    [
        (0, {}, r"width is 0, outside 1\.\.48: choose a value in that range"),
        (49, {}, r"width is 49, outside 1\.\.48"),
        (8, {"bits": 3}, "bits is 3: choose one of 1, 2, 4, 8, 16"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*created but never used")
def test_impossible_parameters_are_refused(width, options, message) -> None:
    with pytest.raises(ValueError, match=message):
        Reciprocal(width, **options)
    gc.collect()  # of the refused component, which Amaranth reports as unused
