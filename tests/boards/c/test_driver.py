"""The C driver, compiled for the host, on the verilated machine: as exact as the Python one."""

import ctypes

import numpy as np
import pytest

from c_driver import (
    TENSORS,
    CachedCpu,
    CDriver,
)
from driven import BASE, FIRST, GOOD, SECOND, golden, layer
from dtqatten.boards.c_layers import given
from dtqatten.driver.expected import expected
from dtqatten.interface.registers import Control, ErrorCode, Status, offset_of
from dtqatten.sim.machine.axi import SimulatedBus
from dtqatten.sim.machine.chains import random_chain
from dtqatten.sim.machine.samples import DRIVEN

#: Memory of the C driver.
MEMORY = 1 << 19


@pytest.fixture(scope="module")
def simulated() -> SimulatedBus:
    return SimulatedBus(DRIVEN, base=BASE, timeout=20_000, optimize=0)


@pytest.fixture
def bus(simulated: SimulatedBus) -> SimulatedBus:
    simulated.reset()
    simulated.configure()
    simulated.inject()
    return simulated


@pytest.fixture
def driver(library: ctypes.CDLL, bus: SimulatedBus) -> CDriver:
    opened = CDriver(library, CachedCpu(bus, BASE, MEMORY))
    assert opened.open() == "OK"
    return opened


def is_well(driver: CDriver) -> None:
    """The machine is idle and silent, and the next chain is exact."""
    read = driver.cpu.bus.read_register
    assert not read(offset_of("status")) & Status.BUSY
    assert (read(offset_of("interrupt")), read(offset_of("interrupt_enable"))) == (0, 0)
    driver.prepare(GOOD)
    assert driver.run() == "OK"
    driver.compare(GOOD, golden())


@pytest.mark.parametrize("idle", [True, False])
def test_random_chains(library: ctypes.CDLL, bus: SimulatedBus, idle: bool) -> None:
    """With every flag of the machine, on a bus that stalls and reorders, before a cache."""
    rng = np.random.default_rng(17)
    driver = CDriver(library, CachedCpu(bus, BASE, MEMORY, seed=1), idle=idle)
    assert driver.open() == "OK"
    for number in range(12):
        bus.configure(seed=number, latency=(1, 1 + 9 * number), pause=0.3, reorder=True)
        chain = random_chain(DRIVEN.core, rng, layers=int(rng.integers(1, 4)), calls=0.4)
        driver.prepare(chain)
        # Lines that the CPU has changed lie where results will be.
        driver.cpu.scribble(driver.outputs.start, driver.outputs.size)
        assert driver.run() == "OK"
        driver.compare(chain, expected(DRIVEN.core, chain))
    is_well(driver)


def test_layers_that_come_one_by_one(driver: CDriver) -> None:
    """The second layer is placed after the first one's results are there."""
    chain = [FIRST, SECOND]
    driver.prepare(chain)
    assert driver.call("begin", 2) == "OK"
    assert driver.add(0) == "OK"
    assert driver.call("start") == "OK"
    assert driver.call("wait") == "OK"
    assert (driver.layers[0].complete, driver.machine.done) == (True, 1)
    assert driver.cpu.bus.read_register(offset_of("status")) == Status.BUSY | Status.WAITING
    assert driver.add(1) == "OK"
    assert driver.call("start") == "OK"
    while (outcome := driver.call("poll")) == "RUNNING":
        driver.wait()
    assert outcome == "OK"
    driver.compare(chain, expected(DRIVEN.core, chain))
    is_well(driver)


