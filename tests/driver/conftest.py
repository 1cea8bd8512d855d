"""The one machine that all tests of the driver share."""

import pytest

from dtqatten.driver.device import Device
from dtqatten.sim.machine.axi import SimulatedBus, simulated_device
from dtqatten.sim.machine.samples import DRIVEN


@pytest.fixture(scope="session")
def machine() -> Device:
    return simulated_device(DRIVEN, timeout=20_000, optimize=0)


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
