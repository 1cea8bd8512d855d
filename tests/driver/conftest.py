"""The one machine that all tests of the driver share."""

import pytest

from dtqatten.driver.device import Device
from dtqatten.sim.machine.axi import SimulatedBus, simulated_device
from dtqatten.sim.machine.interposed import InterposedBus
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


@pytest.fixture
def bus(plain) -> InterposedBus:
    return InterposedBus(plain)


@pytest.fixture
def device(machine, bus) -> Device:
    """The machine behind a bus that tests put faults into."""
    return Device(bus, machine.inputs, machine.outputs, patience=2000)