def test_tensors_in_shared_memory_are_used_in_place(driver: CDriver) -> None:
    driver.prepare([FIRST])
    copied = driver.run()
    used = driver.inputs.used
    size = FIRST.k.codes.size
    place = driver.library.dtqatten_keep(ctypes.byref(driver.inputs), size)
    assert place == driver.cpu.start + driver.inputs.size - -(-size // 64) * 64
    (contents,) = [contents for _, contents in given([FIRST])]
    ctypes.memmove(place, contents["k"], size)
    driver.layers[0].tensors[TENSORS["k"]] = place
    assert (copied, driver.run()) == ("OK", "OK")
    assert driver.inputs.used == used - -(-size // 64) * 64
    driver.compare([FIRST], expected(DRIVEN.core, [FIRST]))


@pytest.mark.parametrize(
    ("spoiled", "code"),
    [
        ({"k0": 0}, ErrorCode.K0),
        ({"k1": 60_000}, ErrorCode.K1),
        ({"flags": 1 << 31}, ErrorCode.FLAGS),
        ({"heads": 0}, ErrorCode.NO_HEADS),
        ({"capacity": 9}, ErrorCode.CAPACITY),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_a_bad_descriptor(driver: CDriver, spoiled: dict[str, int], code: ErrorCode) -> None:
    driver.prepare([FIRST], **spoiled)
    assert driver.run() == "MACHINE_ERROR"
    assert driver.machine.error == code
    assert driver.machine.error_address == driver.layers[0].address == BASE
    assert driver.machine.done == 0
    is_well(driver)


def test_a_bus_error_in_the_second_layer(driver: CDriver, bus: SimulatedBus) -> None:
    driver.prepare([FIRST])
    assert driver.run() == "OK"
    bus.inject(write=bus.read_register(offset_of("write_bursts")) + 1)
    driver.prepare([FIRST, SECOND])
    assert driver.run() == "MACHINE_ERROR"
    assert driver.machine.error == ErrorCode.WRITE_RESPONSE
    assert ([layer.complete for layer in driver.layers], driver.machine.done) == ([True, False], 1)
    bus.inject()
    is_well(driver)


def test_a_machine_that_is_late(driver: CDriver, bus: SimulatedBus) -> None:
    driver.port.timeout = 600
    driver.prepare(GOOD)
    assert driver.run() == "TIMED_OUT"
    assert driver.ticks == 1000
    driver.port.timeout = 20_000
    is_well(driver)


def test_time_that_is_counted_in_looks(library: ctypes.CDLL, bus: SimulatedBus) -> None:
    driver = CDriver(library, CachedCpu(bus, BASE, MEMORY), idle=False, timeout=100)
    driver.port.now = type(driver.port.now)()
    assert driver.open() == "OK"
    driver.prepare([FIRST])
    assert driver.run() == "TIMED_OUT"
    # Fewer looks than an abort takes.
    driver.port.timeout = 1
    assert driver.run() == "NOT_IDLE"
    assert driver.call("start") == "BAD_CHAIN"
    driver.port.timeout = 100_000
    bus.run(2000)
    driver.prepare(GOOD)
    assert driver.run() == "OK"
    is_well(driver)


def test_time_is_since_the_last_layer(driver: CDriver) -> None:
    """Chains may take longer than the timeout, layers not."""
    driver.prepare(GOOD)
    begun = driver.ticks
    assert driver.run() == "OK"
    whole = driver.ticks - begun
    chain = [layer(seed=seed) for seed in range(4)]
    driver.port.timeout = whole
    driver.prepare(chain)
    begun = driver.ticks
    assert driver.run() == "OK"
    assert driver.ticks - begun > whole
    driver.compare(chain, expected(DRIVEN.core, chain))


def test_a_machine_that_stays_busy(library: ctypes.CDLL, bus: SimulatedBus) -> None:
    class Stuck:
        busy = False

        def __getattr__(self, name: str) -> object:
            return getattr(bus, name)

        def read_register(self, offset: int) -> int:
            value = bus.read_register(offset)
            return value | Status.BUSY if self.busy and offset == offset_of("status") else value

    stuck = Stuck()
    driver = CDriver(library, CachedCpu(stuck, BASE, MEMORY), timeout=3000)  # type: ignore[arg-type]
    assert driver.open() == "OK"
    driver.port.now = type(driver.port.now)()
    stuck.busy = True
    driver.prepare([FIRST])
    assert driver.run() == "NOT_IDLE"
    assert driver.call("start") == "BAD_CHAIN"
    stuck.busy = False
    is_well(driver)


def test_aborts(driver: CDriver, bus: SimulatedBus) -> None:
    """At any time of the chain; one that runs is aborted before another one begins."""
    rng = np.random.default_rng(0)
    chain = [FIRST, SECOND]
    for _ in range(6):
        driver.prepare(chain)
        assert driver.call("begin", 2) == "OK"
        assert [driver.add(i) for i in range(2)] == ["OK", "OK"]
        assert driver.call("start") == "OK"
        bus.run(int(rng.integers(2500)))
        getattr(driver.library, "dtqatten_abort")(ctypes.byref(driver.machine))  # noqa: B009
        assert driver.call("wait") in ("ABORTED", "OK")
        is_well(driver)
        # A program that is killed, and the next one.
        driver.prepare(chain)
        assert driver.call("begin", 2) == "OK"
        assert [driver.add(i) for i in range(2)] == ["OK", "OK"]
        assert driver.call("start") == "OK"
        bus.run(int(rng.integers(2500)))
        assert driver.open() == "OK"
        driver.prepare(GOOD)
        assert driver.run() == "OK"
        driver.compare(GOOD, golden())


def test_a_machine_that_is_reset_or_has_another_user(driver: CDriver, bus: SimulatedBus) -> None:
    driver.prepare([FIRST, SECOND])

    def abort() -> None:
        bus.write_register(offset_of("control"), Control.ABORT)
        bus.run(500)

    for meanwhile in (bus.reset, abort):
        assert driver.call("begin", 2) == "OK"
        assert driver.add(0) == "OK"
        assert driver.call("start") == "OK"
        assert driver.call("wait") == "OK"
        assert driver.add(1) == "OK"
        meanwhile()
        assert driver.call("start") == "STALE"
        is_well(driver)
        driver.prepare([FIRST, SECOND])
    assert driver.call("begin", 1) == "OK"
    assert driver.add(0) == "OK"
    assert driver.call("start") == "OK"
    bus.reset()
    assert driver.call("wait") == "STALE"
    is_well(driver)


def test_a_machine_that_waits_for_someone_else(driver: CDriver, bus: SimulatedBus) -> None:
    other = CDriver(driver.library, CachedCpu(bus, BASE + MEMORY, MEMORY))
    assert other.open() == "OK"
    for user in (driver, other):
        user.prepare([FIRST, SECOND])
        assert user.call("begin", 2) == "OK"
        assert user.add(0) == "OK"
        assert user.call("start") == "OK"
        assert user.call("wait") == "OK"
        assert user.add(1) == "OK"
    assert driver.call("start") == "STALE"
    is_well(driver)


def test_calls_out_of_order(driver: CDriver) -> None:
    driver.prepare([FIRST, SECOND])
    assert driver.call("begin", 0) == "BAD_CHAIN"
    for name in ("start", "poll", "wait"):
        assert driver.call(name) == "BAD_CHAIN"
    assert driver.add(0) == "BAD_CHAIN"
    assert driver.call("begin", 1) == "OK"
    assert driver.call("start") == "BAD_CHAIN"
    assert driver.add(0) == "OK"
    assert driver.add(1) == "BAD_CHAIN"
    assert driver.call("start") == "OK"
    assert driver.call("wait") == "OK"
    assert driver.call("start") == "BAD_CHAIN"
    is_well(driver)


def test_contents_that_are_missing_or_have_no_room(driver: CDriver) -> None:
    driver.prepare([FIRST])
    driver.layers[0].tensors[TENSORS["v"]] = None
    assert driver.run() == "NO_CONTENTS"
    sizes = driver.inputs.size, driver.outputs.size
    for memory, size in ((driver.inputs, 2048), (driver.outputs, 64), (driver.inputs, 192)):
        driver.inputs.size, driver.outputs.size = sizes
        memory.size = size
        driver.prepare([FIRST])
        assert driver.run() == "NO_ROOM"
    driver.inputs.size, driver.outputs.size = sizes
    # More than an address has bits.
    driver.prepare([FIRST], heads=65535, kv_heads=65535, capacity=0xFFFFFFFF)
    assert driver.run() == "NO_ROOM"
    is_well(driver)


def test_memories_that_do_not_suit(driver: CDriver) -> None:
    inputs, outputs = driver.inputs, driver.outputs
    for memory, name, value in (
        (inputs, "size", 0),
        (inputs, "size", 4096 + 64),
        (outputs, "address", BASE + 64),
        (outputs, "start", driver.cpu.start + 4),
        (outputs, "address", (1 << DRIVEN.address_bits) - 4096),
        (outputs, "address", (1 << 64) - 4096),
        (outputs, "address", inputs.address + inputs.size - 4096),
        (outputs, "address", inputs.address),
    ):
        before = getattr(memory, name)
        setattr(memory, name, value)
        assert driver.open() == "BAD_MEMORY", (name, value)
        setattr(memory, name, before)
    assert driver.open() == "OK"


@pytest.mark.parametrize(
    ("register", "outcome"), [("id", "NO_MACHINE"), ("version", "OTHER_VERSION")]
)
def test_another_machine(library, bus: SimulatedBus, register: str, outcome: str) -> None:
    class Other:
        def read_register(self, offset: int) -> int:
            return bus.read_register(offset) ^ (offset == offset_of(register))

    assert CDriver(library, CachedCpu(Other(), BASE, MEMORY)).open() == outcome  # type: ignore[arg-type]
