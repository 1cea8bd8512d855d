"""However a chain ends, the machine is idle and the next chain is exact."""

import numpy as np
import pytest

from driven import FIRST, GOOD, SECOND, golden, is_well, layer
from dtqatten.driver.chain import Chain
from dtqatten.driver.errors import (
    EXCEPTIONS,
    LayoutError,
    NotIdleError,
    StaleChainError,
)
from dtqatten.driver.expected import compare_results, expected
from dtqatten.interface.registers import Control, ErrorCode
from dtqatten.sim.machine.samples import DRIVEN


@pytest.mark.parametrize("kind", [KeyboardInterrupt, TimeoutError, OSError])
def test_a_wait_that_is_cut_off(device, bus, kind) -> None:
    """Ctrl-C, a time-out, a broken bus: at any time of the chain."""
    rng = np.random.default_rng(0)
    for _ in range(6):

        def cut() -> None:
            bus.inner.run(int(rng.integers(2500)))
            raise kind("cut off")

        bus.before_wait = cut
        with pytest.raises(kind, match="cut off"):
            device.run([FIRST, SECOND])
        is_well(device)


def test_a_machine_that_is_late(device, bus) -> None:
    bus.inner.timeout, before = 10, bus.inner.timeout
    try:
        with pytest.raises(TimeoutError, match="no interrupt within 10 cycles") as caught:
            device.run([FIRST])
    finally:
        bus.inner.timeout = before
    assert caught.value.__notes__ == ["status <Status.BUSY: 1>, 0 of 1 layers complete"]
    is_well(device)


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, StopIteration])
def test_a_layer_function_that_raises(device, kind) -> None:
    def fails(result):
        raise kind("host")

    with pytest.raises(kind, match="host"):
        device.run([FIRST, fails])
    is_well(device)


def test_a_layer_that_does_not_fit_in_the_middle(device) -> None:
    with pytest.raises(LayoutError, match="41 tokens"):
        device.run([FIRST, lambda _: layer(tokens=41)])
    is_well(device)


def test_a_device_error(device, bus) -> None:
    bus.inner.inject(read=300)
    with pytest.raises(EXCEPTIONS[ErrorCode.READ_RESPONSE]):
        device.run([FIRST, lambda _: SECOND])
    is_well(device)
    bus.inner.inject(write=2)
    with pytest.raises(EXCEPTIONS[ErrorCode.WRITE_RESPONSE]):
        device.run([FIRST])
    is_well(device)


def test_results_are_those_of_complete_layers(device, bus) -> None:
    """An error in the second layer leaves the first one's result."""
    bus.inner.record()
    device.run([FIRST])
    bus.inner.inject(write=len(bus.inner.writes()) + 3)
    with Chain(device, 2) as chain:
        chain.add(FIRST)
        chain.add(SECOND)
        with pytest.raises(EXCEPTIONS[ErrorCode.WRITE_RESPONSE]) as caught:
            chain.run()
    assert caught.value.layers_done == len(chain.results) == 1
    compare_results([FIRST], chain.results, expected(DRIVEN.core, [FIRST]))
    is_well(device)


def test_what_others_left_running(device, bus) -> None:
    """Raw register writes, as another process would do them; with its interrupts on."""
    device.run([FIRST])
    (address, _), *_ = device.chain
    for start in range(0, 2000, 397):
        device.set_register("interrupt_enable", 7)
        device.set_register("descriptor", address)
        device.set_register("control", Control.START)
        bus.inner.run(start)
        compare_results(GOOD, device.run(GOOD), golden())
        device.run([FIRST])
    is_well(device)


def test_a_machine_that_cannot_be_made_idle(device, bus) -> None:
    """Its memory no longer answers: every entry says so, until a reset."""
    bus.inner.configure(latency=(1 << 30, 1 << 30))
    with pytest.raises(NotIdleError, match="Reset it together") as caught:
        device.run([FIRST])
    assert isinstance(caught.value.__cause__, TimeoutError)
    with pytest.raises(NotIdleError, match="after an abort and 2000 looks"):
        device.run([FIRST])
    # Ctrl-C stays what it is.
    bus.inner.reset()

    def cut() -> None:
        bus.inner.run(50)
        raise KeyboardInterrupt

    bus.before_wait = cut
    with pytest.raises(KeyboardInterrupt) as stopped:
        device.run([FIRST])
    assert "Reset it together" in stopped.value.__notes__[0]
    with pytest.raises(NotIdleError), Chain(device, 1):
        pass
    bus.inner.configure()
    bus.inner.reset()
    is_well(device)


