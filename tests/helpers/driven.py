"""Layers for the driver's machine, and the check that it is well."""

import functools

import numpy as np

from dtqatten.driver.device import Device
from dtqatten.driver.expected import compare_results, expected
from dtqatten.driver.layers import Layer
from dtqatten.golden.numerics.codes import quantize
from dtqatten.interface.registers import Status
from dtqatten.sim.machine.samples import DRIVEN

#: First byte of the machine's memory.
BASE = 0x1000_0000


def layer(heads: int = 2, tokens: int = 10, seed: int = 0, **options) -> Layer:
    rng = np.random.default_rng(seed)
    q, k, v = (quantize(rng.normal(size=(heads, tokens, 32))) for _ in range(3))
    return Layer(q=q, k=k, v=v, **{"k0": min(6, tokens), "k1": 2} | options)


FIRST, SECOND = layer(seed=1), layer(seed=2, chained=True, k0=4, k1=1)
GOOD = [layer(seed=3), layer(seed=4, chained=True, k0=3, k1=1)]


@functools.cache
def golden() -> list:
    return expected(DRIVEN.core, GOOD)


def is_well(device: Device) -> None:
    """The machine is idle and silent, and the next chain is exact."""
    assert Status.BUSY not in device.status
    assert (device.register("interrupt"), device.register("interrupt_enable")) == (0, 0)
    compare_results(GOOD, device.run(GOOD), golden())
    assert Status.BUSY not in device.status
