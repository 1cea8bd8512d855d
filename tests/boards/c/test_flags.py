"""The C driver on a machine that has more than the smallest: importance by id, pruned heads."""

import ctypes

import numpy as np
import pytest

from c_driver import TENSORS, CachedCpu, CDriver
from driven import BASE
from dtqatten.boards.c_layers import given
from dtqatten.configuration.core import Config
from dtqatten.configuration.system import SystemConfig
from dtqatten.driver.calls import Call
from dtqatten.driver.expected import expected, expected_layer
from dtqatten.golden.numerics.codes import quantize
from dtqatten.golden.numerics.tokens import CacheImportance
from dtqatten.interface.descriptor import Flag
from dtqatten.interface.registers import ErrorCode, offset_of
from dtqatten.sim.machine.axi import SimulatedBus
from dtqatten.sim.machine.chains import random_chain, random_list

RICH = SystemConfig(
    core=Config(
        rows=2,
        cols=4,
        depth=2,
        d_head=8,
        n_max=12,
        heads=6,
        capacity=40,
        topk_lanes=4,
        v_gains=True,
        cumulative=True,
        count_normalize=True,
        windows=True,
        sinks=True,
        unsigned_weights=True,
        bias_heads=1,
        block_exponents=True,
        signed_gains=True,
        head_pruning=True,
        skip_tiles=True,
        local_values=True,
        chosen_values=True,
    ),
    bus_bits=64,
    burst_beats=4,
)
#: As in `tests/sim/machine/test_held_importance.py`, so that it is compiled once.
HELD = SystemConfig(
    core=Config(
        rows=2,
        cols=4,
        depth=2,
        d_head=8,
        n_max=24,
        heads=6,
        capacity=40,
        topk_lanes=4,
        grouped=True,
        held_importance=True,
    ),
    bus_bits=64,
    burst_beats=4,
)
MEMORY = 1 << 18
CAPACITY = 40


def opened(library: ctypes.CDLL, system: SystemConfig) -> CDriver:
    bus = SimulatedBus(system, base=BASE, timeout=20_000, optimize=0)
    bus.configure(seed=1, latency=(1, 40), pause=0.3, reorder=True)
    driver = CDriver(library, CachedCpu(bus, BASE, MEMORY))
    assert driver.open() == "OK"
    return driver


def test_random_chains(library: ctypes.CDLL) -> None:
    driver = opened(library, RICH)
    rng = np.random.default_rng(5)
    flags = Flag(0)
    for _ in range(16):
        chain = random_chain(RICH.core, rng, layers=int(rng.integers(1, 4)), calls=0.5)
        driver.prepare(chain)
        driver.cpu.scribble(driver.outputs.start, driver.outputs.size)
        assert driver.run() == "OK"
        driver.compare(chain, expected(RICH.core, chain))
        flags |= Flag(int(np.bitwise_or.reduce([fields["flags"] for fields, _ in given(chain)])))
    # All that this machine has.
    assert flags == Flag(driver.cpu.bus.read_register(offset_of("flags")))


def step(rng: np.random.Generator) -> Call:
    """Return a step of a decoder on some keys of a cache."""
    q, k, v = (rng.normal(size=shape) for shape in ((4, 1, 8), (2, CAPACITY, 8), (2, CAPACITY, 8)))
    return Call(
        q=quantize(q),
        k=quantize(k),
        v=quantize(v),
        queries=random_list(rng, 1, CAPACITY),
        keys=random_list(rng, 9, CAPACITY),
        grouped=True,
        k0=5,
        k1=2,
    )


@pytest.mark.parametrize("outputs_first", [False, True])
def test_importance_by_id(library: ctypes.CDLL, outputs_first: bool) -> None:
    """It stays in memory from chain to chain, is read and written there, and seen by the CPU."""
    driver = opened(library, HELD)
    if outputs_first:
        border = driver.outputs.size
        driver.outputs.start, driver.inputs.start = driver.cpu.start, driver.cpu.start + border
        driver.outputs.address, driver.inputs.address = BASE, BASE + border
        assert driver.open() == "OK"
    rng = np.random.default_rng(3)
    held = CacheImportance(rng.integers(0, 1 << 32, CAPACITY, dtype=np.uint32))
    place = driver.library.dtqatten_keep(ctypes.byref(driver.outputs), 4 * CAPACITY)
    ctypes.memmove(place, held.values.tobytes(), 4 * CAPACITY)
    for _ in range(4):
        call = step(rng)
        ((fields, _),) = given([call])
        driver.prepare([call], flags=fields["flags"] | Flag.HELD)
        driver.layers[0].tensors[TENSORS["held"]] = place
        assert driver.run() == "OK"
        golden = expected_layer(HELD.core, call, held=held)
        driver.compare([call], [golden])
        assert golden.held is not None
        held = golden.held
        assert driver.bytes_at(place, 4 * CAPACITY) == held.values.tobytes()


def test_importance_that_is_not_among_the_outputs(library: ctypes.CDLL) -> None:
    driver = opened(library, HELD)
    call = step(np.random.default_rng(0))
    ((fields, _),) = given([call])
    driver.prepare([call], flags=fields["flags"] | Flag.HELD)
    buffer = ctypes.create_string_buffer(4 * CAPACITY)
    driver.layers[0].tensors[TENSORS["held"]] = ctypes.addressof(buffer)
    assert driver.run() == "MACHINE_ERROR"
    assert driver.machine.error == ErrorCode.WRITE_WINDOW