def test_a_reset_in_the_middle(device, bus) -> None:
    """Before the interrupt, and while the machine waits for the host."""

    def reset() -> None:
        bus.inner.run(300)
        bus.inner.reset()

    bus.before_wait = reset
    with pytest.raises(TimeoutError) as caught:
        device.run([FIRST])
    assert "0 of 1 layers complete" in caught.value.__notes__[0]
    is_well(device)

    def second(result):
        bus.inner.reset()
        return SECOND

    with pytest.raises(StaleChainError, match="does not wait for layer 1"):
        device.run([FIRST, second])
    is_well(device)


def test_a_wait_that_returns_without_an_interrupt(device, bus, monkeypatch) -> None:
    monkeypatch.setattr(bus, "wait", lambda: bus.inner.run(3))
    is_well(device)
    monkeypatch.setattr(bus, "wait", lambda: None)
    bus.spoil = lambda address, fields: fields | {"ready": 0}
    with pytest.raises(TimeoutError, match="from its wait 2000 times without an interrupt"):
        device.run([FIRST])
    bus.spoil = None
    monkeypatch.undo()
    is_well(device)


def test_an_interrupt_from_before(device, bus) -> None:
    device.set_register("descriptor", 32)
    device.set_register("control", Control.START)
    device.set_register("interrupt_enable", 7)
    bus.inner.run(100)
    assert device.register("interrupt")
    compare_results(GOOD, device.run(GOOD), golden())
    is_well(device)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [({"next": 0}, StaleChainError), ({"ready": 0}, TimeoutError), ({"k0": 0}, None)],
)
def test_a_descriptor_that_was_overwritten(device, bus, changes, kind) -> None:
    bus.spoil = lambda address, fields: fields | changes
    with pytest.raises(kind or EXCEPTIONS[ErrorCode.K0]):
        device.run([FIRST, SECOND])
    bus.spoil = None
    is_well(device)


def test_more_layers_than_were_given(device, bus) -> None:
    """Another host's chain on the same machine."""
    device.run(GOOD)
    (address, _), *_ = device.chain

    def other() -> None:
        bus.inner.run(20_000)  # the one layer is complete, the machine waits
        device.set_register("control", Control.ABORT)
        bus.inner.run(100)
        device.set_register("descriptor", address)
        device.set_register("control", Control.START)
        bus.inner.run(20_000)

    with Chain(device, 2) as chain:
        chain.add(GOOD[0])
        chain._place(GOOD[1], final=True)  # known to the machine, not to the chain
        bus.before_wait = other
        with pytest.raises(StaleChainError, match="2 layers are complete, after 0 of 1"):
            chain.run()
    is_well(device)


def test_chains_that_are_stale(device, bus) -> None:
    with Chain(device, 2) as old:
        old.add(FIRST)
        old.run()
        compare_results(GOOD, device.run(GOOD), golden())
        with pytest.raises(StaleChainError, match="another chain has begun"):
            old.add(SECOND)
        with pytest.raises(StaleChainError, match="another chain has begun"):
            old.run()
    chain = Chain(device, 1)
    with pytest.raises(StaleChainError, match="has not begun"):
        chain.add(FIRST)
    with chain:
        chain.add(FIRST)
        with pytest.raises(LayoutError, match="has its 1 layers"):
            chain.add(SECOND)
        with pytest.raises(StaleChainError, match="has ended"):
            chain.run()
    is_well(device)


def test_a_chain_that_is_left_early(device) -> None:
    with Chain(device, 3) as chain:
        assert chain.run() == []
        chain.add(FIRST)
        assert chain.run() == chain.run()
    is_well(device)


def test_first_layers_are_layers(device) -> None:
    with pytest.raises(LayoutError, match="the first layer is a function"):
        device.run([lambda result: FIRST])
    with pytest.raises(TypeError, match="not None: did its function return one"):
        device.run([FIRST, lambda result: None])
    is_well(device)
