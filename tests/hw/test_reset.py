"""One cycle of reset is enough: after power-up with everything unknown, and at any time."""

import functools

import numpy as np
import pytest

from dtqatten import Config, Schedule
from dtqatten.configuration.system import SystemConfig
from dtqatten.driver.device import Device
from dtqatten.driver.errors import StaleChainError
from dtqatten.driver.expected import compare_results, expected
from dtqatten.golden.cycles.random_layers import random_chain as core_chain
from dtqatten.hw.core import AttentionCore
from dtqatten.sim.engines.exported import exported
from dtqatten.sim.engines.verilated import VerilatedModel, without_initial_values
from dtqatten.sim.lockstep.core import CoreLockstep
from dtqatten.sim.machine.axi import SimulatedBus, simulated_device
from dtqatten.sim.machine.chains import random_chain
from dtqatten.sim.machine.interposed import InterposedBus

#: Small, with every kind of register.
CORE = Config(
    rows=3,
    cols=5,
    depth=4,
    value_depth=5,
    d_head=16,
    n_max=17,
    schedule=Schedule.INTERLEAVED,
    product_stages=2,
    planes=3,
    v_gains=True,
    heads=9,
)
SYSTEM = SystemConfig(
    core=Config(rows=4, cols=4, depth=4, d_head=32, n_max=24, heads=9, cumulative=True),
    bus_bits=64,
    burst_beats=4,
)


@functools.cache
def core() -> AttentionCore:
    return AttentionCore(CORE)


@functools.cache
def unknown() -> str:
    return without_initial_values(exported("core", AttentionCore, CORE))


def test_registers_and_memories_lose_their_initial_values() -> None:
    text = unknown()
    registers = [line for line in text.splitlines() if line.startswith("  reg ")]
    assert registers
    assert not any("=" in line for line in registers)
    roms = text.split("initial begin\n")[1:]
    assert roms
    assert all("ffff" in rom.split("end\n")[0] for rom in roms)  # exp2 of 0, the largest entry


def test_the_core_is_right_in_every_cycle_after_one_of_reset(compared) -> None:
    """From unknown registers, then from the middle of layers, cut off anywhere."""
    model = VerilatedModel(core(), "core", reset_cycles=1, text=unknown())
    rng = np.random.default_rng(0)

    def bench(seed: int) -> CoreLockstep:
        return CoreLockstep(CORE, core_chain(CORE, rng, 2), stall=0.2, seed=seed)

    for seed in range(4):
        whole = bench(seed)
        model.run(whole)
        whole.verify()
        compared["verilator, in process"] += whole.compared
        cut = bench(seed)
        for _ in range(int(rng.integers(100, max(101, whole.compared)))):
            if cut.done:
                break
            cut.check(model.step(cut.inputs()))
            cut.clock()


@functools.cache
def device(seed: int) -> Device:
    return simulated_device(SYSTEM, timeout=20_000, optimize=0, power_up=seed)


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(seed, marks=pytest.mark.long) for seed in (2, 3))]
)
def test_the_system_is_exact_after_one_cycle_of_reset(seed) -> None:
    """From unknown registers and memories, then in the middle of running layers."""
    machine = device(seed)
    inner = machine.bus
    assert isinstance(inner, SimulatedBus)
    bus = InterposedBus(inner)
    driver = Device(bus, machine.inputs, machine.outputs)
    rng = np.random.default_rng(seed)

    def exact() -> None:
        chain = random_chain(SYSTEM.core, rng, layers=2)
        compare_results(chain, driver.run(chain), expected(SYSTEM.core, chain))

    exact()
    inner.timeout = 1000
    for _ in range(8):

        def reset() -> None:
            inner.run(int(rng.integers(100, 4000)))
            inner.reset()

        bus.before_wait = reset
        with pytest.raises((TimeoutError, StaleChainError)):
            driver.run(random_chain(SYSTEM.core, rng, layers=3, tokens=24))
        inner.timeout = 20_000
        exact()
        inner.timeout = 1000
