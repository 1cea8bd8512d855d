"""Cycles of a decode step in closed form, against the RTL on a bus."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from dtqatten import Config
from dtqatten.model import shapes
from dtqatten.model.decode_step import DecodeStep, step_bytes, step_cycles
from dtqatten.sim.machine.axi import simulated_device
from dtqatten.sim.studies.choice_bench import choosing_machine, choosing_step
from dtqatten.sim.studies.decode_bench import Shape, decode_step, measure_step

KEYS, SHARE = 256, 90
#: Sum of exponentials beyond which a row is flat: of each, and of none.
ALL_FLAT, NONE_FLAT = 1, 1 << 30
CORE = Config(rows=4, cols=8, depth=8, d_head=32, n_max=KEYS)
SYSTEM = choosing_machine(CORE, 32, 64)
SYSTEM = replace(SYSTEM, core=SYSTEM.core.replace(progressive=True))
RUN = Shape(layers=1, kv_heads=3, group=3, d=32, run=3)
MODEL = shapes.Shape(layers=1, heads=9, kv_heads=3, d_head=32)


@pytest.fixture(scope="module")
def measured() -> Callable[..., dict[str, float]]:
    device = simulated_device(SYSTEM, size=1 << 22, timeout=400_000, optimize=0)

    def measure(wide: float, way: str, flat_sum: int | None) -> dict[str, float]:
        call = choosing_step(decode_step(RUN, KEYS, wide), way, SHARE)
        call = replace(call, options=replace(call.options, flat_sum=flat_sum))
        return measure_step(SYSTEM, device, RUN, call)

    return measure


@pytest.mark.parametrize(
    ("way", "flat_sum", "error"),
    [
        ("all", None, 0.02),
        ("read", None, 0.05),
        ("all", ALL_FLAT, 0.09),
        ("read", ALL_FLAT, 0.03),
        # Where V in 8 bits competes with the next head's keys: the trial hides less of it.
        ("all", NONE_FLAT, 0.13),
        ("read", NONE_FLAT, 0.03),
    ],
)
@pytest.mark.parametrize("wide", [0.0, 1.0])
def test_closed_form_is_near_the_rtl(measured, wide, way, flat_sum, error) -> None:
    """All of V and the chosen groups; no head, every head and none of those tried is flat."""
    flat = {None: None, ALL_FLAT: 1.0, NONE_FLAT: 0.0}[flat_sum]
    step = DecodeStep(
        shape=MODEL,
        four_bit=round(KEYS * (1 - wide)),
        eight_bit=round(KEYS * wide),
        value_share=SHARE if way == "read" else 256,
        flat=flat,
    )
    found = measured(wide, way, flat_sum)
    assert step_cycles(SYSTEM, step) == pytest.approx(found["cycles"], rel=error)
    # Words of all, by how busy the bus is. A head reads 12 of 32 groups: its share, rounded up.
    read = found["bus_busy"] * found["cycles"] * SYSTEM.bus_bytes
    more = 3 * (12 / 32 - SHARE / 256) * KEYS * 16 * (1 + wide) if way == "read" else 0
    assert step_bytes(step) + more == pytest.approx(read, rel=1e-9)
