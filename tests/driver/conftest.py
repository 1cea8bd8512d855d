"""The one machine that all tests of the driver share."""

import pytest

from dtqatten import Config
from dtqatten.driver.device import Device
from dtqatten.sim.axi import SimulatedBus, simulated_device
from dtqatten.system_config import SystemConfig


@pytest.fixture(scope="session")
def machine() -> Device:
    core = Config(rows=4, cols=4, depth=4, value_depth=5, d_head=32, n_max=40, heads=12)
    system = SystemConfig(core=core, bus_bits=64, burst_beats=4)
    return simulated_device(system, timeout=20_000, optimize=0)


@pytest.fixture
def plain(machine) -> SimulatedBus:
    """The machine's bus, as after power-up."""
    bus = machine.bus
    assert isinstance(bus, SimulatedBus)
    bus.reset()
    bus.configure()
    bus.inject()
    bus.record(False)
    return bus
