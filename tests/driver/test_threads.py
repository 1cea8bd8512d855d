"""One chain at a time: threads, nested runs, two devices, aborts from elsewhere."""

import gc
import threading
import weakref

import pytest

from driven import FIRST, GOOD, golden, is_well
from dtqatten.driver.chain import Chain
from dtqatten.driver.device import Device
from dtqatten.driver.errors import (
    AbortedError,
    InUseError,
    StaleChainError,
)
from dtqatten.driver.expected import compare_results
from dtqatten.interface.registers import Control
from dtqatten.sim.machine.interposed import InterposedBus


def test_two_devices_on_one_bus(device, bus) -> None:
    """The other one's chain waits at the same descriptor of the same memory."""
    other = Device(bus, device.inputs, device.outputs)
    with Chain(device, 2) as mine, Chain(other, 2) as theirs:
        with pytest.raises(StaleChainError, match="another chain has begun"):
            mine.add(FIRST)
        theirs.add(GOOD[0])
        theirs.run()
        theirs.add(GOOD[1])
        compare_results(GOOD, theirs.run(), golden())
    is_well(device)


def test_runs_do_not_nest(device) -> None:
    with pytest.raises(InUseError, match="a layer function cannot run"):
        device.run([FIRST, lambda _: device.run(GOOD)[0]])
    is_well(device)


def test_one_thread_at_a_time(device, bus) -> None:
    refused = []

    def intrude() -> None:
        with pytest.raises(InUseError):
            device.run(GOOD)
        refused.append(True)

    def during() -> None:
        thread = threading.Thread(target=intrude)
        thread.start()
        thread.join()

    bus.before_wait = during
    compare_results(GOOD, device.run(GOOD), golden())
    assert refused == [True]


def test_an_abort_from_another_thread(device, bus) -> None:
    """While ``run`` is in its wait, with all the time of the bus before it."""
    waiting = threading.Event()

    def abort() -> None:
        waiting.wait()
        device.abort()

    def during() -> None:
        bus.inner.configure(latency=(15_000, 15_000))
        waiting.set()

    bus.before_wait = during
    thread = threading.Thread(target=abort)
    thread.start()
    with pytest.raises(AbortedError, match="after 0 complete layers"):
        device.run([FIRST])
    thread.join()
    bus.inner.configure()
    is_well(device)


def test_an_abort_before_the_start_counts(device, bus, monkeypatch) -> None:
    with Chain(device, 1) as chain:
        chain.add(FIRST)
        device.abort()
        with pytest.raises(AbortedError, match="after 0 complete layers"):
            chain.run()
    is_well(device)
    # Just before the command reaches the machine.
    write = bus.write_register

    def race(offset, value):
        if (offset, value) == (0x40, Control.START):
            device.abort()
        write(offset, value)

    monkeypatch.setattr(bus, "write_register", race)
    with pytest.raises(AbortedError, match="after 0 complete layers"):
        device.run([FIRST])
    monkeypatch.undo()
    is_well(device)


def test_a_session_keeps_no_machine(machine, plain) -> None:
    gone = InterposedBus(plain)
    Device(gone, machine.inputs, machine.outputs).run([FIRST])
    seen = weakref.ref(gone)
    del gone
    gc.collect()
    assert seen() is None
