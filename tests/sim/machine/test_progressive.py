"""Decode steps whose keys are in 4 bits first: what is read, counted and refused."""

import dataclasses
import functools

import numpy as np
import pytest

from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.driver.calls import Call
from dtqatten.driver.device import Device
from dtqatten.driver.errors import LayoutError
from dtqatten.driver.expected import compare_results, expected
from dtqatten.golden.numerics.attention import Options
from dtqatten.golden.numerics.codes import quantize
from dtqatten.golden.numerics.progressive import FLAT_SUM_MAX, flat_sum
from dtqatten.golden.numerics.tokens import TokenList
from dtqatten.interface.registers import Control
from dtqatten.sim.machine.axi import simulated_device

CORE = Config(
    rows=4, cols=8, depth=8, d_head=32, n_max=96, heads=12, load_bits=128, grouped=True,
    skip_tiles=True, progressive=True,
)  # fmt: skip
KEYS = 96


@functools.cache
def device() -> Device:
    return simulated_device(SystemConfig(core=CORE), timeout=400_000, optimize=0)


def step(limit: int | None, *, queries: int = 1, grouped: bool = True) -> Call:
    """Return a step of four heads of K and V, of two query heads each, from peaked to flat."""
    rng = np.random.default_rng(8)
    sharp = np.repeat([8.0, 1.0, 8.0, 0.2], 2)[:, None, None]
    q = rng.normal(size=(8, queries, CORE.d_head)) * sharp
    k, v = rng.normal(size=(2, 4, KEYS, CORE.d_head))
    return Call(
        q=quantize(q),
        k=quantize(k),
        v=quantize(v),
        queries=TokenList(np.arange(KEYS - queries, KEYS)),
        keys=TokenList(np.arange(KEYS), 16),
        grouped=grouped,
        causal=True,
        options=Options(flat_sum=limit),
    )


def run(limit: int | None) -> tuple[dict[str, int], int]:
    """Run a step, compare it, and return the machine's counters, and how many heads are flat."""
    machine, call = device(), step(limit)
    machine.set_register("control", Control.CLEAR_COUNTERS)
    golden = expected(CORE, [call])
    compare_results([call], machine.run([call]), golden)
    names = ("cycles", "read_bytes", "tried_heads", "flat_heads", "flat_rows")
    found = {name: machine.register(name) for name in names}
    trial, flat = golden[0].outputs.trial, golden[0].flat
    if trial is not None:
        assert flat is not None
        counts = (4, flat.sum(), trial.flat.sum())
        assert tuple(found[name] for name in names[2:]) == counts
        return found, int(flat.sum())
    assert all(found[name] == 0 for name in names[2:])
    return found, 4


def test_low_planes_are_those_of_flat_heads() -> None:
    """Half a byte less a channel and key of each other head; the rest is read as ever."""
    plain, _ = run(None)
    seen = set()
    for limit in (0, flat_sum(0.2), flat_sum(0.05), FLAT_SUM_MAX):
        found, flat = run(limit)
        seen.add(flat)
        # Without trials 16 of the keys are in 4 bits.
        low = CORE.d_head // 2 * (KEYS * flat - (KEYS - 16) * 4)
        assert found["read_bytes"] == plain["read_bytes"] + low
    assert seen >= {0, 4}
    assert seen & {1, 2, 3}


def test_layers_without_trials_take_the_cycles_of_a_machine_without_the_option() -> None:
    plain = simulated_device(
        SystemConfig(core=CORE.replace(progressive=False)), timeout=400_000, optimize=0
    )
    call = step(None)
    compare_results([call], plain.run([call]), expected(CORE, [call]))
    assert run(None)[0]["cycles"] == plain.register("cycles")


def test_steps_beyond_a_row_block_are_refused() -> None:
    with pytest.raises(LayoutError, match=r"6 rows of a head with a flat_sum, more than .* 4"):
        device().run([step(70_000, queries=3)])
    with pytest.raises(LayoutError, match="query heads share 4 of K and V with a flat_sum"):
        device().run([step(70_000, grouped=False)])
    call = step(70_000)
    assert dataclasses.replace(call, options=Options()).fields(0)["flat_sum"] == 0
